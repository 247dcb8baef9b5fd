/* See rates.h for what may live here. */
#include "rates.h"

#include <stdlib.h>

#include "names.h"

enum { IPV4_NETWORK = 3, IPV6_NETWORK = 7, REFUSED_BITS = 16, MICROSECONDS = 1000000 };

static int buckets_init(struct buckets *buckets, uint32_t per_second) {
    buckets->per_second = per_second;
    if (!per_second)
        return 0;
    buckets->bucket = calloc(RATE_PLACES, sizeof *buckets->bucket);
    return buckets->bucket ? 0 : -1;
}

struct rates *rates_new(uint32_t responses, uint32_t slip, uint32_t queries) {
    struct rates *rates = calloc(1, sizeof *rates);
    if (!rates)
        return NULL;
    rates->slip = slip;
    if (buckets_init(&rates->responses, responses) || buckets_init(&rates->queries, queries)) {
        rates_free(rates);
        return NULL;
    }
    return rates;
}

void rates_free(struct rates *rates) {
    if (!rates)
        return;
    free(rates->responses.bucket);
    free(rates->queries.bucket);
    free(rates);
}

/* The bucket of a key: its own, else of the few that it may have the one that is full or will be so first. */
static struct bucket *bucket_of(struct buckets *buckets, uint64_t key) {
    struct bucket *ways = &buckets->bucket[key % (RATE_PLACES / RATE_WAYS) * RATE_WAYS], *oldest = ways;
    for (struct bucket *way = ways; way < ways + RATE_WAYS; way++) {
        if (atomic_load(&way->key) == key)
            return way;
        if (atomic_load(&way->state) < atomic_load(&oldest->state))
            oldest = way;
    }
    atomic_store(&oldest->key, key);
    atomic_store(&oldest->state, 0);
    return oldest;
}

/* Takes a token: 0 where there was one, else how many were refused in a row. The state is when the bucket will be full,
 * in microseconds, above the number of refusals. */
static unsigned take(struct buckets *buckets, uint64_t key, int64_t now) {
    struct bucket *bucket = bucket_of(buckets, key);
    uint64_t at = (uint64_t)now / 1000, cost = MICROSECONDS / buckets->per_second, state = atomic_load(&bucket->state);
    uint64_t next;
    unsigned refused;
    do {
        uint64_t full = state >> REFUSED_BITS > at ? state >> REFUSED_BITS : at;
        bool has_token = full + cost <= at + MICROSECONDS;
        refused = has_token ? 0 : (unsigned)(state & ((1u << REFUSED_BITS) - 1)) + 1;
        if (refused >> REFUSED_BITS)
            refused = 1;
        next = (has_token ? full + cost : full) << REFUSED_BITS | refused;
    } while (!atomic_compare_exchange_weak(&bucket->state, &state, next));
    return refused;
}

enum excess rates_take(struct rates *rates, const uint8_t *host, size_t size, bool own, int64_t now) {
    struct buckets *buckets = own ? &rates->responses : &rates->queries;
    if (!buckets->per_second)
        return EXCESS_NONE;
    size_t counted = !own ? size : size == 4 ? IPV4_NETWORK : IPV6_NETWORK;
    unsigned refused = take(buckets, octets_hash(host, counted) | 1, now);
    if (!refused)
        return EXCESS_NONE;
    return own && rates->slip && refused % rates->slip == 0 ? EXCESS_SLIP : EXCESS_DROP;
}
