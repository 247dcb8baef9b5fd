/* See counts.h for what may live here. */
#include "counts.h"

static const int64_t BOUNDS_NS[LATENCY_BOUNDS] = {
    100000,   250000,    500000,    1000000,   2500000,    5000000,    10000000,   25000000,
    50000000, 100000000, 250000000, 500000000, 1000000000, 2500000000, 5000000000,
};

void count_latency(struct counts *counts, struct server_counts *server, int64_t duration) {
    int bound = 0;
    while (bound < LATENCY_BOUNDS && duration > BOUNDS_NS[bound])
        bound++;
    count(&counts->latency[bound]);
    count(&server->latency[bound]);
    count_set(&counts->latency_ns, count_of(&counts->latency_ns) + (uint64_t)duration);
}

void count_rcode(struct counts *counts, const uint8_t *reply, size_t size) {
    unsigned code = reply_rcode(reply, size);
    if (code < RCODES)
        count(&counts->rcodes[code]);
}
