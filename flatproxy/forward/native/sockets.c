/* See sockets.h for what may live here. */
#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/uio.h>

const uint8_t *address_host(const union address *address, size_t *size) {
    if (address->any.sa_family == AF_INET) {
        *size = sizeof address->ipv4.sin_addr;
        return (const uint8_t *)&address->ipv4.sin_addr;
    }
    *size = sizeof address->ipv6.sin6_addr;
    return (const uint8_t *)&address->ipv6.sin6_addr;
}

unsigned address_port(const union address *address) {
    return ntohs(address->any.sa_family == AF_INET ? address->ipv4.sin_port : address->ipv6.sin6_port);
}

bool prepare_to_listen(int fd, bool tcp) {
    int kind = 0, accepts = 0, on = 1, flags = fcntl(fd, F_GETFL);
    socklen_t size = sizeof kind;
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) || getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size) ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &size))
        return false;
    if (kind == (tcp ? SOCK_STREAM : SOCK_DGRAM) && !accepts == !tcp) {
        if (tcp) /* whoever connects inherits it */
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        return true;
    }
    errno = EINVAL;
    return false;
}

int ask_for_destination(int fd) {
    int family = 0, on = 1;
    socklen_t size = sizeof family;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size))
        return -1;
    if (family == AF_INET6)
        return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
    return setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
}

void client_take(struct client *client, const struct msghdr *header) {
    client->address_size = (uint8_t)header->msg_namelen;
    memcpy(&client->address, header->msg_name, header->msg_namelen);
    client->local_size = 0;
    if (!header->msg_controllen)
        return;
    const struct cmsghdr *told = CMSG_FIRSTHDR(header);
    if (!told)
        return;
    if (told->cmsg_level == IPPROTO_IP && told->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo info;
        memcpy(&info, CMSG_DATA(told), sizeof info);
        client->local_size = sizeof info.ipi_addr;
        memcpy(client->local, &info.ipi_addr, sizeof info.ipi_addr);
    } else if (told->cmsg_level == IPPROTO_IPV6 && told->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo info;
        memcpy(&info, CMSG_DATA(told), sizeof info);
        client->local_size = sizeof info.ipi6_addr;
        client->interface = info.ipi6_ifindex;
        memcpy(client->local, &info.ipi6_addr, sizeof info.ipi6_addr);
    }
}

void client_address(struct msghdr *header, struct client *client, uint8_t *control) {
    header->msg_name = &client->address;
    header->msg_namelen = client->address_size;
    header->msg_control = NULL;
    header->msg_controllen = 0;
    if (!client->local_size)
        return;
    struct in_pktinfo ipv4 = {0}; /* by any interface */
    struct in6_pktinfo ipv6 = {.ipi6_ifindex = client->interface};
    bool is_ipv4 = client->local_size == sizeof ipv4.ipi_spec_dst;
    size_t size = is_ipv4 ? sizeof ipv4 : sizeof ipv6;
    memcpy(is_ipv4 ? (void *)&ipv4.ipi_spec_dst : (void *)&ipv6.ipi6_addr, client->local, client->local_size);
    memset(control, 0, CMSG_SPACE(size));
    header->msg_control = control;
    header->msg_controllen = CMSG_SPACE(size);
    struct cmsghdr *source = CMSG_FIRSTHDR(header);
    source->cmsg_level = is_ipv4 ? IPPROTO_IP : IPPROTO_IPV6;
    source->cmsg_type = is_ipv4 ? IP_PKTINFO : IPV6_PKTINFO;
    source->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(source), is_ipv4 ? (void *)&ipv4 : (void *)&ipv6, size);
}

bool client_send(int fd, struct client *client, const uint8_t *octets, size_t size) {
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_ROOM];
    struct iovec part = {(void *)octets, size};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    client_address(&header, client, control);
    for (int attempts = 0; attempts < 2; attempts++) {
        ssize_t sent = sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0)
            return true;
        if (errno != EINTR && errno != ECONNREFUSED)
            return false;
    }
    return false;
}
