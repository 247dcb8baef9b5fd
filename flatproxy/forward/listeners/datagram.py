"""The UDP sockets that clients send to. A listener hands each datagram to the exchange, and sends what comes back.

Replies are gathered and sent in one go when the loop's round ends. A wildcard address replies from the address that
was asked (RFC 2181 section 4.1).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.logger import Logger

from flatproxy.config.settings import Endpoint
from flatproxy.counts import worth_a_line
from flatproxy.errors import WireError
from flatproxy.forward.batches import MAX_DATAGRAM
from flatproxy.forward.socket_addresses import (
    ADDRESS,
    CONTROL,
    ask_for_destination,
    destination,
    octets_of,
    peer_of,
    source_of,
)
from flatproxy.wire import proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.forward.access import Networks
    from flatproxy.forward.batches import Datagrams
    from flatproxy.forward.exchange import Exchange
    from flatproxy.forward.packet_loop import Readers
    from flatproxy.forward.socket_addresses import Sockaddr

log = Logger()

MAX_DESTINATIONS = 1_024


class _Named(NamedTuple):
    """The way back to a client that the nameserver is told of, or that a PROXY header named."""

    sockaddr: Sockaddr
    client: bytes
    """Who asked, as `proxy.header` takes it."""
    asked: bytes


class DatagramListener:
    """One listen address.

    The way back is a `Sockaddr`, for a datagram that came alone the socket module's tuple, and a `_Named` where PROXY
    headers come or go.
    """

    def __init__(
        self, sock: socket.socket, exchange: Exchange, readers: Readers, proxies: Networks, *, tells_client: bool
    ) -> None:
        """Listen on a bound socket. PROXY headers are believed from `proxies`; `tells_client`: they are written."""
        self._socket = sock
        self._exchange = exchange
        self._readers = readers
        self._batches: Datagrams = readers.datagrams
        self._proxies = proxies
        self._failures = 0
        self._destinations: dict[bytes, tuple[bytes, bytes]] = {}
        self._replies: list[bytes] = []
        self._backs: list[Any] = []
        # Of the instance, as all that is read for each packet: of the class it would be found more slowly.
        self.datagrams, self.link, self.gone = True, None, False
        self.verdicts = exchange.traffic.udp
        self.rcodes = exchange.traffic.rcodes
        self.waiting = 0
        host, port = sock.getsockname()[:2]
        self.endpoint = Endpoint(host, port)
        self._here = octets_of(host), port.to_bytes(2, "big")
        self._address = slice(8, 24) if sock.family == socket.AF_INET6 else slice(4, 8)
        self._one, self._batch = self._one_here, self._batch_here
        self._send_one: Callable[[bytes, Any], object] = sock.sendto
        self._names = bool(proxies) or tells_client
        if self._names:
            self._one = self._batch = self._batch_named
        elif host in ("0.0.0.0", "::"):  # noqa: S104 - recognises the wildcard, binds nothing
            self._one, self._batch = self._one_anywhere, self._batch_anywhere
            self._send_one = self._send_from
        if self._batch != self._batch_here:
            ask_for_destination(sock)

    def read(self, now: float) -> None:
        """Take one datagram where they come one by one: a call for one is then the cheaper way. Else up to a batch.

        A datagram may cost a slice for its client and one call into the exchange; the system call is the batch's.
        """
        (self._one if self._readers.rested else self._batch)(now)

    def _one_here(self, now: float) -> None:
        try:
            message, client = self._socket.recvfrom(MAX_DATAGRAM)
        except OSError:
            return
        try:
            self._exchange.receive(message, octets_of(client[0]), self, client, now)
        except Exception:  # noqa: BLE001 - no packet may stop the service
            self._note_failure(message)

    def _batch_here(self, now: float) -> None:
        messages = self._receive()
        receive, address = self._exchange.receive, self._address
        for message, client in zip(messages, self._batches.clients(len(messages), ADDRESS), strict=True):
            try:
                receive(message, client[address], self, client, now)
            except Exception:  # noqa: BLE001 - as above
                self._note_failure(message)

    def _one_anywhere(self, now: float) -> None:
        try:
            message, controls, _flags, peer = self._socket.recvmsg(MAX_DATAGRAM, CONTROL)
        except OSError:
            return
        try:
            source = [source_of(*controls[0])] if controls else []
            self._exchange.receive(message, octets_of(peer[0]), self, (*peer, source), now)
        except Exception:  # noqa: BLE001 - as above
            self._note_failure(message)

    def _batch_anywhere(self, now: float) -> None:
        messages = self._receive()
        receive, address = self._exchange.receive, self._address
        for message, client in zip(messages, self._batches.clients(len(messages), ADDRESS + CONTROL), strict=True):
            try:
                back = client[:ADDRESS] + self._way_back(client)[0]
                receive(message, client[address], self, back, now)
            except Exception:  # noqa: BLE001 - as above
                self._note_failure(message)

    def _batch_named(self, now: float) -> None:
        """Take a batch where PROXY headers come or go."""
        messages = self._receive()
        for message, client in zip(messages, self._batches.clients(len(messages), ADDRESS + CONTROL), strict=True):
            try:
                self._receive_named(message, client, now)
            except WireError:
                self._exchange.traffic.malformed += 1
                self.verdicts.dropped += 1
            except Exception:  # noqa: BLE001 - as above
                self._note_failure(message)

    def _receive(self) -> list[bytes]:
        try:
            return self._batches.receive(self._socket)
        except OSError:
            return []  # an error of something sent before

    def _way_back(self, client: Sockaddr) -> tuple[bytes, bytes]:
        """Return the control message for a reply, and the host that was asked; a machine has few, worked out once."""
        control = client[ADDRESS:]
        known = self._destinations.get(control)
        if known is None:
            if len(self._destinations) >= MAX_DESTINATIONS:
                self._destinations.clear()
            known = self._destinations[control] = destination(control)
        return known

    def _receive_named(self, message: bytes, client: Sockaddr, now: float) -> None:
        source, asked = self._way_back(client)
        peer = peer_of(client)
        if peer[:-2] in self._proxies:
            named, start = proxy.parse(message)
            message, peer = message[start:], named or peer
        host, port = self._here
        back = _Named(client[:ADDRESS] + source, peer, (asked or host) + port)
        self._exchange.receive(message, peer[:-2], self, back, now)

    def proxy_header(self, back: _Named) -> bytes:
        """Return the PROXY header that names the client."""
        return proxy.header(back.client, back.asked, udp=True)

    def _note_failure(self, message: bytes) -> None:
        self.verdicts.dropped += 1
        self._failures += 1
        if worth_a_line(self._failures):
            log.failure("datagram of {size} octets not understood", event="query_failed", size=len(message))

    def send(self, reply: bytes, back: Any) -> None:  # noqa: ANN401 - one of three forms
        """Send a reply at once to who came alone; gather the others for the end of the round."""
        if type(back) is tuple:
            self._send_one(reply, back)
            return
        if not self._replies:
            self._readers.unflushed.append(self)
        self._replies.append(reply)
        self._backs.append(back)

    def _send_from(self, reply: bytes, back: tuple[Any, ...]) -> None:
        """Send a reply from the address that was asked."""
        self._socket.sendmsg([reply], back[-1], 0, back[:-1])

    def flush(self) -> None:
        """Send what was gathered; a client that cannot be reached is no reason to stop."""
        replies, backs = self._replies, self._backs
        self._replies, self._backs = [], []
        clients = [back.sockaddr for back in backs] if self._names else backs
        self._exchange.traffic.unsent += self._batches.send(self._socket, replies, clients)

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Send what is left and close the socket."""
        if self._replies:
            self.flush()
        self._socket.close()
