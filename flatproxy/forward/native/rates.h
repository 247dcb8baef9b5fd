/* How much one client may have: token buckets that all packet threads share. No socket may live here; time is passed.
 *
 * A bucket holds a second's worth and fills with time. It is one number: when it will be full again, and how often in a
 * row it was found empty. So a look is one compare-and-swap, and no thread waits for another. */
#ifndef FLATPROXY_RATES_H
#define FLATPROXY_RATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grace.h"

enum { RATE_PLACES = 65536, RATE_WAYS = 4 };

struct buckets {
    uint32_t per_second; /* 0: no limit */
    struct bucket {
        _Atomic uint64_t key, state;
    } *bucket;
};

struct rates {
    struct retired retired;
    struct buckets responses, queries; /* made here, by network; forwarded, by address */
    uint32_t slip;                     /* every so many-th response is cut short instead of dropped; 0: none */
};

enum excess { EXCESS_NONE, EXCESS_DROP, EXCESS_SLIP };

struct rates *rates_new(uint32_t responses, uint32_t slip, uint32_t queries); /* NULL where memory is short */
void rates_free(struct rates *rates);

/* What is to become of a query; `own`: the response is made here. `now` in nanoseconds. */
enum excess rates_take(struct rates *rates, const uint8_t *host, size_t size, bool own, int64_t now);

#endif
