"""The forms of an address: text, the octets that everything else works with, and which of ours was asked."""

from __future__ import annotations

import socket
from typing import Final

CONTROL: Final = socket.CMSG_SPACE(20)
"""Room for a control message that holds IP_PKTINFO or IPV6_PKTINFO."""

Control = tuple[int, int, bytes]
"""Level, kind and data of a control message, as the socket module has it."""

# Linux's numbers; the socket module of 3.11 does not name the IPv4 one.
_IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
_IPV6_RECVPKTINFO = getattr(socket, "IPV6_RECVPKTINFO", 49)
_IPV6_PKTINFO = getattr(socket, "IPV6_PKTINFO", 50)


def octets_of(host: str) -> bytes:
    """Return the octets of a host in text form."""
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return socket.inet_aton(host)


def ask_for_destination(sock: socket.socket) -> None:
    """Have the kernel tell with each datagram which address it was sent to."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def destination(control: Control) -> tuple[Control, bytes]:
    """Return the control message that makes a reply leave from where a datagram arrived, and the host that was asked.

    It is RFC 3542 section 6 for IPv6, and ip(7) for IPv4: interface, local address, destination. The host is empty
    where the message says nothing of it.
    """
    level, kind, data = control
    if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
        return (level, kind, bytes(4) + data[8:12] + bytes(4)), data[8:12]  # by any interface
    return control, data[:16] if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO else b""
