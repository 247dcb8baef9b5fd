"""Raw exchange over UDP and TCP: what was sent, what came back, octets only. Nothing here understands a message.

Every wait has a deadline; a missing answer is None, never an exception.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from attrs import define, field

from .packets import frame
from .ports import family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .ports import Address

UDP_WAIT_S = 8.0
TCP_WAIT_S = 8.0


def udp_socket(where: Address, wait_s: float = UDP_WAIT_S, source: str | None = None) -> socket.socket:
    """Return a UDP socket with a deep receive buffer that is connected to the server and hears nobody else."""
    sock = socket.socket(family(where[0]), socket.SOCK_DGRAM)
    sock.settimeout(wait_s)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    if source:
        sock.bind((source, 0))
    sock.connect(where)
    return sock


def receive(sock: socket.socket, wait_s: float) -> bytes | None:
    """Return the next datagram, None where none comes in time."""
    sock.settimeout(max(wait_s, 0.0001))
    try:
        return sock.recv(65535)
    except (TimeoutError, BlockingIOError):
        return None
    except ConnectionRefusedError:
        return None


def udp(where: Address, message: bytes, wait_s: float = UDP_WAIT_S, source: str | None = None) -> bytes | None:
    """Send one datagram and return the first that comes back."""
    with udp_socket(where, wait_s, source) as sock:
        sock.send(message)
        return receive(sock, wait_s)


def tcp_socket(where: Address, wait_s: float = UDP_WAIT_S) -> socket.socket:
    return socket.create_connection(where, wait_s)


def read_frame(sock: socket.socket) -> bytes | None:
    """Return the next message of a stream, None at its end; a TimeoutError where the socket's patience ends."""
    length = _read_exactly(sock, 2)
    return _read_exactly(sock, int.from_bytes(length, "big")) if length is not None else None


def _read_exactly(sock: socket.socket, octets: int) -> bytes | None:
    got = b""
    while len(got) < octets:
        more = sock.recv(octets - len(got))
        if not more:
            return None
        got += more
    return got


def udp_all(where: Address, message: bytes, more_s: float = 0.5) -> list[bytes]:
    """Send one datagram and return what comes back: the first, waited for, and what follows it within `more_s`."""
    with udp_socket(where) as sock:
        sock.send(message)
        first = receive(sock, UDP_WAIT_S)
        return [] if first is None else [first, *drain(sock, more_s)]


def drain(sock: socket.socket, wait_s: float) -> list[bytes]:
    """Return every datagram that arrives within `wait_s`."""
    deadline = time.monotonic() + wait_s
    out = []
    while (left := deadline - time.monotonic()) > 0:
        data = receive(sock, left)
        if data is not None:
            out.append(data)
    return out


def tcp(where: Address, message: bytes, wait_s: float = TCP_WAIT_S) -> bytes | None:
    """Send one message on a connection of its own and return the first that comes back."""
    try:
        with Connection(where, wait_s) as connection:
            connection.send(message)
            return connection.receive(wait_s)
    except OSError:
        return None


class Connection:
    """One TCP connection of a client; `raw` is the socket, for whatever a test wants to do wrong."""

    def __init__(self, where: Address, wait_s: float = TCP_WAIT_S, receive_buffer: int | None = None) -> None:
        self.raw = socket.socket(family(where[0]), socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.raw.settimeout(wait_s)
        self.raw.connect(where)
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, message: bytes) -> None:
        self.raw.sendall(frame(message))

    def send_octets(self, data: bytes) -> None:
        self.raw.sendall(data)

    def receive(self, wait_s: float = TCP_WAIT_S) -> bytes | None:
        """Return the next whole message; None on time-out, and with `closed` set at the end of the stream."""
        deadline = time.monotonic() + wait_s
        head = self.octets(2, deadline)
        return None if head is None else self.octets(struct.unpack("!H", head)[0], deadline)

    def octets(self, count: int, deadline: float) -> bytes | None:
        """Return exactly `count` octets, None where they do not come before `deadline` (monotonic seconds)."""
        out = bytearray()
        while len(out) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.raw.settimeout(left)
            try:
                data = self.raw.recv(count - len(out))
            except TimeoutError:
                return None
            except OSError:
                data = b""
            if not data:
                self.closed = True
                return None
            out += data
        return bytes(out)

    def rest(self, wait_s: float) -> bytes:
        """Return whatever comes until the end of the stream or `wait_s`; sets `closed` at the end."""
        deadline = time.monotonic() + wait_s
        out = bytearray()
        while (data := self.octets(1, deadline)) is not None:
            out += data
        return bytes(out)

    def reset(self) -> None:
        """Close with a TCP RST."""
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.raw.close()

    def close(self) -> None:
        self.raw.close()


@define(eq=False)
class _Flight:
    """One message of a batch on its way: which it is, until when, and what has come."""

    index: int
    deadline: float
    data: bytearray = field(factory=bytearray)


def udp_many(
    where: Address, messages: Sequence[bytes], *, window: int = 16, wait_s: float = UDP_WAIT_S
) -> list[bytes | None]:
    """Send each message from a socket of its own, `window` in flight, and return each one's first answer."""
    return _many(where, messages, window, wait_s, stream=False)


def tcp_many(
    where: Address, messages: Sequence[bytes], *, window: int = 16, wait_s: float = TCP_WAIT_S
) -> list[bytes | None]:
    """Send each message on a connection of its own, `window` at a time, and return each one's first answer."""
    return _many(where, messages, window, wait_s, stream=True)


def _open(where: Address, message: bytes, *, stream: bool) -> socket.socket:
    if not stream:
        sock = udp_socket(where)
        sock.setblocking(False)
        sock.send(message)
        return sock
    sock = socket.create_connection(where, TCP_WAIT_S)
    sock.setblocking(False)
    sock.send(frame(message))  # at most 64 KiB into an empty buffer
    return sock


def _many(where: Address, messages: Sequence[bytes], window: int, wait_s: float, *, stream: bool) -> list[bytes | None]:
    results: list[bytes | None] = [None] * len(messages)
    waiting = deque(range(len(messages)))
    flights: dict[socket.socket, _Flight] = {}
    with selectors.DefaultSelector() as selector:

        def land(sock: socket.socket) -> None:
            selector.unregister(sock)
            sock.close()
            del flights[sock]

        while waiting or flights:
            while waiting and len(flights) < window:
                index = waiting.popleft()
                try:
                    sock = _open(where, messages[index], stream=stream)
                except OSError:
                    continue
                flights[sock] = _Flight(index, time.monotonic() + wait_s)
                selector.register(sock, selectors.EVENT_READ)
            now = time.monotonic()
            if not flights:
                continue
            left = min(flight.deadline for flight in flights.values()) - now
            for key, _ in selector.select(max(left, 0.0)):
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if _arrived(ready, flights[ready], stream=stream):
                    data = bytes(flights[ready].data)
                    results[flights[ready].index] = (data[2:] if stream else data) or None
                    land(ready)
            now = time.monotonic()
            for sock in [sock for sock, flight in flights.items() if flight.deadline <= now]:
                land(sock)
    return results


def _arrived(sock: socket.socket, flight: _Flight, *, stream: bool) -> bool:
    """Read what is there; tell whether the flight is over, with `data` empty where it ended without an answer."""
    try:
        data = sock.recv(65537)
    except BlockingIOError:
        return False
    except OSError:
        flight.data.clear()
        return True
    if not stream:
        flight.data += data
        return True
    if not data:
        flight.data.clear()
        return True
    flight.data += data
    if len(flight.data) < 2:
        return False
    return len(flight.data) >= 2 + int.from_bytes(flight.data[:2], "big")


def udp_gather(
    wheres: Sequence[Address], messages: Sequence[bytes], *, quiet_s: float = 0.25, wait_s: float = 1.5
) -> list[list[bytes]]:
    """Send each message to its address from a socket of its own, all at once, and return all answers of each.

    Ends once nothing has come for `quiet_s`, after `wait_s` at the latest.
    """
    results: list[list[bytes]] = [[] for _ in messages]
    with selectors.DefaultSelector() as selector:
        for index, (where, message) in enumerate(zip(wheres, messages, strict=True)):
            sock = udp_socket(where)
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ, index)
            sock.send(message)
        deadline = time.monotonic() + wait_s
        while (left := deadline - time.monotonic()) > 0:
            ready = selector.select(min(left, quiet_s))
            if not ready:
                break
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                try:
                    results[key.data].append(key.fileobj.recv(65535))
                except OSError:
                    continue
        for key in tuple(selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
    return results
