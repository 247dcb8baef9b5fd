/* crowd udp|tcp PORT SECONDS SOURCES QUERIES: the loads that dnsperf has not, from so many addresses of 127.1.0.0/16 up.

   udp: one socket that sends each query from the next address. tcp: a connection for each query: connected from the
   next address, so that ports do not run out; asked once; closed by the client. QUERIES is a file as dnsperf reads it,
   of A questions. A fixed number is under way. Without a reply for a while, what is under way counts as lost. The
   figures are printed as dnsperf prints them. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "sockets.h"

enum { QUERIES = 10000, LONGEST = 300, DATAGRAMS = 192, CONNECTIONS = 64, SILENCE_MS = 250 };

static struct {
    uint8_t octets[LONGEST]; /* behind its length, as on a stream */
    size_t size;
} queries[QUERIES];
static size_t known;
static uint32_t sources;
static uint64_t sent, completed, good, lost;
static struct sockaddr_in server;
static struct batch batch;

static double seconds_now(void) {
    struct timespec clock;
    clock_gettime(CLOCK_MONOTONIC, &clock);
    return (double)clock.tv_sec + (double)clock.tv_nsec / 1e9;
}

static void add_query(char *name) {
    uint8_t *at = queries[known].octets + 2;
    must(strlen(name) < LONGEST - 32, "a name of reasonable length");
    memcpy(at, (uint8_t[HEADER]){(uint8_t)(known >> 8), (uint8_t)known, 1, 0, 0, 1}, HEADER);
    at += HEADER;
    for (char *label = strtok(name, "."); label; label = strtok(NULL, ".")) {
        *at++ = (uint8_t)strlen(label);
        at = mempcpy(at, label, strlen(label));
    }
    at = mempcpy(at, (uint8_t[]){0, 0, 1, 0, 1}, 5);
    size_t size = (size_t)(at - queries[known].octets);
    queries[known].octets[0] = (uint8_t)((size - 2) >> 8);
    queries[known].octets[1] = (uint8_t)(size - 2);
    queries[known++].size = size;
}

static void read_queries(const char *path) {
    char line[LONGEST];
    FILE *file = fopen(path, "r");
    must(file != NULL, path);
    while (known < QUERIES && fgets(line, sizeof line, file))
        add_query(strtok(line, " "));
    must(known > 0 && !fclose(file), "no queries");
}

static struct in_addr next_source(void) {
    return (struct in_addr){htonl(0x7F010000 + (uint32_t)(sent % sources))};
}

static void heard(const uint8_t *message, size_t size) {
    completed++;
    good += size >= HEADER && !(message[3] & 15);
}

static void send_some(int fd, int count) {
    static union {
        char octets[CMSG_SPACE(sizeof(struct in_pktinfo))];
        struct cmsghdr aligned;
    } controls[BATCH];
    for (int number = 0; number < count; number++, sent++) {
        struct msghdr *message = &batch.messages[number].msg_hdr;
        size_t query = sent % known;
        batch.spans[number] = (struct iovec){queries[query].octets + 2, queries[query].size - 2};
        *message = (struct msghdr){.msg_name = &server, .msg_namelen = sizeof server, .msg_iov = &batch.spans[number],
                                   .msg_iovlen = 1, .msg_control = controls[number].octets,
                                   .msg_controllen = sizeof controls[number].octets};
        struct cmsghdr *control = CMSG_FIRSTHDR(message);
        struct in_pktinfo from = {.ipi_spec_dst = next_source()};
        *control = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof from), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO};
        memcpy(CMSG_DATA(control), &from, sizeof from);
    }
    send_all(&batch, fd, count);
}

static void ask_by_datagrams(double end) {
    struct pollfd replies = {.fd = datagram_socket(), .events = POLLIN};
    struct sockaddr_in any = {.sin_family = AF_INET};
    must(!bind(replies.fd, (struct sockaddr *)&any, sizeof any), "bind");
    for (bool more = true; more || sent > completed + lost; more = seconds_now() < end) {
        int room = DATAGRAMS - (int)(sent - completed - lost);
        if (more && room > 0)
            send_some(replies.fd, room < BATCH ? room : BATCH);
        if (!poll(&replies, 1, SILENCE_MS))
            lost = sent - completed;
        int received = receive(&batch, replies.fd);
        for (int number = 0; number < received; number++)
            heard(batch.octets[number], batch.messages[number].msg_len);
    }
}

static struct connection {
    int fd;
    size_t query, read;
    bool asked;
    uint8_t octets[ROOM];
} connections[CONNECTIONS];

static void open_one(int poll, struct connection *connection) {
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = next_source()};
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    must(fd >= 0 && !setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes), "socket");
    must(!bind(fd, (struct sockaddr *)&from, sizeof from), "bind");
    must(!connect(fd, (struct sockaddr *)&server, sizeof server) || errno == EINPROGRESS, "connect");
    *connection = (struct connection){.fd = fd, .query = sent++ % known};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
    must(!epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

/* Goes on with a connection, and tells whether it is over: answered, or ended by the server. */
static bool go_on(struct connection *connection) {
    size_t size = queries[connection->query].size;
    if (!connection->asked)
        connection->asked = send(connection->fd, queries[connection->query].octets, size, MSG_NOSIGNAL) == (ssize_t)size;
    ssize_t got = recv(connection->fd, connection->octets + connection->read, ROOM - connection->read, 0);
    if (got <= 0) {
        bool over = got == 0 || errno != EAGAIN;
        lost += over;
        return over;
    }
    connection->read += (size_t)got;
    size_t needed = connection->read < 2 ? 2 : 2u + (size_t)connection->octets[0] * 256 + connection->octets[1];
    if (connection->read < needed || needed == 2)
        return false;
    heard(connection->octets + 2, needed - 2);
    return true;
}

static void ask_by_connections(double end) {
    int poll = epoll_create1(0);
    for (int number = 0; number < CONNECTIONS; number++)
        open_one(poll, &connections[number]);
    while (sent > completed + lost) {
        struct epoll_event ready[CONNECTIONS];
        int count = epoll_wait(poll, ready, CONNECTIONS, 4 * SILENCE_MS);
        if (!count)
            lost = sent - completed; /* the end: whoever is silent for a second is not worth a fresh start */
        for (int number = 0; number < count; number++) {
            struct connection *connection = ready[number].data.ptr;
            if (!go_on(connection))
                continue;
            close(connection->fd);
            if (seconds_now() < end)
                open_one(poll, connection);
        }
    }
}

int main(int count, char **arguments) {
    must(count == 6, "crowd udp|tcp PORT SECONDS SOURCES QUERIES");
    server = loopback(arguments[2]);
    sources = (uint32_t)atoi(arguments[4]);
    read_queries(arguments[5]);
    double began = seconds_now();
    (strcmp(arguments[1], "udp") ? ask_by_connections : ask_by_datagrams)(began + atof(arguments[3]));
    double taken = seconds_now() - began;
    printf("Queries sent: %lu\nQueries completed: %lu\nQueries lost: %lu\n", sent, completed, lost);
    if (good == completed)
        printf("Response codes: NOERROR %lu (100.00%%)\n", good);
    else
        printf("Response codes: NOERROR %lu, others %lu\n", good, completed - good);
    printf("Queries per second: %f\n", (double)completed / taken);
}
