/* Which client addresses are in a list. No socket and no DNS may live here; a list never changes once it is made. */
#ifndef FLATPROXY_ACCESS_H
#define FLATPROXY_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IPV4_SIZE = 4, IPV6_SIZE = 16 };

/* First and last addresses of ranges, 2 * size octets each, sorted and apart from each other. */
struct ranges {
    uint8_t *octets;
    size_t count, size;
};

struct access {
    bool everyone;
    struct ranges ipv4, ipv6;
};

/* Copies `octets` into an empty list; -1 where memory is short, -2 where they are not sorted and apart. */
int ranges_fill(struct ranges *ranges, const uint8_t *octets, size_t octet_count, size_t size);
void ranges_empty(struct ranges *ranges);

/* Whether an address of `size` octets is in the list. */
bool access_allows(const struct access *access, const uint8_t *host, size_t size);

#endif
