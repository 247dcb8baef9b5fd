"""The UDP sockets that clients send to. A listener hands each datagram to the exchange, and sends what comes back.

A wildcard address replies from the address that was asked (RFC 2181 section 4.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from twisted.logger import Logger

from flatproxy.config.settings import Endpoint
from flatproxy.counts import worth_a_line
from flatproxy.errors import WireError
from flatproxy.forward.readers import MAX_DATAGRAM, READ_AT_ONCE
from flatproxy.forward.socket_addresses import CONTROL, ask_for_destination, destination, octets_of
from flatproxy.wire import proxy

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from flatproxy.forward.access import Networks
    from flatproxy.forward.exchange import Exchange
    from flatproxy.forward.socket_addresses import Control

log = Logger()


class Back(NamedTuple):
    """The way back to a client."""

    peer: Any
    """Who sent the datagram, as the socket module has it."""
    source: Sequence[Control]
    """Which of our addresses the reply leaves from, where there is more than one."""
    client: bytes
    """Who asked, as `proxy.header` takes it: the peer, or whom it named."""
    asked: bytes
    """Where, likewise."""


class DatagramListener:
    """One listen address."""

    datagrams, link, gone = True, None, False

    def __init__(self, sock: socket.socket, exchange: Exchange, proxies: Networks) -> None:
        """Listen on a bound socket. PROXY headers are believed from `proxies`."""
        self._socket = sock
        self._exchange = exchange
        self._proxies = proxies
        self._failures = 0
        self.verdicts = exchange.traffic.udp
        self.rcodes = exchange.traffic.rcodes
        self.waiting = 0
        host, port = sock.getsockname()[:2]
        self.endpoint = Endpoint(host, port)
        self._host, self._port = octets_of(host), port.to_bytes(2, "big")
        is_wildcard = host in ("0.0.0.0", "::")  # noqa: S104 - recognises the wildcard, binds nothing
        self._control = CONTROL if is_wildcard or proxies else 0
        if self._control:
            ask_for_destination(sock)

    def read(self, now: float) -> None:
        """Take what has come, up to a bound: others have their turn, too."""
        for _ in range(READ_AT_ONCE):
            try:
                message, controls, _flags, peer = self._socket.recvmsg(MAX_DATAGRAM, self._control)
            except OSError:
                return  # nothing more, or an error of something sent before
            try:
                self._receive(message, controls, peer, now)
            except WireError:
                self._exchange.traffic.malformed += 1
                self.verdicts.dropped += 1
            except Exception:  # noqa: BLE001 - no packet may stop the service
                self._note_failure(message)

    def _receive(self, message: bytes, controls: Sequence[Control], peer: Any, now: float) -> None:  # noqa: ANN401 - a tuple
        host, asked = octets_of(peer[0]), self._host
        client = host + peer[1].to_bytes(2, "big")
        source: tuple[Control, ...] = ()
        if controls:
            control, told = destination(controls[0])
            source, asked = (control,), told or asked
        if host in self._proxies:
            named, start = proxy.parse(message)
            message, client = message[start:], named or client
            host = client[:-2]
        self._exchange.receive(message, host, self, Back(peer, source, client, asked + self._port), now)

    def proxy_header(self, back: Back) -> bytes:
        """Return the PROXY header that names the client."""
        return proxy.header(back.client, back.asked, udp=True)

    def _note_failure(self, message: bytes) -> None:
        self.verdicts.dropped += 1
        self._failures += 1
        if worth_a_line(self._failures):
            log.failure("datagram of {size} octets not understood", event="query_failed", size=len(message))

    def send(self, reply: bytes, back: Back) -> None:
        """Send a reply; a client that cannot be reached is no reason to stop."""
        try:
            self._socket.sendmsg([reply], back.source, 0, back.peer)
        except OSError:
            self._exchange.traffic.unsent += 1

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
