"""A scripted nameserver: UDP and TCP on one loopback port; it records what reached it, and a callable says what goes
back. It knows nothing about what a message means.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Final, Literal, Self

from attrs import define, field

from . import packets
from .lifetime import Startable
from .ports import bind_pair
from .waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .ports import Address

UDP: Final = "udp"
TCP: Final = "tcp"


@define(eq=False)
class Query:
    """A message that reached the server. `connection` is the TCP socket, for scripts that stall, cut or reset it."""

    data: bytes
    transport: Literal["udp", "tcp"]
    peer: Address
    server: Scripted
    connection: socket.socket | None = None
    at: float = field(factory=time.monotonic)

    @property
    def qname(self) -> bytes:
        return packets.qname_of(self.data)

    @property
    def qtype(self) -> int:
        return packets.qtype_of(self.data)

    def reply(self, message: bytes) -> None:
        """Send a message back where this one came from; a peer that has gone away is no error."""
        with contextlib.suppress(OSError, KeyError):
            if self.connection is not None:
                with self.server.connections[self.connection]:
                    self.connection.sendall(packets.frame(message))
            else:
                self.server.udp.sendto(message, self.peer)

    def reply_later(self, message: bytes, delay_s: float) -> None:
        """Send a message after `delay_s` without holding up the server."""
        timer = threading.Timer(delay_s, self.reply, (message,))
        timer.daemon = True
        timer.start()


Answer = bytes | list[bytes] | None
"""What a script gives for one query: each message is sent back at once."""


def plain(query: Query) -> bytes | None:
    """Answer like a small nameserver: A 192.0.2.1 for every A question, NODATA else, silence to responses."""
    if len(query.data) < 12 or packets.flags_of(query.data) & packets.QR:
        return None
    if not packets.question_of(query.data):
        return packets.header(packets.id_of(query.data), packets.QR | packets.FORMERR, (0, 0, 0, 0))
    if query.qtype == packets.A:
        return packets.answer(query.data, [packets.record(b"\xc0\x0c", packets.A, bytes((192, 0, 2, 1)))])
    return packets.answer(query.data)


def silent(_query: Query) -> None:
    """Answer nothing."""


def noerror(query: Query) -> bytes:
    """Say NOERROR to everything, and nothing else: the message itself with QR and AA set."""
    return query.data[:2] + b"\x84\0" + query.data[4:]


def late(answer: Callable[[Query], bytes], delay_s: float) -> Callable[[Query], None]:
    """Return a script that gives each answer after a delay."""
    return lambda query: query.reply_later(answer(query), delay_s)


class Scripted(Startable):
    """`answer` may be replaced at any time. It is called in the server's threads: one for UDP, one a TCP connection."""

    def __init__(self, answer: Callable[[Query], Answer] = plain, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.answer = answer
        self.received: list[Query] = []
        self.connections: dict[socket.socket, threading.Lock] = {}
        """Those that are open; who sends on one holds its lock, so that replies that are late do not mix."""
        self.accepted = 0
        self.host = host
        self.port = port
        self._stopping = False
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> Address:
        return self.host, self.port

    def start(self) -> Self:
        """Listen, on the port that it had before where there is one."""
        self.udp, self.tcp = bind_pair(self.host, self.port)
        self.port = self.udp.getsockname()[1]
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.tcp.listen(1024)
        # A thread that is blocked in a socket keeps its port bound: let both look up now and then.
        self.udp.settimeout(0.05)
        self.tcp.settimeout(0.05)
        self._stopping = False
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._serve_udp, self._accept)]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Close every socket; clients see a reset or a port unreachable."""
        self._stopping = True
        for thread in self._threads:
            thread.join()
        self.udp.close()
        self.tcp.close()
        for connection in tuple(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def asked(self, qname: str | bytes) -> list[Query]:
        """Return what reached the server for one name; probes that a proxy makes for itself stay out."""
        wire = packets.name(qname).lower()
        return [query for query in tuple(self.received) if query.qname == wire]

    def with_octets(self, octets: bytes) -> list[Query]:
        """Return what reached the server with these octets in it."""
        return [query for query in tuple(self.received) if octets in query.data]

    def wait_asked(self, qname: str | bytes, count: int = 1, wait_s: float = 5.0) -> Sequence[Query]:
        """Wait until `count` messages for one name have arrived, and return them."""
        wait_until(lambda: len(self.asked(qname)) >= count, wait_s, 0.005)
        return self.asked(qname)

    def _take(self, query: Query) -> None:
        self.received.append(query)
        out = self.answer(query)
        for message in [out] if isinstance(out, bytes) else out or ():
            query.reply(message)

    def _serve_udp(self) -> None:
        while not self._stopping:
            try:
                data, peer = self.udp.recvfrom(65535)
            except OSError:
                continue  # a port unreachable from a client that has gone, or the end
            self._take(Query(data, UDP, peer[:2], self))

    def _accept(self) -> None:
        while not self._stopping:
            try:
                connection, peer = self.tcp.accept()
            except OSError:
                continue
            self.accepted += 1
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections[connection] = threading.Lock()
            threading.Thread(target=self._serve_tcp, args=(connection, peer[:2]), daemon=True).start()

    def _serve_tcp(self, connection: socket.socket, peer: Address) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while len(head := stream.read(2)) == 2:
                size = int.from_bytes(head, "big")
                data = stream.read(size)
                if len(data) < size:
                    break
                self._take(Query(data, TCP, peer, self, connection))
        self.connections.pop(connection, None)
