"""A client connection's own connection to the nameserver: opened when first needed, opened again when it was closed.

It keeps what was asked until it is answered, so that a nameserver that closes between queries costs nothing, and one
that closes in the middle of an answer costs SERVFAIL, never half a message.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol

from attrs import define
from twisted.internet.protocol import ClientFactory
from twisted.protocols.basic import Int16StringReceiver

from flatproxy.wire import landing, proxy
from flatproxy.wire.peek import HEADER, OPCODE, QR, answers
from flatproxy.wire.types import TYPE_AXFR, TYPE_IXFR

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IConnector, ITCPTransport
    from twisted.python.failure import Failure

    from flatproxy.forward.exchange import Road
    from flatproxy.forward.nameservers.pool import Upstream

TRANSFER_BEGINS_S = 10.0
"""The first message of a transfer may take this long: the nameserver has a zone to gather."""
TRANSFER_S = 60.0
"""A transfer may pause for this long between two messages."""
ATTEMPTS = 2
"""Connections that one query may go out on: the one that was open, and a new one where that was closed under it."""

_TRANSFERS = (TYPE_AXFR.to_bytes(2, "big"), TYPE_IXFR.to_bytes(2, "big"))


class Connector(Protocol):
    """The part of a Twisted reactor that opens TCP connections."""

    def connectTCP(self, host: str, port: int, factory: ClientFactory, timeout: float) -> IConnector:  # noqa: N802
        """Open a connection; the factory is told how it went."""


class Client(Protocol):
    """The client's connection. It is also the producer that the upstream connection pauses when it cannot take more."""

    client: tuple[str, int]
    asked: tuple[str, int]
    connected: int

    def respond(self, made: bytes) -> None:
        """Send a message to the client."""

    def land(self, came: bytes) -> None:
        """Send a reply whose CNAME chain may reach a flagged name."""

    def settle(self) -> None:
        """Take note that something which was under way has ended."""

    def finish(self) -> None:
        """Close once everything that was sent is with the client."""


@define(eq=False)
class _Asked:
    """A query under way. `begun` marks a transfer whose first message has come."""

    message: bytes
    question: bytes
    sent_at: float
    attempts: int = 0
    begun: bool = False

    @property
    def transfer(self) -> bool:
        return self.question[-4:-2] in _TRANSFERS

    def is_answered_by(self, came: bytes) -> bool:
        """Tell whether this is its reply; later messages of a transfer may lack the question (RFC 5936 s2.2)."""
        if len(came) < HEADER or not came[2] & QR or (came[2] ^ self.message[2]) & OPCODE:
            return False
        if not self.question or (self.begun and came[4:6] == b"\0\0"):
            return True
        return answers(came, self.question)


class UpstreamLink:
    """What a client connection has under way with the nameserver, over one connection after another."""

    def __init__(self, road: Road, connector: Connector, client: Client) -> None:
        self._road = road
        self._connector = connector
        self._client = client
        self._asked: dict[bytes, list[_Asked]] = {}
        self._count = 0
        self.octets = 0
        self._connection: _UpstreamConnection | None = None
        self._dialled: IConnector | None = None
        self._tried: list[Upstream] = []
        self._held = False
        self._closed = False

    def __len__(self) -> int:
        return self._count

    def send(self, message: bytes, end: int) -> None:
        """Send a query with its own ID."""
        asked = _Asked(message, message[HEADER:end].lower(), monotonic())
        self._asked.setdefault(message[:2], []).append(asked)
        self._count += 1
        self.octets += len(message)
        if self._connection is not None:
            self._transmit(asked)
        elif self._dialled is None:
            self._dial()

    def _transmit(self, asked: _Asked) -> None:
        connection = self._connection
        if connection is not None:
            asked.attempts += 1
            connection.sendString(asked.message)

    def _dial(self) -> None:
        """Open a connection to the best server that has not failed us just now; without one, say SERVFAIL to all."""
        upstreams = self._road.policy.upstreams
        upstream = upstreams.next_after(self._tried)
        if upstream is None:
            self._tried.clear()
            self._fail_all()
            return
        self._tried.append(upstream)
        endpoint = upstream.endpoint
        factory = _Dial(self, upstream)
        self._dialled = self._connector.connectTCP(endpoint.host, endpoint.port, factory, upstreams.timeout_s)

    def connected(self, connection: _UpstreamConnection) -> None:
        """Send everything that waits for the connection."""
        if self._closed:
            connection.transport.abortConnection()
            return
        self._connection = connection
        self._tried.clear()
        connection.transport.setTcpNoDelay(True)
        connection.transport.registerProducer(self._client, True)  # type: ignore[attr-defined]  # noqa: FBT003
        if self._road.policy.upstreams.tells_client:
            header = proxy.header(self._client.client, self._client.asked, udp=False)
            connection.transport.write(header)
        if self._held:
            connection.pauseProducing()
        for asked in self._all():
            self._transmit(asked)

    def failed(self) -> None:
        """Try the next server: this one cannot be reached."""
        self._dialled = None
        if not self._closed:
            self._dial()

    def came(self, message: bytes, upstream: Upstream) -> None:
        """Match a message from the nameserver and send it on."""
        now = monotonic()
        waiting = self._asked.get(message[:2], ())
        asked = next((asked for asked in waiting if asked.is_answered_by(message)), None)
        if asked is None:
            upstream.mismatched += 1
            return
        upstream.heard(now)
        if asked.transfer and message[3] & 0x0F == 0:
            asked.begun = True
            asked.sent_at = now
        else:
            self._road.traffic.latency.add(now - asked.sent_at)
            self._forget(asked)
        if asked.question and landing.may_land(message, asked.question):
            self._client.land(message)
        else:
            self._client.respond(message)

    def lost(self, connection: _UpstreamConnection) -> None:
        """Ask again on a new connection what was not answered on the one that closed."""
        if self._connection is not connection:
            return
        self._connection = self._dialled = None
        if self._closed:
            return
        for asked in self._all():
            if asked.begun:
                # Part of a transfer is with the client: whether it was the last part only the client can tell.
                self._forget(asked)
                self._client.finish()
            elif asked.attempts >= ATTEMPTS:
                self._fail(asked)
        if self._count and self._client.connected:
            self._dial()
        self._client.settle()

    def sweep(self, now: float) -> None:
        """Say SERVFAIL to what is overdue, and forget transfers that have been quiet for long."""
        if self._held:
            return
        timeout_s = self._road.policy.upstreams.timeout_s
        for asked in self._all():
            quiet_s = now - asked.sent_at
            if asked.begun:
                if quiet_s > TRANSFER_S:
                    self._forget(asked)
            elif quiet_s > (max(timeout_s, TRANSFER_BEGINS_S) if asked.transfer else timeout_s):
                self._fail(asked)

    def _all(self) -> list[_Asked]:
        return [asked for waiting in self._asked.values() for asked in waiting]

    def _forget(self, asked: _Asked) -> None:
        message_id = asked.message[:2]
        waiting = self._asked[message_id]
        waiting.remove(asked)
        if not waiting:
            del self._asked[message_id]
        self._count -= 1
        self.octets -= len(asked.message)

    def _fail(self, asked: _Asked) -> None:
        self._forget(asked)
        self._client.respond(self._road.servfail(asked.message))

    def _fail_all(self) -> None:
        for asked in self._all():
            self._fail(asked)

    def hold(self, held: bool) -> None:  # noqa: FBT001 - a state, not an option
        """Stop or go on reading from the nameserver, as the client can take it."""
        self._held = held
        if self._connection is not None:
            (self._connection.pauseProducing if held else self._connection.resumeProducing)()

    def close(self) -> None:
        """Let go of the nameserver: the client has gone."""
        self._closed = True
        self._asked.clear()
        self._count = 0
        if self._connection is not None:
            self._connection.transport.abortConnection()
        elif self._dialled is not None:
            self._dialled.disconnect()


class _UpstreamConnection(Int16StringReceiver):
    """One connection to a nameserver."""

    transport: ITCPTransport

    def __init__(self, link: UpstreamLink, upstream: Upstream) -> None:
        self._link = link
        self._upstream = upstream

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        self._link.connected(self)

    def stringReceived(self, string: bytes) -> None:  # noqa: N802 - Twisted's name
        self._link.came(string, self._upstream)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # noqa: ARG002, N802
        self._link.lost(self)


class _Dial(ClientFactory):
    """One attempt to connect."""

    noisy = False

    def __init__(self, link: UpstreamLink, upstream: Upstream) -> None:
        self._link = link
        self._upstream = upstream

    def buildProtocol(self, addr: IAddress | None) -> _UpstreamConnection:  # noqa: ARG002, N802 - Twisted's signature
        return _UpstreamConnection(self._link, self._upstream)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:  # noqa: ARG002, N802
        self._link.failed()
