"""A client connection's own connection to the nameserver: opened when first needed, opened again when it was closed.

It keeps what was asked until it is answered, so that a nameserver that closes between queries costs nothing, and one
that closes in the middle of an answer costs SERVFAIL, never half a message.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol

from flatproxy.forward.bounds import PIPELINE, PIPELINE_OCTETS
from flatproxy.wire.peek import HEADER, OPCODE, QR, answers
from flatproxy.wire.types import TYPE_AXFR, TYPE_IXFR

if TYPE_CHECKING:
    from flatproxy.forward.nameservers.pool import Pool
    from flatproxy.forward.nameservers.stream import Connection, Dial, StreamUpstream
    from flatproxy.forward.query import Query

TRANSFER_BEGINS_S = 10.0
"""The first message of a transfer may take this long: the nameserver has a zone to gather."""
TRANSFER_S = 60.0
"""A transfer may pause for this long between two messages."""
ATTEMPTS = 2
"""Connections that one query may go out on: the one that was open, and a new one where that was closed under it."""

_TRANSFERS = (TYPE_AXFR.to_bytes(2, "big"), TYPE_IXFR.to_bytes(2, "big"))


class StreamOutcome(Protocol):
    """What a link asks of the exchange."""

    nameservers: Pool

    def deliver(self, query: Query, came: bytes, now: float, *, last: bool = True) -> None:
        """Take a reply to a query; a transfer has more of them than one."""

    def fail(self, query: Query) -> None:
        """Take note that no nameserver answers it."""


class Client(Protocol):
    """The client's connection. It is also the producer that the upstream connection pauses when it cannot take more."""

    gone: bool

    def proxy_header(self, back: object) -> bytes:
        """Return the PROXY header that names the client."""

    def hold(self, reason: str) -> None:
        """Stop asking; "pipeline" holds until `settle` finds the link no longer full."""

    def settle(self) -> None:
        """Take note that something which was under way has ended."""

    def finish(self) -> None:
        """Close once everything that was sent is with the client."""


def _is_transfer(query: Query) -> bool:
    return query.question[-4:-2] in _TRANSFERS


def _answers(came: bytes, query: Query) -> bool:
    """Tell whether this is its reply; later messages of a transfer may lack the question (RFC 5936 section 2.2)."""
    if len(came) < HEADER or not came[2] & QR or (came[2] ^ query.message[2]) & OPCODE:
        return False
    if not query.question or (query.begun and came[4:6] == b"\0\0"):
        return True
    return answers(came, query.question)


class UpstreamLink:
    """What a client connection has under way with the nameserver, over one connection after another."""

    def __init__(self, exchange: StreamOutcome, client: Client) -> None:
        self._exchange = exchange
        self._client = client
        self._asked: dict[bytes, list[Query]] = {}
        self._count = 0
        self._octets = 0
        self._upstream: StreamUpstream | None = None
        self._connection: Connection | None = None
        self._dial: Dial | None = None
        self._tried: list[StreamUpstream] = []
        self._held = False

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Whether no more is to be asked until something is answered."""
        return self._count >= PIPELINE or self._octets >= PIPELINE_OCTETS

    def send(self, query: Query) -> None:
        """Send a query with its own ID."""
        query.attempts, query.begun = 0, False
        message_id = query.message[:2]
        same = self._asked.get(message_id)
        if same is None:
            self._asked[message_id] = [query]
        else:
            same.append(query)
        self._count += 1
        self._octets += len(query.message)
        if self._connection is not None:
            self._transmit(query, self._connection)
        elif self._dial is None:
            self._open()
        if self.full:
            self._client.hold("pipeline")

    def _transmit(self, query: Query, connection: Connection) -> None:
        query.attempts += 1
        connection.sendString(query.message)

    def _open(self) -> None:
        """Open a connection to the best server that has not failed us just now; without one, say SERVFAIL to all."""
        upstream = self._exchange.nameservers.next_stream(self._tried)
        if upstream is None:
            self._tried.clear()
            for query in self._all():
                self._fail(query)
            return
        self._tried.append(upstream)
        self._upstream = upstream
        self._dial = upstream.dial(self)

    def connected(self, connection: Connection) -> None:
        """Send everything that waits for the connection."""
        self._connection = connection
        self._tried.clear()
        connection.transport.registerProducer(self._client, True)  # type: ignore[attr-defined]  # noqa: FBT003
        if self._upstream is not None and self._upstream.tells_client:
            connection.transport.write(self._client.proxy_header(None))
        if self._held:
            connection.pauseProducing()
        for query in self._all():
            self._transmit(query, connection)

    def failed(self) -> None:
        """Try the next server: this one cannot be reached."""
        self._dial = None
        self._open()

    def came(self, message: bytes) -> None:
        """Match a message from the nameserver and send it on."""
        now = monotonic()
        waiting = self._asked.get(message[:2], ())
        query = next((query for query in waiting if _answers(message, query)), None)
        upstream = self._upstream
        assert upstream is not None, "a message comes over a connection"
        if query is None:
            upstream.mismatched += 1
            return
        upstream.health.heard(message, now)
        if _is_transfer(query) and message[3] & 0x0F == 0:
            query.begun, query.sent_at = True, now
            self._exchange.deliver(query, message, now, last=False)
        else:
            self._forget(query)
            upstream.replies.add(message[3] & 0x0F, now - query.sent_at)
            self._exchange.deliver(query, message, now)

    def lost(self, connection: Connection) -> None:
        """Ask again on a new connection what was not answered on the one that closed."""
        if self._connection is not connection:
            return
        self._connection = self._dial = None
        for query in self._all():
            if query.begun:
                # Part of a transfer is with the client: whether it was the last part only the client can tell.
                self._forget(query)
                self._client.finish()
            elif query.attempts >= ATTEMPTS:
                self._fail(query)
        if self._count and not self._client.gone:
            self._open()
        self._client.settle()

    def sweep(self, now: float) -> None:
        """Say SERVFAIL to what is overdue, and forget transfers that have been quiet for long."""
        if self._held:
            return
        timeout_s = self._exchange.nameservers.timeout_s
        for query in self._all():
            quiet_s = now - query.sent_at
            if query.begun:
                if quiet_s > TRANSFER_S:
                    self._forget(query)
            elif quiet_s > (max(timeout_s, TRANSFER_BEGINS_S) if _is_transfer(query) else timeout_s):
                if self._upstream is not None and self._connection is not None:
                    self._upstream.health.silent(query.sent_at)
                self._fail(query)

    def _all(self) -> list[Query]:
        return [query for waiting in self._asked.values() for query in waiting]

    def _forget(self, query: Query) -> None:
        message_id = query.message[:2]
        waiting = self._asked[message_id]
        waiting.remove(query)
        if not waiting:
            del self._asked[message_id]
        self._count -= 1
        self._octets -= len(query.message)

    def _fail(self, query: Query) -> None:
        self._forget(query)
        self._exchange.fail(query)

    def hold(self, held: bool) -> None:  # noqa: FBT001 - a state, not an option
        """Stop or go on reading from the nameserver, as the client can take it."""
        self._held = held
        if self._connection is not None:
            (self._connection.pauseProducing if held else self._connection.resumeProducing)()

    def close(self) -> None:
        """Let go of the nameserver: the client has gone."""
        self._asked.clear()
        self._count = self._octets = 0
        connection, dial = self._connection, self._dial
        self._connection = self._dial = None
        if connection is not None:
            connection.transport.abortConnection()
        elif dial is not None:
            dial.cancel()
