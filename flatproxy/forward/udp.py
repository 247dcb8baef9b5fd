"""The UDP sockets that clients send to. A listener drains its socket in batches and hands each datagram to the road.

A wildcard address replies from the address that was asked (RFC 2181 section 4.1), which costs `recvmsg`; a listener
on one address does without.
"""

from __future__ import annotations

import socket
from time import monotonic
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from flatproxy.config.settings import Endpoint
from flatproxy.errors import WireError
from flatproxy.forward.pending import Back
from flatproxy.wire import proxy

if TYPE_CHECKING:
    from flatproxy.forward.access import Networks
    from flatproxy.forward.road import Road

log = Logger()

BATCH = 64
MAX_DATAGRAM = 65_535
MAX_DESTINATIONS = 1_024
_ANCILLARY_SIZE = 64

Ancillary = list[tuple[int, int, bytes]]
Destination = tuple[Ancillary, tuple[str, int]]
"""The ancillary data that makes a reply leave from an address, and that address with the port."""

# Linux's numbers; the socket module of 3.11 does not name the IPv4 one.
_IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
_IPV6_RECVPKTINFO = getattr(socket, "IPV6_RECVPKTINFO", 49)
_IPV6_PKTINFO = getattr(socket, "IPV6_PKTINFO", 50)


class UdpListener:
    """One listen address."""

    def __init__(self, sock: socket.socket, road: Road, proxies: Networks, *, tell_client: bool) -> None:
        """Listen on a bound socket. PROXY headers are believed from `proxies`; `tell_client`: the road writes them."""
        self._socket = sock
        self._road = road
        self._proxies = proxies
        self._failures = 0
        self._destinations: dict[bytes, Destination] = {}
        host, port = sock.getsockname()[:2]
        self.endpoint = Endpoint(host, port)
        wildcard = host in ("0.0.0.0", "::")  # noqa: S104 - recognises the wildcard, binds nothing
        if wildcard or proxies or tell_client:
            self._ask_for_destination()
            self.read = self._read_with_destination
        else:
            self.read = self._read_plain

    def _read_plain(self) -> None:
        """Take up to a batch of datagrams."""
        now = monotonic()
        receive, query, send = self._socket.recvfrom, self._road.query, self._socket.sendto
        for _ in range(BATCH):
            try:
                message, client = receive(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                continue
            try:
                query(message, client[0], send, client, now)
            except Exception:  # noqa: BLE001 - no packet may stop the service
                self._note_failure(message)

    def _read_with_destination(self) -> None:
        """Take up to a batch of datagrams, each with the address that was asked, so that its reply leaves from it."""
        now = monotonic()
        for _ in range(BATCH):
            try:
                message, ancillary, _flags, client = self._socket.recvmsg(MAX_DATAGRAM, _ANCILLARY_SIZE)
            except BlockingIOError:
                return
            except OSError:
                continue
            try:
                self._query(message, ancillary, client, now)
            except WireError:
                self._road.traffic.malformed += 1
                self._road.traffic.udp.dropped += 1
            except Exception:  # noqa: BLE001 - no packet may stop the service
                self._note_failure(message)

    def _query(self, message: bytes, ancillary: Ancillary, peer: Any, now: float) -> None:  # noqa: ANN401
        client = peer[:2]
        if self._proxies and peer[0] in self._proxies:
            told, start = proxy.parse(message)
            message, client = message[start:], told or client
        # A host has few addresses: what follows from each is worked out once.
        told_by_kernel = ancillary[0][2] if ancillary else b""
        known = self._destinations.get(told_by_kernel)
        if known is None:
            if len(self._destinations) >= MAX_DESTINATIONS:
                self._destinations.clear()
            known = self._destinations[told_by_kernel] = _destination(ancillary, self.endpoint)
        back = Back(known[0], peer, client, known[1])
        self._road.query(message, client[0], self._send_back, back, now)

    def _note_failure(self, message: bytes) -> None:
        self._road.traffic.udp.dropped += 1
        self._failures += 1
        if self._failures & (self._failures - 1) == 0:  # the 1st, 2nd, 4th, 8th …: a flood must not fill the log
            log.failure("datagram of {size} octets not understood", event="query_failed", size=len(message))

    def _ask_for_destination(self) -> None:
        if self._socket.family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def _send_back(self, reply: bytes, back: Back) -> None:
        self._socket.sendmsg([reply], back.source, 0, back.peer)

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _destination(ancillary: Ancillary, endpoint: Endpoint) -> Destination:
    """Return the ancillary data that makes a reply leave from where the query arrived, and that address."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            # in_pktinfo: interface, local address, destination. To send: no interface, the source in the middle.
            source = [(level, kind, bytes(4) + data[8:12] + bytes(4))]
            return source, (socket.inet_ntop(socket.AF_INET, data[8:12]), endpoint.port)
        if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
            return [(level, kind, data)], (socket.inet_ntop(socket.AF_INET6, data[:16]), endpoint.port)
    return [], (endpoint.host, endpoint.port)
