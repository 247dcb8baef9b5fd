"""A light load: clients that ask one question after the other and remember how it went."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Self

import dns.exception
import dns.message
import dns.query
from attrs import define, field, frozen

from .dnsio import read_frame, tcp_socket
from .packets import frame

if TYPE_CHECKING:
    import socket
    from types import TracebackType

    from .ports import Address

PAUSE_S = 0.01
PATIENCE_S = 5.0


@frozen
class Asked:
    at: float
    took_s: float
    transport: str
    reply: dns.message.Message | None
    """None where nothing good came."""

    error: str = ""


@define(eq=False)
class Load:
    """In a `with` block: one UDP client for each query, and one TCP client that keeps its connection."""

    address: Address
    queries: list[tuple[str, str]]
    over_tcp: tuple[str, str] | None = None
    asked: list[Asked] = field(factory=list, init=False)
    _over: threading.Event = field(factory=threading.Event, init=False)
    _threads: list[threading.Thread] = field(factory=list, init=False)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._udp, args=query) for query in self.queries]
        if self.over_tcp is not None:
            self._threads.append(threading.Thread(target=self._tcp, args=self.over_tcp))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)

    def _udp(self, name: str, rdtype: str) -> None:
        while not self._over.wait(PAUSE_S):
            query = dns.message.make_query(name, rdtype)
            start = monotonic()
            try:
                reply = dns.query.udp(query, self.address[0], timeout=PATIENCE_S, port=self.address[1])
            except (dns.exception.DNSException, OSError) as caught:
                self.asked.append(Asked(start, monotonic() - start, "udp", None, repr(caught)))
            else:
                self.asked.append(Asked(start, monotonic() - start, "udp", reply))

    def _tcp(self, name: str, rdtype: str) -> None:
        with tcp_socket(self.address, PATIENCE_S) as connection:
            while not self._over.wait(PAUSE_S):
                start = monotonic()
                try:
                    reply = _ask_stream(connection, dns.message.make_query(name, rdtype))
                except (dns.exception.DNSException, OSError, EOFError) as caught:
                    self.asked.append(Asked(start, monotonic() - start, "tcp", None, repr(caught)))
                    return
                self.asked.append(Asked(start, monotonic() - start, "tcp", reply))

    @property
    def lost(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.reply is None]

    def replies(self) -> list[dns.message.Message]:
        return [asked.reply for asked in self.asked if asked.reply is not None]


def _ask_stream(connection: socket.socket, query: dns.message.Message) -> dns.message.Message:
    connection.sendall(frame(query.to_wire()))
    reply = read_frame(connection)
    if reply is None:
        raise EOFError("the connection was closed")
    return dns.message.from_wire(reply)
