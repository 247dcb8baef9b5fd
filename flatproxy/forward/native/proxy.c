/* See proxy.h for what may live here. */
#include "proxy.h"

#include <string.h>

#include "wire.h"

enum { SIGNATURE = 12, FIXED = 16, PROXIED = 0x21, INET = 0x10, INET6 = 0x20, STREAM = 1, DATAGRAM = 2 };

size_t proxy_make(uint8_t *out, const struct client *client, const union address *bound, bool tcp) {
    size_t size, bound_size;
    const uint8_t *host = address_host(&client->address, &size), *asked = address_host(bound, &bound_size);
    if (client->local_size == size)
        asked = client->local;
    memcpy(out, "\r\n\r\n\0\r\nQUIT\n", SIGNATURE);
    out[12] = PROXIED;
    out[13] = (uint8_t)((size == sizeof bound->ipv4.sin_addr ? INET : INET6) | (tcp ? STREAM : DATAGRAM));
    write16(out + 14, (unsigned)(2 * size + 4));
    memcpy(out + FIXED, host, size);
    memcpy(out + FIXED + size, asked, size);
    write16(out + FIXED + 2 * size, address_port(&client->address));
    write16(out + FIXED + 2 * size + 2, address_port(bound));
    return FIXED + 2 * size + 4;
}
