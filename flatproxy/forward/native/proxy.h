/* The PROXY protocol, version 2: the header that tells the next server who the client is (proxy-protocol.txt of
 * HAProxy, section 2.2). It is only written here: who believes one is not the packet path's matter. */
#ifndef FLATPROXY_PROXY_H
#define FLATPROXY_PROXY_H

#include "sockets.h"

enum { PROXY_ROOM = 52 };

/* Writes the header of a client that asked at `bound`, and there at the address that `client` says, if any. Returns its
 * size, at most PROXY_ROOM. */
size_t proxy_make(uint8_t *out, const struct client *client, const union address *bound, bool tcp);

#endif
