/* The nameservers of one configuration: their addresses, the sockets of each packet thread, and in which order they
 * are to be asked. Who is up is judged elsewhere; what a message means is nobody's matter here. */
#ifndef FLATPROXY_SERVERS_H
#define FLATPROXY_SERVERS_H

#include <stdatomic.h>

#include "chance.h"
#include "counts.h"
#include "sockets.h"
#include "watch.h"

enum transport { BY_DATAGRAM, BY_STREAM, TRANSPORTS };
enum { MAX_SERVERS = 15, QUERIES_A_PORT = 32, RECEIVE_BUFFER = 4 * 1024 * 1024 };

/* One connected UDP socket; its port is the kernel's choice (RFC 5452 section 9.2). */
struct upstream_socket {
    struct watch watch;
    struct part *part;
    uint16_t server;
    uint16_t number; /* tells the sockets of a thread apart, mostly */
};

/* What one packet thread has of them. `pending` and `links` keep the sockets open. */
struct part {
    struct servers *servers;
    struct upstream_socket *sockets; /* those of the first server, then those of the second … */
    struct server_counts counts[MAX_SERVERS];
    uint32_t setting_up[MAX_SERVERS]; /* connections to each */
    uint32_t pending, links;
    bool adopted;
    struct part *next; /* one that is no longer in force */
};

struct servers {
    _Atomic uint32_t references;
    _Atomic uint64_t order[TRANSPORTS]; /* numbers, four bits each, the first to be asked lowest; 15 ends it */
    int64_t timeout;        /* nanoseconds */
    bool tells_client;      /* by a PROXY header before what is asked */
    unsigned count, sockets, threads;
    union address address[MAX_SERVERS];
    socklen_t address_size[MAX_SERVERS];
    struct part part[];
};

/* Opens `sockets` sockets for each server and thread; NULL with errno where one is not to be had. */
struct servers *servers_new(const union address *addresses, const socklen_t *sizes, unsigned count, unsigned threads,
                            unsigned sockets, int64_t timeout, bool tells_client);
void servers_release(struct servers *servers);

/* Closes the sockets of one thread. */
void part_close(struct part *part);

void servers_set_order(struct servers *servers, enum transport transport, const uint8_t *numbers, unsigned count);

/* The best server that is not among those tried, a bit each; -1 where there is none. */
int servers_next(const struct servers *servers, enum transport transport, unsigned tried);

/* Whether at most one server is up over UDP. */
bool servers_has_one(const struct servers *servers);

/* A random one of the sockets to a server. */
struct upstream_socket *part_draw(struct part *part, unsigned server, struct chance *chance);

#endif
