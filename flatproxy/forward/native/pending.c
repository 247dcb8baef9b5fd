/* See pending.h for what may live here. */
#include "pending.h"

#include <stdlib.h>
#include <string.h>

#include "names.h"
#include "servers.h"

int pending_init(struct pending *pending, uint32_t capacity) {
    *pending = (struct pending){
        .capacity = capacity, .free = NOBODY, .oldest = NOBODY, .newest = NOBODY, .not_resent = NOBODY};
    pending->queries = calloc(capacity, sizeof *pending->queries);
    pending->buckets = malloc(PENDING_BUCKETS * sizeof *pending->buckets);
    pending->shares = calloc(PENDING_SHARES, sizeof *pending->shares);
    if (!pending->queries || !pending->buckets || !pending->shares) {
        pending_end(pending);
        return -1;
    }
    memset(pending->buckets, 0xFF, PENDING_BUCKETS * sizeof *pending->buckets);
    return 0;
}

void pending_end(struct pending *pending) {
    for (uint32_t number = 0; number < pending->touched; number++)
        free(pending->queries[number].large);
    free(pending->queries);
    free(pending->buckets);
    free(pending->shares);
    *pending = (struct pending){0};
}

const uint8_t *query_octets(const struct query *query) {
    return query->large ? query->large : query->octets;
}

static uint32_t *bucket_of(const struct pending *pending, const struct upstream_socket *socket, uint16_t id) {
    return &pending->buckets[(id + socket->number * 40503u) % PENDING_BUCKETS]; /* IDs are random as they are */
}

static uint16_t share_of(const struct client *client) {
    size_t size;
    const uint8_t *host = address_host(&client->address, &size);
    return (uint16_t)octets_hash(host, size);
}

unsigned pending_share(const struct pending *pending, const struct client *client) {
    return pending->shares[share_of(client)];
}

struct query *pending_admit(struct pending *pending, const uint8_t *message, size_t size, const struct client *client) {
    uint32_t number = pending->free != NOBODY ? pending->free : pending->touched;
    if (number >= pending->capacity)
        return NULL;
    struct query *query = &pending->queries[number];
    uint8_t *large = NULL;
    if (size > QUERY_ROOM && !(large = malloc(size)))
        return NULL;
    if (number == pending->touched)
        pending->touched++;
    else
        pending->free = query->next;
    query->large = large;
    memcpy(large ? large : query->octets, message, size);
    query->size = (uint16_t)size;
    query->tried = 0;
    query->client = *client;
    query->share = share_of(client);
    pending->shares[query->share]++;
    pending->count++;
    return query;
}

void pending_link(struct pending *pending, struct query *query, struct upstream_socket *socket, uint16_t id,
                  int64_t now) {
    uint32_t self = (uint32_t)(query - pending->queries), *bucket = bucket_of(pending, socket, id);
    query->socket = socket;
    query->id = id;
    query->sent_at = now;
    query->next = *bucket;
    *bucket = self;
    query->older = pending->newest;
    query->newer = NOBODY;
    if (pending->newest != NOBODY)
        pending->queries[pending->newest].newer = self;
    else
        pending->oldest = self;
    pending->newest = self;
    if (pending->not_resent == NOBODY)
        pending->not_resent = self;
}

struct query *pending_find(const struct pending *pending, const struct upstream_socket *socket, uint16_t id) {
    for (uint32_t number = *bucket_of(pending, socket, id); number != NOBODY;) {
        struct query *query = &pending->queries[number];
        if (query->id == id && query->socket == socket)
            return query;
        number = query->next;
    }
    return NULL;
}

void pending_unlink(struct pending *pending, struct query *query) {
    uint32_t self = (uint32_t)(query - pending->queries), *link = bucket_of(pending, query->socket, query->id);
    while (*link != self)
        link = &pending->queries[*link].next;
    *link = query->next;
    if (pending->not_resent == self)
        pending->not_resent = query->newer;
    if (query->older != NOBODY)
        pending->queries[query->older].newer = query->newer;
    else
        pending->oldest = query->newer;
    if (query->newer != NOBODY)
        pending->queries[query->newer].older = query->older;
    else
        pending->newest = query->older;
}

void pending_release(struct pending *pending, struct query *query) {
    free(query->large);
    query->large = NULL;
    pending->shares[query->share]--;
    pending->count--;
    query->next = pending->free;
    pending->free = (uint32_t)(query - pending->queries);
}

static struct query *at(const struct pending *pending, uint32_t number) {
    return number == NOBODY ? NULL : &pending->queries[number];
}

struct query *pending_oldest(const struct pending *pending) {
    return at(pending, pending->oldest);
}

struct query *pending_newer(const struct pending *pending, const struct query *query) {
    return at(pending, query->newer);
}

struct query *pending_half_overdue(struct pending *pending, int64_t before) {
    struct query *query = at(pending, pending->not_resent);
    if (!query || query->sent_at >= before)
        return NULL;
    pending->not_resent = query->newer;
    return query;
}
