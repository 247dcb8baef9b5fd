/* See access.h for what may live here. */
#include "access.h"

#include <stdlib.h>
#include <string.h>

int ranges_fill(struct ranges *ranges, const uint8_t *octets, size_t octet_count, size_t size) {
    *ranges = (struct ranges){.size = size};
    if (octet_count % (2 * size))
        return -2;
    if (!octet_count)
        return 0;
    ranges->octets = malloc(octet_count);
    if (!ranges->octets)
        return -1;
    memcpy(ranges->octets, octets, octet_count);
    ranges->count = octet_count / (2 * size);
    for (size_t at = 0; at + size < octet_count; at += size) {
        int order = memcmp(octets + at, octets + at + size, size);
        bool within = at % (2 * size) == 0;
        if (order > 0 || (order == 0 && !within))
            return -2;
    }
    return 0;
}

void ranges_empty(struct ranges *ranges) {
    free(ranges->octets);
    *ranges = (struct ranges){0};
}

bool access_allows(const struct access *access, const uint8_t *host, size_t size) {
    if (access->everyone)
        return true;
    const struct ranges *ranges = size == IPV4_SIZE ? &access->ipv4 : &access->ipv6;
    size_t low = 0, high = ranges->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const uint8_t *range = ranges->octets + 2 * size * middle;
        if (memcmp(host, range, size) < 0)
            high = middle;
        else if (memcmp(host, range + size, size) > 0)
            low = middle + 1;
        else
            return true;
    }
    return false;
}
