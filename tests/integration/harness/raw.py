"""Octets to a server and back, for what no DNS library would send or accept."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from .ports import family

if TYPE_CHECKING:
    from .ports import Address

PATIENCE_S = 4.0


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def udp_socket(address: Address, patience_s: float = PATIENCE_S) -> socket.socket:
    """Return a socket that is connected to the server and hears nobody else."""
    sock = socket.socket(family(address[0]), socket.SOCK_DGRAM)
    sock.settimeout(patience_s)
    sock.connect(address)
    return sock


def tcp_socket(address: Address, patience_s: float = PATIENCE_S) -> socket.socket:
    return socket.create_connection(address, patience_s)


def udp(address: Address, message: bytes, patience_s: float = PATIENCE_S) -> bytes | None:
    """Return the reply to one datagram, None where nothing came in time."""
    with udp_socket(address, patience_s) as sock:
        sock.send(message)
        try:
            return sock.recv(65535)
        except TimeoutError:
            return None


def tcp(address: Address, message: bytes, patience_s: float = PATIENCE_S) -> bytes | None:
    """Return the first message that comes back, None where the connection ends or stays silent."""
    with tcp_socket(address, patience_s) as sock:
        sock.sendall(framed(message))
        with contextlib.suppress(TimeoutError, ConnectionError):
            return read_frame(sock)
    return None


def read_frame(sock: socket.socket) -> bytes | None:
    """Return the next message of a stream, None at its end."""
    length = read_exactly(sock, 2)
    return read_exactly(sock, int.from_bytes(length, "big")) if length is not None else None


def read_exactly(sock: socket.socket, octets: int) -> bytes | None:
    got = b""
    while len(got) < octets:
        more = sock.recv(octets - len(got))
        if not more:
            return None
        got += more
    return got
