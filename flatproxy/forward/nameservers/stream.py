"""One nameserver over TCP: the connections to it, few of which are set up at once, and the probes of its health.

It never chooses between nameservers, and never knows what a query means: see `link` for who uses a connection.
"""

from __future__ import annotations

from collections import deque
from secrets import token_bytes
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from attrs import define, field
from twisted.internet.protocol import ClientFactory
from twisted.protocols.basic import Int16StringReceiver

from flatproxy.counts import Replies
from flatproxy.forward.bounds import SETTING_UP, SETTLED_S
from flatproxy.forward.nameservers.health import PROBE_TIMEOUT_S
from flatproxy.wire import proxy

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IConnector, ITCPTransport
    from twisted.python.failure import Failure

    from flatproxy.config.settings import Endpoint
    from flatproxy.forward.nameservers.health import Health


class Connector(Protocol):
    """The part of a Twisted reactor that opens TCP connections."""

    def connectTCP(self, host: str, port: int, factory: ClientFactory, timeout: float) -> IConnector:  # noqa: N802
        """Open a connection; the factory takes it, or the failure."""


class Requester(Protocol):
    """Who wanted a connection."""

    def connected(self, connection: Connection) -> None:
        """Take the connection."""

    def failed(self) -> None:
        """Take note that there is none."""

    def came(self, message: bytes) -> None:
        """Take a message."""

    def lost(self, connection: Connection) -> None:
        """Take note that it has closed."""


class Connection(Int16StringReceiver):
    """One connection to a nameserver."""

    transport: ITCPTransport

    def __init__(self, dial: Dial) -> None:
        self._dial = dial

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Hand it over."""
        self.transport.setTcpNoDelay(True)
        self._dial.connected_at = monotonic()
        self._dial.user.connected(self)

    def stringReceived(self, string: bytes) -> None:  # noqa: N802 - Twisted's name
        """Hand on a message."""
        self._dial.settle()
        self._dial.user.came(string)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # noqa: ARG002, N802
        """Hand it back."""
        self._dial.settle()
        self._dial.user.lost(self)


class Dial(ClientFactory):
    """One connection from when it is wanted until something has come over it.

    waiting ──a place is free──► being set up ──a message came, or it failed, or some time passed──► settled
    """

    noisy = False

    def __init__(self, upstream: StreamUpstream, user: Requester) -> None:
        self.upstream = upstream
        self.user = user
        self.connected_at: float | None = None
        self.settled = False
        self._connector: IConnector | None = None
        self._cancelled = False

    def begin(self, connector: Connector, timeout_s: float) -> None:
        """Open the connection."""
        endpoint = self.upstream.endpoint
        self._begun_at = monotonic()
        self._connector = connector.connectTCP(endpoint.host, endpoint.port, self, timeout_s)

    def settle(self) -> None:
        """Give its place to the next; once."""
        if not self.settled:
            self.settled = True
            self.upstream.settled(self)

    def cancel(self) -> None:
        """Want it no longer; for who has not got it yet."""
        self._cancelled = True
        if self._connector is not None:
            self._connector.disconnect()
        self.settle()

    def buildProtocol(self, addr: IAddress | None) -> Connection:  # noqa: ARG002, N802 - Twisted's signature
        """Return the connection."""
        return Connection(self)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:  # noqa: ARG002, N802
        """Take note that there is none."""
        self.settle()
        if not self._cancelled:
            self.upstream.health.silent(self._begun_at)
            self.user.failed()


@define(eq=False)
class StreamUpstream:
    """The TCP side of one nameserver."""

    endpoint: Endpoint
    health: Health
    tells_client: bool
    _connector: Connector
    _timeout_s: float
    _probe_question: bytes
    replies: Replies = field(factory=Replies)
    mismatched: int = 0
    _waiting: deque[Dial] = field(factory=deque)
    _setting_up: dict[Dial, None] = field(factory=dict)
    _probe: _Probe | None = None

    def dial(self, user: Requester) -> Dial:
        """Open a connection for somebody, now or when it is its turn."""
        dial = Dial(self, user)
        self._waiting.append(dial)
        self._begin()
        return dial

    def _begin(self) -> None:
        while self._waiting and len(self._setting_up) < SETTING_UP:
            dial = self._waiting.popleft()
            self._setting_up[dial] = None
            dial.begin(self._connector, self._timeout_s)

    def settled(self, dial: Dial) -> None:
        """Count a connection no longer as being set up, or as waiting."""
        if dial in self._setting_up:
            del self._setting_up[dial]
            self._begin()
        elif dial in self._waiting:
            self._waiting.remove(dial)

    def sweep(self, now: float, *, wary: bool) -> None:
        """Let the next connections begin, and probe where there is doubt; `wary`: UDP is in doubt."""
        for dial in list(self._setting_up):
            if dial.connected_at is not None and now - dial.connected_at > SETTLED_S:
                dial.settle()
        if self._probe is not None:
            self._probe.sweep(now)
        elif (self.health.troubled or wary) and self.health.probe_is_due(now, wary=wary):
            self._probe = _Probe(self, self._probe_question, now)
            self._probe.begin(self._connector)

    def probe_ended(self) -> None:
        """Take note that the probe has its answer, or will have none."""
        self._probe = None

    def close(self) -> None:
        """Give up what waits or is being set up: who wanted it turns to another server."""
        for dial in [*self._waiting, *self._setting_up]:
            if dial.connected_at is None:
                dial.cancel()
                dial.user.failed()
        if self._probe is not None:
            self._probe.end()


class _Probe:
    """One question for a served zone's SOA: any answer, whatever its rcode, shows that the server lives."""

    def __init__(self, upstream: StreamUpstream, question: bytes, now: float) -> None:
        self._upstream = upstream
        self._message = token_bytes(2) + b"\0\0\0\1\0\0\0\0\0\0" + question
        self._sent_at = now
        self._connection: Connection | None = None
        self._dial = Dial(upstream, self)

    def begin(self, connector: Connector) -> None:
        """Ask, without waiting for a turn."""
        self._dial.begin(connector, PROBE_TIMEOUT_S)

    def connected(self, connection: Connection) -> None:
        """Ask."""
        self._connection = connection
        if self._upstream.tells_client:
            connection.transport.write(proxy.LOCAL)
        connection.sendString(self._message)

    def came(self, message: bytes) -> None:
        """Take the answer."""
        if message[:2] == self._message[:2] and len(message) > 3:
            self._upstream.health.probe_answered(message, monotonic())
            self.end()

    def failed(self) -> None:
        """Take note that the server cannot be reached."""
        self._upstream.probe_ended()
        self._upstream.health.probe_failed(self._sent_at)

    def lost(self, connection: Connection) -> None:
        """Take note that the server closed the connection instead of an answer."""
        if self._connection is connection:
            self._connection = None
            self.failed()

    def sweep(self, now: float) -> None:
        """Give up where it has taken too long."""
        if now - self._sent_at > PROBE_TIMEOUT_S:
            self.end()
            self._upstream.health.probe_failed(self._sent_at)

    def end(self) -> None:
        """Close the connection."""
        self._upstream.probe_ended()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.transport.abortConnection()
        else:
            self._dial.cancel()
