"""The forms of an address: the kernel's sockaddr, text, and the octets that everything else works with.

A `Sockaddr` is the way back to whoever sent a datagram, and only its socket reads it. It is padded; from a socket that
tells which of its addresses was asked it ends with the control message that makes a reply leave from there.
"""

from __future__ import annotations

import socket
from struct import Struct
from typing import Final

Sockaddr = bytes

ADDRESS: Final = 32
"""Octets of a `Sockaddr` that hold the sockaddr, padded; a control message may follow."""
CONTROL: Final = 40
"""Octets of a control message that holds IP_PKTINFO or IPV6_PKTINFO, padded."""

# Linux's numbers; the socket module of 3.11 does not name the IPv4 one.
_IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
_IPV6_RECVPKTINFO = getattr(socket, "IPV6_RECVPKTINFO", 49)
_IPV6_PKTINFO = getattr(socket, "IPV6_PKTINFO", 50)

_FAMILY = Struct("@H")
_IPV4 = Struct("@H2s4s")
_IPV6 = Struct("@H2s4s16sI")
_CONTROL_HEADER = Struct("@Nii")


def octets_of(host: str) -> bytes:
    """Return the octets of a host in text form."""
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return socket.inet_aton(host)


def peer_of(sockaddr: Sockaddr) -> bytes:
    """Return the octets of the host, and two of the port."""
    if _FAMILY.unpack_from(sockaddr)[0] == socket.AF_INET:
        return sockaddr[4:8] + sockaddr[2:4]
    return sockaddr[8:24] + sockaddr[2:4]


def sockaddr_of(host: str, port: int, scope: int = 0) -> Sockaddr:
    """Return the octets for a host and port; `scope` is the interface of a link-local address."""
    number = port.to_bytes(2, "big")
    if ":" in host:
        octets = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
        return _IPV6.pack(socket.AF_INET6, number, bytes(4), octets, scope).ljust(ADDRESS, b"\0")
    return _IPV4.pack(socket.AF_INET, number, socket.inet_pton(socket.AF_INET, host)).ljust(ADDRESS, b"\0")


def ask_for_destination(sock: socket.socket) -> None:
    """Have the kernel tell with each datagram which address it was sent to."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def source_of(level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
    """Return the control message that makes a reply leave from where a datagram arrived, told by another one.

    It is RFC 3542 section 6 for IPv6, and ip(7) for IPv4: interface, local address, destination.
    """
    if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
        return level, kind, bytes(4) + data[8:12] + bytes(4)  # by any interface
    return level, kind, data


def destination(control: bytes) -> tuple[bytes, bytes]:
    """Return the control message for replies to what came with this one, and the host that was asked.

    Both are empty where it says nothing of that.
    """
    level, kind, data = read_control(control)
    source = control_of(*source_of(level, kind, data))
    if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
        return source, data[8:12]
    if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
        return source, data[:16]
    return b"", b""


def read_control(control: bytes) -> tuple[int, int, bytes]:
    """Return level, kind and data of a control message."""
    length, level, kind = _CONTROL_HEADER.unpack_from(control)
    return level, kind, control[_CONTROL_HEADER.size : length]


def control_of(level: int, kind: int, data: bytes) -> bytes:
    """Return a control message as sendmsg(2) takes it, padded to `CONTROL` octets."""
    octets = _CONTROL_HEADER.pack(_CONTROL_HEADER.size + len(data), level, kind) + data
    return octets.ljust(CONTROL, b"\0")


def socket_address(sockaddr: Sockaddr) -> tuple[str | int, ...]:
    """Return the address as the socket module takes it."""
    port = int.from_bytes(sockaddr[2:4], "big")
    if _FAMILY.unpack_from(sockaddr)[0] == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, sockaddr[4:8]), port
    return socket.inet_ntop(socket.AF_INET6, sockaddr[8:24]), port, 0, _IPV6.unpack_from(sockaddr)[4]
