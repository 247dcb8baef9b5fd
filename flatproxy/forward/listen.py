"""Binds a listen address: one UDP and one TCP socket on the same port, or several. It reads and writes nothing."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from time import monotonic, sleep

from attrs import frozen

from flatproxy.config.settings import Endpoint
from flatproxy.errors import FlatproxyError

RECEIVE_BUFFER = 4 * 1024 * 1024
BACKLOG = 1_024
_PORT_ATTEMPTS = 20
PATIENCE_S = 2.0
"""For how long the start of several workers waits for a port that is in use."""


class _TakenError(FlatproxyError):
    """The address is in use."""


@frozen
class Sockets:
    """The two sockets of a listen address, bound; TCP listens already."""

    udp: socket.socket
    tcp: socket.socket


def bind_all(endpoint: Endpoint, count: int) -> list[Sockets]:
    """Bind so many pairs that the kernel spreads clients over; one pair alone shares its port with nobody.

    The first pair of several is bound like one alone, and only then opened to the others: a second process of the same
    user must not be able to take a part of the queries.
    """
    if count == 1:
        return [bind(endpoint)]
    if sys.platform != "linux":
        raise FlatproxyError(f"cannot listen on {endpoint} with {count} workers: that needs Linux; write workers = 1")
    first = _bind_patiently(endpoint)
    for sock in (first.udp, first.tcp):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    at = Endpoint(endpoint.host, first.udp.getsockname()[1])
    return [first, *(_join(at) for _ in range(count - 1))]


def _bind_patiently(endpoint: Endpoint) -> Sockets:
    """Bind; workers that have just lost their control process keep the port until they have drained."""
    deadline = monotonic() + PATIENCE_S
    while True:
        try:
            return bind(endpoint)
        except _TakenError:
            if monotonic() > deadline:
                raise
            sleep(0.02)


def _join(endpoint: Endpoint) -> Sockets:
    tcp = _bound(endpoint.host, endpoint.port, socket.SOCK_STREAM, str(endpoint), shared=True)
    udp = _bound(endpoint.host, endpoint.port, socket.SOCK_DGRAM, str(endpoint), shared=True)
    tcp.listen(BACKLOG)
    return Sockets(udp, tcp)


def share(sockets: Sockets, count: int) -> list[Sockets]:
    """Return so many pairs that are one: whichever process is first takes what comes."""
    return [sockets] * count


def bind(endpoint: Endpoint) -> Sockets:
    """Bind both; port 0 takes one that is free for both. `FlatproxyError` says which address is not to be had."""
    for _ in range(_PORT_ATTEMPTS):
        tcp = _bound(endpoint.host, endpoint.port, socket.SOCK_STREAM, str(endpoint))
        try:
            udp = _bound(endpoint.host, tcp.getsockname()[1], socket.SOCK_DGRAM, str(endpoint))
        except FlatproxyError:
            tcp.close()
            if endpoint.port:
                raise
            continue
        tcp.listen(BACKLOG)
        return Sockets(udp, tcp)
    raise FlatproxyError(f"cannot listen on {endpoint}: no port is free for UDP and TCP alike")


def _bound(host: str, port: int, kind: socket.SocketKind, text: str, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    transport = "TCP" if kind == socket.SOCK_STREAM else "UDP"
    try:
        sock = socket.socket(family, kind)
    except OSError as error:
        raise FlatproxyError(f"cannot listen on {text} ({transport}): {error.strerror}") from None
    try:
        sock.setblocking(False)  # noqa: FBT003 - the socket module's signature
        if family == socket.AF_INET6:
            # [::] must leave the IPv4 side to 0.0.0.0, or the two could not stand side by side.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        kind_of_error = _TakenError if error.errno == errno.EADDRINUSE else FlatproxyError
        raise kind_of_error(f"cannot listen on {text} ({transport}): {error.strerror}{_advice(error)}") from None
    return sock


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "; stop what uses the port (`ss -lnptu` shows it), or write another address under [listen] dns"
    if error.errno == errno.EACCES:
        return "; ports below 1024 need CAP_NET_BIND_SERVICE, a systemd socket unit, or root and --user NAME"
    if error.errno == errno.EADDRNOTAVAIL:
        return "; this host has no such address, see `ip address`"
    return ""
