"""The UDP sockets that clients send to. A listener drains its socket in batches and hands each datagram to the road.

A wildcard address replies from the address that was asked (RFC 2181 section 4.1), which costs `recvmsg`; a listener
on one address does without.
"""

from __future__ import annotations

import socket
from time import monotonic
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from flatproxy.config.settings import Endpoint

if TYPE_CHECKING:
    from flatproxy.forward.pending import Send
    from flatproxy.forward.road import Road

log = Logger()

BATCH = 64
MAX_DATAGRAM = 65_535
_ANCILLARY_SIZE = 64

# Linux's numbers; the socket module of 3.11 does not name the IPv4 one.
_IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
_IPV6_RECVPKTINFO = getattr(socket, "IPV6_RECVPKTINFO", 49)
_IPV6_PKTINFO = getattr(socket, "IPV6_PKTINFO", 50)


@implementer(IReadDescriptor)
class UdpListener:
    """One listen address."""

    def __init__(self, sock: socket.socket, road: Road) -> None:
        self._socket = sock
        self._road = road
        host, port = sock.getsockname()[:2]
        self.endpoint = Endpoint(host, port)
        self._send: Send
        if host in ("0.0.0.0", "::"):  # noqa: S104 - recognises the wildcard, binds nothing
            self._ask_for_destination()
            self._receive = self._receive_with_destination
            self._send = self._send_from_destination
        else:
            self._receive = self._receive_plain
            self._send = sock.sendto  # C, and called for every reply

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Take up to a batch of datagrams; a datagram that breaks something costs one log line."""
        now = monotonic()
        receive, query, send = self._receive, self._road.query, self._send
        for _ in range(BATCH):
            try:
                message, client, back = receive()
            except BlockingIOError:
                return
            except OSError:
                continue
            try:
                query(message, client[0], send, back, now)
            except Exception:  # noqa: BLE001 - no packet may stop the service
                self._road.traffic.udp.dropped += 1
                log.failure("datagram of {size} octets not understood", event="query_failed", size=len(message))

    def _receive_plain(self) -> tuple[bytes, Any, Any]:
        message, client = self._socket.recvfrom(MAX_DATAGRAM)
        return message, client, client

    def _ask_for_destination(self) -> None:
        if self._socket.family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def _receive_with_destination(self) -> tuple[bytes, Any, Any]:
        """Receive, and keep the ancillary data that will make the reply leave from the address that was asked."""
        message, ancillary, _flags, client = self._socket.recvmsg(MAX_DATAGRAM, _ANCILLARY_SIZE)
        source = []
        for level, kind, data in ancillary:
            if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
                # in_pktinfo: interface, local address, destination. To send: no interface, the source in the middle.
                source = [(level, kind, bytes(4) + data[8:12] + bytes(4))]
            elif level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
                source = [(level, kind, data)]
        return message, client, (source, client)

    def _send_from_destination(self, reply: bytes, back: tuple[list[Any], Any]) -> None:
        source, client = back
        self._socket.sendmsg([reply], source, 0, client)

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """Return what Twisted puts before a traceback."""
        return f"UDP {self.endpoint}"

    def connectionLost(self, reason: object) -> None:  # noqa: ARG002, N802 - Twisted's signature
        """Close the socket."""
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
