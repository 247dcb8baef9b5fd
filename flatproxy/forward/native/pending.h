/* Queries under way over UDP, by the socket and the ID that they were sent with, and in the order of sending.
 *
 * No socket and no clock may live here. Room for all of them is there from the start, and touched only when used. */
#ifndef FLATPROXY_PENDING_H
#define FLATPROXY_PENDING_H

#include "sockets.h"
#include "wire.h"

enum { QUERY_ROOM = 128, NOBODY = 0xFFFFFFFF, PENDING_BUCKETS = 4096, PENDING_SHARES = 65536 };

struct upstream_socket;
struct listener;

struct query {
    struct upstream_socket *socket;
    int64_t sent_at;
    struct listener *listener;
    uint8_t *large; /* the query where it is larger than QUERY_ROOM */
    uint32_t next, older, newer;
    uint16_t id, size, end, share;
    uint16_t tried; /* servers asked so far, a bit each */
    struct client client;
    uint8_t octets[QUERY_ROOM]; /* as the client sent it */
};

struct pending {
    struct query *queries;
    uint32_t *buckets;
    uint16_t *shares; /* queries under way by a hash of the client's address */
    uint32_t capacity, touched, free, oldest, newest, not_resent, count;
};

int pending_init(struct pending *pending, uint32_t capacity); /* -1 where memory is short */
void pending_end(struct pending *pending);

const uint8_t *query_octets(const struct query *query);

/* A place for a query, filled in but for what `pending_link` sets; NULL without room. */
struct query *pending_admit(struct pending *pending, const uint8_t *message, size_t size, const struct client *client);

/* How many queries of this client (and of few others, by chance) are under way. */
unsigned pending_share(const struct pending *pending, const struct client *client);

/* Puts an admitted query under a socket and an ID that are not in use, as the newest. */
void pending_link(struct pending *pending, struct query *query, struct upstream_socket *socket, uint16_t id,
                  int64_t now);
struct query *pending_find(const struct pending *pending, const struct upstream_socket *socket, uint16_t id);

/* Takes a query out, so that it can be linked again or released. */
void pending_unlink(struct pending *pending, struct query *query);
void pending_release(struct pending *pending, struct query *query);

struct query *pending_oldest(const struct pending *pending);
struct query *pending_newer(const struct pending *pending, const struct query *query);

/* The oldest query that was sent before this time and was not returned here before; NULL without one. */
struct query *pending_half_overdue(struct pending *pending, int64_t before);

#endif
