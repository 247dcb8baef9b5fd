/* What the bench's programs in C share: sockets on loopback, and datagrams in batches. */
#ifndef BENCH_SOCKETS_H
#define BENCH_SOCKETS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, ROOM = 4096, HEADER = 12, BUFFER = 4 << 20 };

struct batch {
    struct mmsghdr messages[BATCH];
    struct iovec spans[BATCH];
    struct sockaddr_in peers[BATCH];
    uint8_t octets[BATCH][ROOM];
};

static inline void must(bool well, const char *what) {
    if (!well) {
        perror(what);
        exit(1);
    }
}

static inline struct sockaddr_in loopback(const char *port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline int datagram_socket(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), size = BUFFER;
    must(fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), "socket");
    return fd;
}

static inline int bound_socket(const char *port) {
    struct sockaddr_in address = loopback(port);
    int fd = datagram_socket();
    must(!bind(fd, (struct sockaddr *)&address, sizeof address), "bind");
    return fd;
}

static inline int receive(struct batch *batch, int fd) {
    for (int number = 0; number < BATCH; number++) {
        batch->spans[number] = (struct iovec){batch->octets[number], ROOM};
        batch->messages[number].msg_hdr = (struct msghdr){.msg_iov = &batch->spans[number],
                                                          .msg_iovlen = 1,
                                                          .msg_name = &batch->peers[number],
                                                          .msg_namelen = sizeof batch->peers[number]};
    }
    return recvmmsg(fd, batch->messages, BATCH, MSG_DONTWAIT, NULL);
}

/* Sends the first messages of a batch; what a full socket buffer does not take is lost, as datagrams may be. */
static inline void send_all(struct batch *batch, int fd, int count) {
    for (int sent = 0, now; sent < count; sent += now)
        if ((now = sendmmsg(fd, batch->messages + sent, (unsigned)(count - sent), 0)) <= 0)
            break;
}

/* Returns where the question of a query ends, 0 where it has none that is whole. Only a name without pointers has one. */
static inline size_t question_end(const uint8_t *message, size_t size) {
    size_t at = HEADER;
    while (at < size && message[at])
        at += message[at] + 1u;
    return at + 5 <= size ? at + 5 : 0;
}

/* Makes a reply's header out of a query's, with no more than the question behind it: QR and AA, one question. */
static inline void reply_header(uint8_t *message, unsigned answers) {
    message[2] = (uint8_t)(message[2] | 0x84);
    message[3] = 0;
    memcpy(message + 4, (uint8_t[]){0, 1, 0, (uint8_t)answers, 0, 0, 0, 0}, 8);
}

/* Writes an A or AAAA record of the question's name, and returns how long it is. */
static inline size_t address_record(uint8_t *to, unsigned type, uint32_t ttl, const uint8_t *rdata) {
    size_t size = type == 1 ? 4 : 16;
    uint8_t head[HEADER] = {0xC0, HEADER, 0, (uint8_t)type, 0, 1, 0, 0, (uint8_t)(ttl >> 8), (uint8_t)ttl,
                            0,    (uint8_t)size};
    memcpy(to, head, sizeof head);
    memcpy(to + sizeof head, rdata, size);
    return sizeof head + size;
}

#endif
