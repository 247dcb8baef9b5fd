"""Binds listen addresses: UDP and TCP on the same port, or TLS alone. It reads and writes nothing."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Literal, Protocol

from attrs import frozen

from flatproxy.config.settings import Endpoint
from flatproxy.errors import FlatproxyError
from flatproxy.forward.bounds import RECEIVE_BUFFER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Transport = Literal["udp", "tcp", "tls"]

BACKLOG = 1_024
_PORT_ATTEMPTS = 20


@frozen
class ListenSocket:
    """A bound socket, and the transport that is spoken on it. One of "tcp" or "tls" listens already."""

    transport: Transport
    socket: socket.socket


class ListenAt(Protocol):
    """Where the sockets of a listen address come from, see `bind`."""

    def __call__(self, endpoint: Endpoint, threads: int = 1, *, tls: bool = False) -> Sequence[ListenSocket]:
        """Return them, bound."""


def bind(endpoint: Endpoint, threads: int = 1, *, tls: bool = False) -> tuple[ListenSocket, ...]:
    """Bind UDP and TCP, in this order; port 0 takes one that is free for both. `tls`: one socket for TLS instead.

    `threads`: as many of each, between which the kernel spreads clients (SO_REUSEPORT). `FlatproxyError` says which
    address is not to be had.
    """
    if tls:
        sock = _bound(endpoint.host, endpoint.port, socket.SOCK_STREAM, str(endpoint), shared=False)
        sock.listen(BACKLOG)
        return (ListenSocket("tls", sock),)
    for attempts_left in reversed(range(_PORT_ATTEMPTS)):
        first = _bind_pair(endpoint)
        if threads == 1:
            return first
        # The first pair has found that nobody else has the port; shared ones would stand beside another process's.
        host, port = first[0].socket.getsockname()[:2]
        _close(first)
        bound: list[ListenSocket] = []
        try:
            for _ in range(threads):
                bound += _bind_pair(Endpoint(host, port), shared=True)
        except FlatproxyError:
            _close(bound)
            if endpoint.port or not attempts_left:
                raise  # else somebody was quicker, and another port is as good
        else:
            return tuple(bound)
    raise AssertionError("the last attempt raises")


def _close(bound: Iterable[ListenSocket]) -> None:
    for each in bound:
        each.socket.close()


def _bind_pair(endpoint: Endpoint, *, shared: bool = False) -> tuple[ListenSocket, ...]:
    for _ in range(_PORT_ATTEMPTS):
        tcp = _bound(endpoint.host, endpoint.port, socket.SOCK_STREAM, str(endpoint), shared=shared)
        try:
            udp = _bound(endpoint.host, tcp.getsockname()[1], socket.SOCK_DGRAM, str(endpoint), shared=shared)
        except FlatproxyError:
            tcp.close()
            if endpoint.port:
                raise
            continue
        tcp.listen(BACKLOG)
        return ListenSocket("udp", udp), ListenSocket("tcp", tcp)
    raise FlatproxyError(f"cannot listen on {endpoint}: no port is free for UDP and TCP alike")


def _bound(host: str, port: int, kind: socket.SocketKind, text: str, *, shared: bool) -> socket.socket:
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
        raise FlatproxyError(f"cannot listen on {text} ({transport}): {error.strerror}{_advice(error)}") from None
    return sock


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "; stop what uses the port (`ss -lnptu` shows it), or write another address under [listen]"
    if error.errno == errno.EACCES:
        return "; ports below 1024 need CAP_NET_BIND_SERVICE, a systemd socket unit, or root and --user NAME"
    if error.errno == errno.EADDRNOTAVAIL:
        return "; this host has no such address, see `ip address`"
    return ""
