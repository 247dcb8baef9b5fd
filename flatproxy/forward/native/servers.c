/* See servers.h for what may live here. */
#include "servers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { END_OF_ORDER = 15, ORDER_BITS = 4 };

static int connected(const union address *address, socklen_t size) {
    int fd = socket(address->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), room = RECEIVE_BUFFER;
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room); /* less is no fault */
    if (!connect(fd, &address->any, size))
        return fd;
    int reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

static int part_open(struct part *part, struct servers *servers) {
    unsigned all = servers->count * servers->sockets;
    part->servers = servers;
    part->sockets = calloc(all, sizeof *part->sockets);
    if (!part->sockets)
        return -1;
    for (unsigned number = 0; number < all; number++)
        part->sockets[number] = (struct upstream_socket){
            .watch = {WATCH_SERVER, -1}, .part = part, .server = (uint16_t)(number / servers->sockets)};
    for (unsigned number = 0; number < all; number++) {
        struct upstream_socket *socket = &part->sockets[number];
        socket->watch.fd = connected(&servers->address[socket->server], servers->address_size[socket->server]);
        if (socket->watch.fd < 0)
            return -1;
    }
    return 0;
}

void part_close(struct part *part) {
    for (unsigned number = 0; part->sockets && number < part->servers->count * part->servers->sockets; number++)
        if (part->sockets[number].watch.fd >= 0)
            close(part->sockets[number].watch.fd);
    free(part->sockets);
    part->sockets = NULL;
}

struct servers *servers_new(const union address *addresses, const socklen_t *sizes, unsigned count, unsigned threads,
                            unsigned sockets, int64_t timeout, bool tells_client) {
    struct servers *servers = calloc(1, sizeof *servers + threads * sizeof *servers->part);
    if (!servers)
        return NULL;
    servers->timeout = timeout;
    servers->tells_client = tells_client;
    servers->count = count;
    servers->sockets = sockets;
    servers->threads = threads;
    memcpy(servers->address, addresses, count * sizeof *addresses);
    memcpy(servers->address_size, sizes, count * sizeof *sizes);
    atomic_init(&servers->references, 1);
    uint8_t in_turn[MAX_SERVERS];
    for (unsigned number = 0; number < count; number++)
        in_turn[number] = (uint8_t)number;
    servers_set_order(servers, BY_DATAGRAM, in_turn, count);
    servers_set_order(servers, BY_STREAM, in_turn, count);
    for (unsigned thread = 0; thread < threads; thread++)
        if (part_open(&servers->part[thread], servers)) {
            int reason = errno;
            servers_release(servers);
            errno = reason;
            return NULL;
        }
    return servers;
}

void servers_release(struct servers *servers) {
    if (!servers || atomic_fetch_sub(&servers->references, 1) != 1)
        return;
    for (unsigned thread = 0; thread < servers->threads; thread++)
        part_close(&servers->part[thread]);
    free(servers);
}

void servers_set_order(struct servers *servers, enum transport transport, const uint8_t *numbers, unsigned count) {
    uint64_t order = UINT64_MAX;
    while (count--)
        order = order << ORDER_BITS | numbers[count];
    atomic_store(&servers->order[transport], order);
}

int servers_next(const struct servers *servers, enum transport transport, unsigned tried) {
    uint64_t order = atomic_load(&servers->order[transport]);
    for (; (order & END_OF_ORDER) != END_OF_ORDER; order >>= ORDER_BITS)
        if (!(tried >> (order & END_OF_ORDER) & 1))
            return (int)(order & END_OF_ORDER);
    return -1;
}

bool servers_has_one(const struct servers *servers) {
    uint64_t order = atomic_load(&servers->order[BY_DATAGRAM]);
    return (order & END_OF_ORDER) == END_OF_ORDER || (order >> ORDER_BITS & END_OF_ORDER) == END_OF_ORDER;
}

struct upstream_socket *part_draw(struct part *part, unsigned server, struct chance *chance) {
    unsigned sockets = part->servers->sockets;
    return &part->sockets[server * sockets + chance_secret(chance) % sockets];
}
