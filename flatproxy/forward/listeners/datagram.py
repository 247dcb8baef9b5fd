"""The UDP sockets that clients send to. A listener hands each datagram to the road, and sends what comes back.

Replies are gathered and sent in one go when the loop's round ends. A wildcard address replies from the address that
was asked (RFC 2181 section 4.1).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from flatproxy.config.settings import Endpoint
from flatproxy.counts import worth_a_line
from flatproxy.errors import WireError
from flatproxy.forward.access import octets_of
from flatproxy.forward.batches import MAX_DATAGRAM
from flatproxy.forward.pending import Back
from flatproxy.forward.socket_addresses import ADDRESS, CONTROL, address_of, ask_for_destination, destination, source_of
from flatproxy.wire import proxy

if TYPE_CHECKING:
    from flatproxy.forward.access import Networks
    from flatproxy.forward.batches import Datagrams
    from flatproxy.forward.exchange import Road
    from flatproxy.forward.packet_loop import Readers
    from flatproxy.forward.socket_addresses import Client

log = Logger()

MAX_DESTINATIONS = 1_024


class UdpListener:
    """One listen address."""

    def __init__(
        self, sock: socket.socket, road: Road, readers: Readers, proxies: Networks, *, tell_client: bool
    ) -> None:
        """Listen on a bound socket. PROXY headers are believed from `proxies`; `tell_client`: the road writes them."""
        self._socket = sock
        self._road = road
        self._readers = readers
        self._datagrams: Datagrams = readers.datagrams
        self._proxies = proxies
        self._failures = 0
        self._destinations: dict[bytes, tuple[bytes, str]] = {}
        self._replies: list[bytes] = []
        self._clients: list[Client] = []
        host, port = sock.getsockname()[:2]
        self.endpoint = Endpoint(host, port)
        self._address = slice(8, 24) if sock.family == socket.AF_INET6 else slice(4, 8)
        self._one, self._batch = self._one_here, self._batch_here
        if proxies or tell_client:
            self._one = self._batch = self._batch_told
        elif host in ("0.0.0.0", "::"):  # noqa: S104 - recognises the wildcard, binds nothing
            self._one, self._batch = self._one_anywhere, self._batch_anywhere
        if self._batch != self._batch_here:
            ask_for_destination(sock)

    def read(self, now: float) -> None:
        """Take one datagram where they come one by one: a call for one is then the cheaper way. Else up to a batch.

        A datagram may cost a slice for its client and one call into the road; the system call is the batch's.
        """
        (self._one if self._readers.rested else self._batch)(now)

    def _one_here(self, now: float) -> None:
        try:
            message, client = self._socket.recvfrom(MAX_DATAGRAM)
        except OSError:
            return
        try:
            self._road.query(message, octets_of(client[0]), self._socket.sendto, client, now)
        except Exception:  # noqa: BLE001 - no packet may stop the service
            self._note_failure(message)

    def _batch_here(self, now: float) -> None:
        messages = self._receive()
        query, send, address = self._road.query, self._send, self._address
        for message, client in zip(messages, self._datagrams.clients(len(messages), ADDRESS), strict=True):
            try:
                query(message, client[address], send, client, now)
            except Exception:  # noqa: BLE001 - as above
                self._note_failure(message)

    def _one_anywhere(self, now: float) -> None:
        try:
            message, told, _flags, peer = self._socket.recvmsg(MAX_DATAGRAM, CONTROL)
        except OSError:
            return
        try:
            source = [source_of(*told[0])] if told else []
            self._road.query(message, octets_of(peer[0]), self._send_one, (*peer, source), now)
        except Exception:  # noqa: BLE001 - as above
            self._note_failure(message)

    def _batch_anywhere(self, now: float) -> None:
        messages = self._receive()
        query, send, address = self._road.query, self._send, self._address
        for message, client in zip(messages, self._datagrams.clients(len(messages), ADDRESS + CONTROL), strict=True):
            try:
                back = client[:ADDRESS] + self._way_back(client)[0]
                query(message, client[address], send, back, now)
            except Exception:  # noqa: BLE001 - as above
                self._note_failure(message)

    def _batch_told(self, now: float) -> None:
        """Take a batch where PROXY headers come or go."""
        messages = self._receive()
        for message, client in zip(messages, self._datagrams.clients(len(messages), ADDRESS + CONTROL), strict=True):
            try:
                self._query_told(message, client, now)
            except WireError:
                self._road.traffic.malformed += 1
                self._road.traffic.udp.dropped += 1
            except Exception:  # noqa: BLE001 - as above
                self._note_failure(message)

    def _receive(self) -> list[bytes]:
        try:
            return self._datagrams.receive(self._socket)
        except OSError:
            return []  # an error of something sent before

    def _way_back(self, client: Client) -> tuple[bytes, str]:
        """Return the control message for a reply, and the address that was asked; a host has few, worked out once."""
        told = client[ADDRESS:]
        known = self._destinations.get(told)
        if known is None:
            if len(self._destinations) >= MAX_DESTINATIONS:
                self._destinations.clear()
            known = self._destinations[told] = destination(told)
        return known

    def _query_told(self, message: bytes, client: Client, now: float) -> None:
        source, asked = self._way_back(client)
        host, who = client[self._address], address_of(client)
        if host in self._proxies:
            named, start = proxy.parse(message)
            message, who = message[start:], named or who
            host = octets_of(who[0])
        back = Back(client[:ADDRESS] + source, who, (asked or self.endpoint.host, self.endpoint.port))
        self._road.query(message, host, self._send_back, back, now)

    def _note_failure(self, message: bytes) -> None:
        self._road.traffic.udp.dropped += 1
        self._failures += 1
        if worth_a_line(self._failures):
            log.failure("datagram of {size} octets not understood", event="query_failed", size=len(message))

    def _send(self, reply: bytes, client: Client) -> None:
        """Gather a reply for the end of the round."""
        if not self._replies:
            self._readers.unflushed.append(self)
        self._replies.append(reply)
        self._clients.append(client)

    def _send_one(self, reply: bytes, client: tuple[Any, ...]) -> None:
        """Send a reply at once, from the address that was asked."""
        self._socket.sendmsg([reply], client[-1], 0, client[:-1])

    def _send_back(self, reply: bytes, back: Back) -> None:
        self._send(reply, back.octets)

    def flush(self) -> None:
        """Send what was gathered; a client that cannot be reached is no reason to stop."""
        replies, clients = self._replies, self._clients
        self._replies, self._clients = [], []
        self._road.traffic.unsent += self._datagrams.send(self._socket, replies, clients)

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Send what is left and close the socket."""
        if self._replies:
            self.flush()
        self._socket.close()
