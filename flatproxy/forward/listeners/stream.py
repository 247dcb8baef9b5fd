"""DNS over a stream (RFC 7766): one client's connection, and the link to a nameserver that belongs to it.

It frames messages, and stops whoever sends faster than the other side takes: nothing is buffered without bound. What
becomes of a message is the exchange's affair. Messages pass with their IDs, in whatever order they are answered.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.protocols.basic import Int16StringReceiver
from zope.interface import implementer

from flatproxy.errors import WireError
from flatproxy.forward.bounds import IDLE_S, STALLED_S
from flatproxy.forward.nameservers.link import UpstreamLink
from flatproxy.forward.socket_addresses import octets_of
from flatproxy.wire import proxy

if TYPE_CHECKING:
    from twisted.internet.address import IPv4Address, IPv6Address
    from twisted.internet.interfaces import IAddress, IConsumer, ITCPTransport
    from twisted.python.failure import Failure

    from flatproxy.counts import Verdicts
    from flatproxy.forward.access import Networks
    from flatproxy.forward.exchange import Exchange
    from flatproxy.forward.listeners.connections import Connections

log = Logger()


def _peer(address: IAddress) -> bytes:
    """Return the octets of a host, and two of its port."""
    peer = cast("IPv4Address | IPv6Address", address)
    return octets_of(peer.host) + peer.port.to_bytes(2, "big")


@implementer(IHalfCloseableProtocol, IPushProducer)
class ClientConnection(Int16StringReceiver):
    """One client's connection. As a producer it is paused whenever somebody cannot take more."""

    transport: ITCPTransport

    def __init__(self, exchange: Exchange, connections: Connections, proxies: Networks, verdicts: Verdicts) -> None:
        self._exchange = exchange
        self._connections = connections
        self._proxies = proxies
        self._header: bytes | None = None
        """What has come of a PROXY header that must come first; None where there is none to wait for (any more)."""
        self._client = self._asked = b""
        self.host = b""
        self.verdicts = verdicts
        self.rcodes = exchange.traffic.rcodes
        self.link = UpstreamLink(exchange, self)
        self.datagrams = False
        self.waiting = 0
        self.half_closed = self.gone = False
        self._holds: set[str] = set()
        self.active_at = monotonic()

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Take the client in."""
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(_OutputHold(self), True)  # type: ignore[attr-defined]  # noqa: FBT003
        self._client, self._asked = _peer(self.transport.getPeer()), _peer(self.transport.getHost())
        self.host = self._client[:-2]
        if self.host in self._proxies:
            self._header = b""
        self._connections.add(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take octets; from a trusted proxy its header first."""
        rest = self.after_header(data)
        if rest is not None:
            super().dataReceived(rest)

    def after_header(self, data: bytes) -> bytes | None:
        """Take the header that a trusted proxy sends first; return what follows, None where nothing does."""
        if self._header is None:
            return data
        self._header += data
        try:
            if len(self._header) < proxy.FIXED or len(self._header) < proxy.length(self._header):
                return None
            client, start = proxy.parse(self._header)
        except WireError:
            self._exchange.traffic.malformed += 1
            self.transport.abortConnection()
            return None
        rest, self._header = self._header[start:], None
        return rest if client is None or self._belongs_to(client) else None

    def _belongs_to(self, client: bytes) -> bool:
        """Count the connection for the client that a proxy named, no longer for the proxy; False without room."""
        self._connections.remove(self)
        self._client, self.host = client, client[:-2]
        if not self._connections.has_room(self.host):
            self.transport.abortConnection()
            return False
        self._connections.add(self)
        return True

    def proxy_header(self, back: object) -> bytes:  # noqa: ARG002 - a connection has one client
        """Return the PROXY header that names the client."""
        return proxy.header(self._client, self._asked, udp=False)

    def stringReceived(self, string: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take one message; one that breaks something costs the connection and one log line."""
        self.active_at = now = monotonic()
        try:
            self._exchange.receive(string, self.host, self, None, now)
        except Exception:  # noqa: BLE001 - no message may stop the service
            log.failure("message of {size} octets not understood", event="query_failed", size=len(string))
            self.transport.loseConnection()

    def send(self, reply: bytes, back: object) -> None:  # noqa: ARG002 - a connection has one client
        """Send a message to the client."""
        self.active_at = monotonic()
        self.sendString(reply)
        self.settle()

    def settle(self) -> None:
        """Go on reading, or close, if what was under way allows it."""
        if self._holds and not self.link.full:
            self.release("pipeline")
        if self.half_closed and not self.busy:
            self.finish()

    @property
    def busy(self) -> bool:
        """Whether the client still waits for something."""
        return bool(self.waiting or len(self.link))

    def hold(self, reason: str) -> None:
        """Stop reading from the client, for a reason that is released later."""
        if not self._holds:
            super().pauseProducing()
        self._holds.add(reason)

    def release(self, reason: str) -> None:
        """Take back a hold; without any left, go on reading."""
        if reason in self._holds:
            self._holds.remove(reason)
            if not self._holds and self.connected:
                super().resumeProducing()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Stop reading: the upstream connection cannot take more."""
        self.hold("upstream")

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Go on reading: it can again."""
        self.release("upstream")

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Nothing to stop: the upstream connection has gone, and the next query opens another."""
        self.release("upstream")

    def output_held(self, held: bool) -> None:  # noqa: FBT001 - a state, not an option
        """Stop or go on making output for a client that reads slowly."""
        self.link.hold(held)
        (self.hold if held else self.release)("client")

    def sweep(self, now: float) -> None:
        """Close what is idle or stalled, and give up what is overdue upstream."""
        self.link.sweep(now)
        quiet = now - self.active_at
        if quiet > STALLED_S or (quiet > IDLE_S and not self.busy):
            self.transport.abortConnection()

    def finish(self) -> None:
        """Close once everything that was sent is with the client."""
        # A transport with a paused producer would wait for it instead of closing.
        cast("IConsumer", self.transport).unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Cut the client off."""
        self.transport.abortConnection()

    def readConnectionLost(self) -> None:  # noqa: N802 - Twisted's name
        """Answer what was asked before the client closed its half, then close ours."""
        self.half_closed = True
        self.settle()

    def writeConnectionLost(self) -> None:  # noqa: N802 - Twisted's name
        """Nothing can be sent any more."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # noqa: ARG002, N802
        """Let go of everything."""
        self.connected = 0
        self.gone = True
        self._connections.remove(self)
        self.link.close()


@implementer(IPushProducer)
class _OutputHold:
    """The producer that the client's transport pauses when its buffer is full, and resumes when it has room again."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._connection.output_held(held=True)

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._connection.active_at = monotonic()
        self._connection.output_held(held=False)

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        pass


class StreamListener(ServerFactory):
    """Makes the connections of one listen address, and counts their queries in `verdicts`."""

    noisy = False

    def __init__(self, exchange: Exchange, connections: Connections, proxies: Networks, verdicts: Verdicts) -> None:
        self._exchange = exchange
        self._connections = connections
        self._proxies = proxies
        self._verdicts = verdicts

    def buildProtocol(self, addr: IAddress | None) -> ClientConnection | None:  # noqa: N802 - Twisted's name
        """Return the connection of a new client, None (and Twisted closes it) where there is no room."""
        if addr is None or not self._connections.has_room(_peer(addr)[:-2]):
            return None
        return ClientConnection(self._exchange, self._connections, self._proxies, self._verdicts)
