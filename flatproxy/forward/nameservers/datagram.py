"""The UDP sockets to one nameserver: a pool for ordinary queries, and one-shots for those that keep their ID.

Sockets are connected, so the kernel drops what comes from elsewhere, and have random ports (RFC 5452 section 9.2).
Nothing here knows what a query means: a reply that matches a pending query is handed on as it came.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Protocol

from flatproxy.forward.batches import BATCH, MAX_DATAGRAM
from flatproxy.forward.pending import Back, Pending, Query
from flatproxy.wire import proxy
from flatproxy.wire.peek import HEADER, OPCODE, QR, answers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.config.settings import Endpoint
    from flatproxy.forward.nameservers.pool import Outcome
    from flatproxy.forward.packet_loop import Readers

RECEIVE_BUFFER = 4 * 1024 * 1024


class Server(Protocol):
    """What a socket tells its nameserver."""

    endpoint: Endpoint
    mismatched: int
    tells_client: bool
    """Whether each datagram begins with a PROXY header."""

    outcome: Outcome
    pending: int

    def heard(self, now: float) -> None:
        """Note a sign of life."""

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


def client_header(query: Query) -> bytes:
    """Return the PROXY header for a query: its client's, or for one of our own the one without a client."""
    client = query[3]
    return proxy.header(client.client, client.asked, udp=True) if type(client) is Back else proxy.LOCAL


class _UpstreamSocket:
    """A socket to one nameserver."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._socket = connected_socket(server.endpoint)

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class PooledSocket(_UpstreamSocket):
    """One of a nameserver's sockets, with its own table of IDs. What it sends goes out when the loop's round ends."""

    def __init__(self, server: Server, readers: Readers, ids: Iterator[bytes]) -> None:
        super().__init__(server)
        self.pending = Pending(ids)
        self._readers = readers
        self.unsent: list[bytes] = []
        """What waits for the end of the round."""

    def send(self, query: Query) -> None:
        """Send a query under an ID of its own; what the kernel has no room for is lost like any other datagram."""
        self._put(query, self.pending.admit(query))

    def resend(self, after: float, before: float) -> int:
        """Send the queries that were sent in [after, before) once more, as they were; return how many."""
        overdue = self.pending.sent_between(after, before)
        for message_id, query in overdue:
            self._put(query, message_id)
        return len(overdue)

    def _put(self, query: Query, message_id: bytes) -> None:
        datagram = message_id + query[0][2:]
        if self._server.tells_client:
            datagram = client_header(query) + datagram
        if not self.unsent:
            self._readers.unflushed.append(self)
        self.unsent.append(datagram)

    def flush(self) -> None:
        """Send what was gathered."""
        datagrams, self.unsent = self.unsent, []
        if len(datagrams) == 1:
            with contextlib.suppress(OSError):
                self._send_one(datagrams[0])
        else:
            self._readers.datagrams.send(self._socket, datagrams)

    def _send_one(self, datagram: bytes) -> None:
        try:
            self._socket.send(datagram)
        except ConnectionRefusedError:
            # What was refused is an earlier datagram of this socket: this one has yet to be tried.
            self._socket.send(datagram)

    def read(self, now: float) -> None:
        """Read replies, up to a batch. One may cost a look-up, a comparison of its question, and its delivery."""
        server, match = self._server, self.pending.match
        try:
            if len(self.pending) == 1:
                replies = [self._socket.recv(MAX_DATAGRAM)]
            else:
                replies = self._readers.datagrams.receive(self._socket)
        except BlockingIOError:
            return
        except OSError:
            server.refused(self.pending.take_all(), now)
            return
        found, deliver = 0, server.outcome.deliver
        for reply in replies:
            query = match(reply)
            if query is None:
                server.mismatched += 1
                continue
            found += 1
            try:
                deliver(query, reply, now)
            except Exception:  # noqa: BLE001 - no reply may stop the service, nor leave a client without one
                server.misunderstood(query, reply, now)
        if found:
            server.pending -= found
            server.heard(now)


class OneShotSocket(_UpstreamSocket):
    """A socket for one query that keeps its ID: a signed or odd one, or a probe."""

    def __init__(self, server: Server, query: Query) -> None:
        super().__init__(server)
        self.query = query
        with contextlib.suppress(OSError):
            self._socket.send(client_header(query) + query[0] if server.tells_client else query[0])

    def read(self, now: float) -> None:
        """Read until the reply is there."""
        for _ in range(BATCH):
            try:
                reply = self._socket.recv(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                self._server.refused([self.query], now)
                return
            if _answers_odd(reply, self.query):
                self._server.answered(self.query, reply, now)
                return
            self._server.mismatched += 1


def _answers_odd(reply: bytes, query: Query) -> bool:
    """Tell whether this is the reply to a query of any opcode and shape."""
    message, question = query[:2]
    if reply[:2] != message[:2] or len(reply) < HEADER:
        return False
    if question:
        return answers(reply, question)
    return bool(reply[2] & QR) and not (reply[2] ^ message[2]) & OPCODE
