/* Socket addresses of both families, where a datagram came from, and the one call that sends a datagram back.
 *
 * Nothing about DNS may live here. */
#ifndef FLATPROXY_SOCKETS_H
#define FLATPROXY_SOCKETS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { CONTROL_ROOM = 64 };

union address {
    struct sockaddr any;
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
};

/* A client, and the local address that it asked where the socket tells. */
struct client {
    union address address;
    uint32_t interface; /* of an IPv6 local address */
    uint8_t address_size, local_size;
    uint8_t local[16];
};

/* The 4 or 16 octets of an address. */
const uint8_t *address_host(const union address *address, size_t *size);

/* The port, in host order. */
unsigned address_port(const union address *address);

/* Whether a descriptor is a bound socket of this kind that can be listened on; it never blocks from then on. */
bool prepare_to_listen(int fd, bool tcp);

/* Has the kernel tell with each datagram which address it was sent to; -1 with errno where it cannot. */
int ask_for_destination(int fd);

/* Takes the client of a received datagram. */
void client_take(struct client *client, const struct msghdr *header);

/* Points a header at a client, with the control message that makes a reply leave from where it was asked
 * (RFC 2181 section 4.1); `control` has CONTROL_ROOM octets, aligned for a struct cmsghdr. */
void client_address(struct msghdr *header, struct client *client, uint8_t *control);

/* Sends one datagram to a client at once; whether the kernel took it. */
bool client_send(int fd, struct client *client, const uint8_t *octets, size_t size);

#endif
