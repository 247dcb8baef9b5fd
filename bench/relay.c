/* relay PORT NAMESERVER_PORT: swaps the IDs of messages, and nothing else: the least that forwarding can cost. */
#define _GNU_SOURCE
#include <sys/epoll.h>

#include "sockets.h"

static struct {
    struct sockaddr_in client;
    uint16_t id;
    bool used;
} waiting[UINT16_MAX + 1];
static struct batch batch;

/* Gives each query an ID of its own; whoever had it long ago gets no reply any more. */
static void to_nameserver(int fd, int count) {
    static uint16_t next;
    for (int number = 0; number < count; number++) {
        struct mmsghdr *message = &batch.messages[number];
        next++;
        waiting[next].client = batch.peers[number];
        waiting[next].used = true;
        memcpy(&waiting[next].id, batch.octets[number], 2);
        memcpy(batch.octets[number], &next, 2);
        batch.spans[number].iov_len = message->msg_len;
        message->msg_hdr.msg_name = NULL;
        message->msg_hdr.msg_namelen = 0;
    }
    send_all(&batch, fd, count);
}

static void to_clients(int fd, int count) {
    int kept = 0;
    for (int number = 0; number < count; number++) {
        uint16_t id;
        memcpy(&id, batch.octets[number], 2);
        if (!waiting[id].used)
            continue;
        waiting[id].used = false;
        memcpy(batch.octets[number], &waiting[id].id, 2);
        batch.peers[number] = waiting[id].client;
        batch.spans[number].iov_len = batch.messages[number].msg_len;
        batch.messages[number].msg_hdr.msg_name = &batch.peers[number];
        batch.messages[number].msg_hdr.msg_namelen = sizeof batch.peers[number];
        batch.messages[kept++] = batch.messages[number];
    }
    send_all(&batch, fd, kept);
}

int main(int count, char **arguments) {
    must(count == 3, "relay PORT NAMESERVER_PORT");
    int clients = bound_socket(arguments[1]), nameserver = datagram_socket(), poll = epoll_create1(0);
    struct sockaddr_in address = loopback(arguments[2]);
    must(!connect(nameserver, (struct sockaddr *)&address, sizeof address), "connect");
    for (int number = 0; number < 2; number++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = number ? nameserver : clients};
        must(!epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event), "epoll_ctl");
    }
    for (;;) {
        struct epoll_event ready[2];
        int events = epoll_wait(poll, ready, 2, -1);
        for (int number = 0; number < events; number++) {
            int received = receive(&batch, ready[number].data.fd);
            if (ready[number].data.fd == clients)
                to_nameserver(nameserver, received);
            else
                to_clients(clients, received);
        }
    }
}
