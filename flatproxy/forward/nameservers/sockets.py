"""The UDP sockets to one nameserver: shared ones for ordinary queries, and one-shots for those that keep their ID.

Sockets are connected, so the kernel drops what comes from elsewhere, and have random ports (RFC 5452 section 9.2).
Nothing here knows what a query means: a reply that matches a pending query is handed on as it came.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Protocol

from flatproxy.forward.bounds import RECEIVE_BUFFER
from flatproxy.forward.pending import Pending
from flatproxy.forward.readers import MAX_DATAGRAM, READ_AT_ONCE
from flatproxy.wire.peek import HEADER, OPCODE, QR, answers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.config.settings import Endpoint
    from flatproxy.counts import Replies
    from flatproxy.forward.nameservers.health import Health
    from flatproxy.forward.query import Outcome, Query


class SocketOwner(Protocol):
    """What a socket tells its nameserver."""

    endpoint: Endpoint
    mismatched: int
    tells_client: bool
    """Whether each datagram begins with a PROXY header."""
    outcome: Outcome
    health: Health
    replies: Replies
    pending: int

    def answered(self, query: Query, reply: bytes, now: float) -> None:
        """Take the reply to a query that had a socket of its own."""

    def misunderstood(self, query: Query, reply: bytes, now: float) -> None:
        """Take back a query whose reply could not be delivered."""

    def refused(self, queries: list[Query], now: float) -> None:
        """Take back queries that will have no reply, for the host says that nobody listens."""


def connected_socket(endpoint: Endpoint) -> socket.socket:
    """Return a non-blocking UDP socket on a port of the kernel's choice; `OSError` where there is no route."""
    sock = socket.socket(socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)  # noqa: FBT003 - the socket module's signature
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    try:
        sock.connect((endpoint.host, endpoint.port))
    except OSError:
        sock.close()
        raise
    return sock


class _UpstreamSocket:
    """A socket to one nameserver."""

    def __init__(self, upstream: SocketOwner) -> None:
        self._upstream = upstream
        self._socket = connected_socket(upstream.endpoint)

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class SharedSocket(_UpstreamSocket):
    """One of a nameserver's sockets, with its own table of IDs."""

    def __init__(self, upstream: SocketOwner, ids: Iterator[bytes]) -> None:
        super().__init__(upstream)
        self.pending = Pending(ids)

    def put(self, query: Query, message_id: bytes) -> None:
        """Send a query under this ID; what the kernel has no room for is lost like any other datagram."""
        datagram = message_id + query.message[2:]
        if self._upstream.tells_client:
            datagram = query.listener.proxy_header(query.back) + datagram
        with contextlib.suppress(OSError):
            self._send(datagram)

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.send(datagram)
        except ConnectionRefusedError:
            # What was refused is an earlier datagram of this socket: this one has yet to be tried.
            self._socket.send(datagram)

    def resend(self, after: float, before: float) -> int:
        """Send the queries that were sent in [after, before) once more, as they were; return how many."""
        overdue = self.pending.sent_between(after, before)
        for message_id, query in overdue:
            self.put(query, message_id)
        return len(overdue)

    def read(self, now: float) -> None:
        """Read replies, up to a bound."""
        upstream = self._upstream
        for _ in range(READ_AT_ONCE):
            try:
                reply = self._socket.recv(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                upstream.refused(self.pending.take_all(), now)
                return
            query = self.pending.match(reply)
            if query is None:
                upstream.mismatched += 1
                continue
            upstream.pending -= 1
            upstream.health.heard(reply, now)
            upstream.replies.add(reply[3] & 0x0F, now - query.sent_at)
            try:
                upstream.outcome.deliver(query, reply, now)
            except Exception:  # noqa: BLE001 - no reply may stop the service, nor leave a client without one
                upstream.misunderstood(query, reply, now)


class OneShotSocket(_UpstreamSocket):
    """A socket for one query that keeps its ID: a signed or odd one, or a probe."""

    def __init__(self, upstream: SocketOwner, query: Query) -> None:
        super().__init__(upstream)
        self.query = query
        header = query.listener.proxy_header(query.back) if upstream.tells_client else b""
        with contextlib.suppress(OSError):
            self._socket.send(header + query.message)

    def read(self, now: float) -> None:
        """Read until the reply is there."""
        for _ in range(READ_AT_ONCE):
            try:
                reply = self._socket.recv(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                self._upstream.refused([self.query], now)
                return
            if _answers_odd(reply, self.query):
                self._upstream.answered(self.query, reply, now)
                return
            self._upstream.mismatched += 1


def _answers_odd(reply: bytes, query: Query) -> bool:
    """Tell whether this is the reply to a query of any opcode and shape."""
    message, question = query.message, query.question
    if reply[:2] != message[:2] or len(reply) < HEADER:
        return False
    if question:
        return answers(reply, question)
    return bool(reply[2] & QR) and not (reply[2] ^ message[2]) & OPCODE
