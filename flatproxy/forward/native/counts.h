/* Plain integers in which a packet thread counts; anybody may read them at any time.
 *
 * Each has one writer, so that counting is a load and a store. Nothing here publishes anything. */
#ifndef FLATPROXY_COUNTS_H
#define FLATPROXY_COUNTS_H

#include <stdatomic.h>
#include <stdint.h>

#include "wire.h"

enum { LATENCY_BOUNDS = 15 };

/* Every count of a packet thread but for the arrays. */
#define EACH_COUNT(X)                                                                                                  \
    X(udp_forwarded)                                                                                                   \
    X(udp_flattened)                                                                                                   \
    X(udp_refused)                                                                                                     \
    X(udp_dropped)                                                                                                     \
    X(tcp_forwarded)                                                                                                   \
    X(tcp_flattened)                                                                                                   \
    X(tcp_refused_queries)                                                                                             \
    X(tcp_dropped)                                                                                                     \
    X(malformed)                                                                                                       \
    X(unsent)                                                                                                          \
    X(overloaded)                                                                                                      \
    X(limited)                                                                                                         \
    X(handed_over)                                                                                                     \
    X(not_handed_over)                                                                                                 \
    X(tcp_connections)                                                                                                 \
    X(tcp_evicted)                                                                                                     \
    X(tcp_refused)                                                                                                     \
    X(pending)                                                                                                         \
    X(rounds)

struct counts {
#define AS_FIELD(name) _Atomic uint64_t name;
    EACH_COUNT(AS_FIELD)
#undef AS_FIELD
    _Atomic uint64_t rcodes[RCODES];
    _Atomic uint64_t latency[LATENCY_BOUNDS + 1]; /* by bound, the last above all */
    _Atomic uint64_t latency_ns;
};

/* What one thread has to do with one nameserver. Times are nanoseconds of the monotonic clock, 0: never. */
#define EACH_SERVER_COUNT(X)                                                                                           \
    X(udp_sent)                                                                                                        \
    X(udp_answered)                                                                                                    \
    X(udp_timeouts)                                                                                                    \
    X(udp_mismatched)                                                                                                  \
    X(tcp_sent)                                                                                                        \
    X(tcp_answered)                                                                                                    \
    X(tcp_timeouts)                                                                                                    \
    X(tcp_mismatched)                                                                                                  \
    X(servfails)                                                                                                       \
    X(pending)                                                                                                         \
    X(udp_heard_at)     /* a message that answers */                                                                   \
    X(udp_well_at)      /* … with anything but SERVFAIL */                                                             \
    X(udp_silent_since) /* when the newest query that was given up had been sent */                                    \
    X(tcp_heard_at)                                                                                                    \
    X(tcp_well_at)                                                                                                     \
    X(tcp_silent_since) /* … or the newest connection that failed had been begun */

struct server_counts {
#define AS_FIELD(name) _Atomic uint64_t name;
    EACH_SERVER_COUNT(AS_FIELD)
#undef AS_FIELD
    _Atomic uint64_t latency[LATENCY_BOUNDS + 1]; /* as in struct counts */
};

static inline uint64_t count_of(const _Atomic uint64_t *count) {
    return atomic_load_explicit(count, memory_order_relaxed);
}

static inline void count_set(_Atomic uint64_t *count, uint64_t value) {
    atomic_store_explicit(count, value, memory_order_relaxed);
}

static inline void count(_Atomic uint64_t *one) {
    count_set(one, count_of(one) + 1);
}

/* Takes note of a time, where it is later than the one before. */
static inline void count_latest(_Atomic uint64_t *time, int64_t at) {
    if ((uint64_t)at > count_of(time))
        count_set(time, (uint64_t)at);
}

/* Counts how long a nameserver took to reply, in nanoseconds. */
void count_latency(struct counts *counts, struct server_counts *server, int64_t duration);

/* Counts the rcode of a reply to a client. */
void count_rcode(struct counts *counts, const uint8_t *reply, size_t size);

#endif
