"""Binds listen addresses: a socket for each transport on the same port. It reads and writes nothing."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Literal

from attrs import frozen

from flatproxy.errors import FlatproxyError
from flatproxy.forward.bounds import RECEIVE_BUFFER

if TYPE_CHECKING:
    from flatproxy.config.settings import Endpoint

Transport = Literal["udp", "tcp"]

BACKLOG = 1_024
_PORT_ATTEMPTS = 20


@frozen
class ListenSocket:
    """A bound socket, and the transport that is spoken on it. One of "tcp" listens already."""

    transport: Transport
    socket: socket.socket


def bind(endpoint: Endpoint) -> tuple[ListenSocket, ...]:
    """Bind UDP and TCP, in this order; port 0 takes one that is free for both.

    `FlatproxyError` says which address is not to be had.
    """
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
        return ListenSocket("udp", udp), ListenSocket("tcp", tcp)
    raise FlatproxyError(f"cannot listen on {endpoint}: no port is free for UDP and TCP alike")


def _bound(host: str, port: int, kind: socket.SocketKind, text: str) -> socket.socket:
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
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise FlatproxyError(f"cannot listen on {text} ({transport}): {error.strerror}{_advice(error)}") from None
    return sock


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "; stop what uses the port (`ss -lnptu` shows it), or write another address under [listen] dns"
    if error.errno == errno.EACCES:
        return "; ports below 1024 need CAP_NET_BIND_SERVICE, a systemd socket unit, or root and --user NAME"
    if error.errno == errno.EADDRNOTAVAIL:
        return "; this host has no such address, see `ip address`"
    return ""
