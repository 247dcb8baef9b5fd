"""DNS over TCP (RFC 7766): each client connection, paired with an upstream connection of its own.

Messages pass with their IDs, in whatever order the nameserver answers; flattened answers are put in between. Whoever
reads too slowly stops the other side from sending: nothing is buffered without bound.
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.protocols.basic import Int16StringReceiver
from zope.interface import implementer

from flatproxy.errors import WireError
from flatproxy.forward.access import octets_of
from flatproxy.forward.bounds import IDLE_S, PIPELINE, PIPELINE_OCTETS, STALLED_S
from flatproxy.forward.nameservers.stream import UpstreamLink
from flatproxy.forward.policy import DROP, FLATTEN, FORWARD, PRESERVE, REFUSE
from flatproxy.wire import edns, proxy, reply

if TYPE_CHECKING:
    from twisted.internet.address import IPv4Address, IPv6Address
    from twisted.internet.interfaces import IAddress, IConsumer, ITCPTransport
    from twisted.python.failure import Failure

    from flatproxy.forward.access import Networks
    from flatproxy.forward.exchange import Road
    from flatproxy.forward.listeners.connections import Connections
    from flatproxy.forward.nameservers.stream import Connector
    from flatproxy.table.answers import Answer

log = Logger()


@implementer(IHalfCloseableProtocol, IPushProducer)
class ClientConnection(Int16StringReceiver):
    """One client's connection. As a producer it is paused whenever somebody cannot take more."""

    transport: ITCPTransport

    def __init__(self, road: Road, connector: Connector, connections: Connections, proxies: Networks) -> None:
        self._road = road
        self._proxies = proxies
        self._header: bytes | None = None
        """What has come of a PROXY header that must come first; None where there is none to wait for (any more)."""
        self.client = self.asked = ("", 0)
        self._connections = connections
        self._link = UpstreamLink(road, connector, self)
        self._waiting = 0
        self.half_closed = False
        self._holds: set[str] = set()
        self.active_at = monotonic()

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Take the client in."""
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(_OutputHold(self), True)  # type: ignore[attr-defined]  # noqa: FBT003
        peer, here = self.transport.getPeer(), self.transport.getHost()
        self.client, self.asked = (peer.host, peer.port), (here.host, here.port)
        self.host, self._octets = peer.host, octets_of(peer.host)
        if self._octets in self._proxies:
            self._header = b""
        self._connections.add(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take octets; from a trusted proxy its header first."""
        if self._header is not None:
            self._header += data
            try:
                if len(self._header) < proxy.FIXED or len(self._header) < proxy.length(self._header):
                    return
                told, start = proxy.parse(self._header)
            except WireError:
                self._road.traffic.malformed += 1
                self.transport.abortConnection()
                return
            data, self._header = self._header[start:], None
            if told is not None and not self._belongs_to(told):
                return
        super().dataReceived(data)

    def _belongs_to(self, client: tuple[str, int]) -> bool:
        """Count the connection for the client that a proxy named, no longer for the proxy; False without room."""
        self._connections.remove(self)
        self.client, self.host, self._octets = client, client[0], octets_of(client[0])
        if not self._connections.has_room(self.host):
            self.transport.abortConnection()
            return False
        self._connections.add(self)
        return True

    def stringReceived(self, string: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take one message; one that breaks something costs the connection and one log line."""
        self.active_at = monotonic()
        try:
            self._query(string)
        except Exception:  # noqa: BLE001 - no message may stop the service
            log.failure("message of {size} octets not understood", event="query_failed", size=len(string))
            self.transport.loseConnection()

    def _query(self, message: bytes) -> None:
        road = self._road
        verdict, end, answer, _question = road.policy.judge(message, self._octets)
        counts = road.traffic.tcp
        limits = road.policy.limits
        if (
            limits is not None
            and verdict in (FORWARD, PRESERVE)
            and limits.excess(self._octets, monotonic(), own=False)
        ):
            road.traffic.limited += 1
            verdict = REFUSE
        if verdict == DROP:
            counts.dropped += 1
            road.traffic.malformed += 1
        elif verdict == REFUSE:
            counts.refused += 1
            self.respond(reply.error(message, reply.REFUSED))
        elif verdict == FLATTEN and answer is not None:
            counts.flattened += 1
            self._flatten(message, end, answer)
        else:
            counts.forwarded += 1
            road.traffic.malformed += not end and not message[2] & 0x78
            self.forward(message, end)

    def _flatten(self, message: bytes, end: int, answer: Answer) -> None:
        now = monotonic()
        made = answer.reply(message, end, now, udp=False)
        if made is not None:
            self.respond(made)
        elif answer.wait(now, partial(self._after_wait, answer, message, end)):
            self._waiting += 1
        else:
            self.forward(message, end)

    def _after_wait(self, answer: Answer, message: bytes, end: int) -> None:
        self._waiting -= 1
        made = answer.reply(message, end, monotonic(), udp=False)
        if made is None:
            self.forward(message, end)
        else:
            self.respond(made)

    def forward(self, message: bytes, end: int) -> None:
        """Send a message to the nameserver."""
        if not self.connected:
            return
        self._link.send(message, end)
        if self._link_is_full():
            self.hold("pipeline")

    def _link_is_full(self) -> bool:
        return len(self._link) >= PIPELINE or self._link.octets >= PIPELINE_OCTETS

    def respond(self, made: bytes) -> None:
        """Send a message to the client, which may have gone meanwhile."""
        if not self.connected:
            return
        self.active_at = monotonic()
        code = reply.rcode(made)
        if code < len(self._road.traffic.rcodes):
            self._road.traffic.rcodes[code] += 1
        self.sendString(made)
        self.settle()

    def land(self, came: bytes) -> None:
        """Send a reply whose CNAME chain may reach a flagged name."""
        self._waiting += 1
        self._road.land(came, edns.MAX_TCP_SIZE, monotonic(), self._landed)

    def _landed(self, made: bytes) -> None:
        self._waiting -= 1
        self.respond(made)

    def settle(self) -> None:
        """Go on reading, or close, if what was under way allows it."""
        if "pipeline" in self._holds and not self._link_is_full():
            self.release("pipeline")
        if self.half_closed and not self.busy:
            self.finish()

    @property
    def busy(self) -> bool:
        """Whether the client still waits for something."""
        return bool(self._waiting or len(self._link))

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
        self._link.hold(held)
        (self.hold if held else self.release)("client")

    def sweep(self, now: float) -> None:
        """Close what is idle or stalled, and give up what is overdue upstream."""
        self._link.sweep(now)
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
        self._connections.remove(self)
        self._link.close()


@implementer(IPushProducer)
class _OutputHold:
    """Told by the client's transport when its buffer is full and when it has room again."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._connection.output_held(held=True)

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._connection.active_at = monotonic()
        self._connection.output_held(held=False)

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        pass


class TcpListener(ServerFactory):
    """Makes the connections of one listen address."""

    noisy = False

    def __init__(self, road: Road, connector: Connector, connections: Connections, proxies: Networks) -> None:
        self._road = road
        self._connector = connector
        self._connections = connections
        self._proxies = proxies

    def buildProtocol(self, addr: IAddress | None) -> ClientConnection | None:  # noqa: N802 - Twisted's name
        """Return the connection of a new client, None (and Twisted closes it) where there is no room."""
        host = cast("IPv4Address | IPv6Address", addr).host
        if not self._connections.has_room(host):
            return None
        return ClientConnection(self._road, self._connector, self._connections, self._proxies)
