"""The existing nameservers in order of preference: which of them to ask, over UDP and over TCP."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from attrs import define, frozen

from flatproxy.counts import BucketTable, Replies
from flatproxy.forward.nameservers.datagram import DatagramUpstream
from flatproxy.forward.nameservers.health import Health
from flatproxy.forward.nameservers.stream import StreamUpstream
from flatproxy.wire.types import CLASS_IN, TYPE_SOA

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from flatproxy.config import settings
    from flatproxy.config.settings import Endpoint
    from flatproxy.forward.descriptors import Descriptors
    from flatproxy.forward.nameservers.stream import Connector
    from flatproxy.forward.query import Outcome
    from flatproxy.forward.readers import Readers


def _nothing() -> None:
    """Tell nobody."""


@frozen
class Surroundings:
    """What a pool works with: who reads its sockets, who opens its connections, and who takes the replies."""

    readers: Readers
    connector: Connector
    outcome: Outcome


@define(eq=False)
class Nameserver:
    """One nameserver, by each transport. The counts are what the metrics read."""

    endpoint: Endpoint
    datagram: DatagramUpstream
    stream: StreamUpstream
    _replies: Replies
    elsewhere: Callable[[], Mapping[str, int]] = dict
    """What the packet path in C has counted of it, nothing where there is none."""
    latency_elsewhere: Callable[[], Sequence[int]] = tuple
    """How many replies took how long there, in the buckets of `Replies`; nothing where there is no such path."""

    def _and(self, own: int, *elsewhere: str) -> int:
        counts = self.elsewhere()
        return own + sum(counts.get(name, 0) for name in elsewhere)

    @property
    def up(self) -> bool:
        """Whether it answers over UDP, the transport that is always probed."""
        return self.datagram.health.up

    @property
    def has_answered(self) -> bool:
        """Whether it is up, and has shown it."""
        return self.up and self.datagram.health.answered_at > 0

    @property
    def pending(self) -> int:
        """UDP queries that wait for its reply."""
        return self._and(self.datagram.pending, "pending")

    @property
    def sent(self) -> int:
        """UDP queries sent to it."""
        return self._and(self.datagram.sent, "udp_sent")

    @property
    def timeouts(self) -> int:
        """UDP queries that it did not answer in time."""
        return self._and(self.datagram.timeouts, "udp_timeouts")

    @property
    def state(self) -> str:
        """How it is over UDP: `up`, `down`, or `failing` where it answers SERVFAIL to everything."""
        health = self.datagram.health
        return "down" if not health.up else "failing" if health.failing else "up"

    @property
    def replies(self) -> Replies:
        """What it has replied, over either transport."""
        own, elsewhere = self._replies, self.latency_elsewhere()
        latency = (
            BucketTable(counts=list(map(sum, zip(own.latency.counts, elsewhere, strict=True))))
            if elsewhere
            else own.latency
        )
        return Replies(latency, self._and(own.servfails, "servfails"))

    @property
    def mismatched(self) -> int:
        """Messages from it that answered nothing, over either transport."""
        return self._and(self.datagram.mismatched + self.stream.mismatched, "udp_mismatched", "tcp_mismatched")


class Pool:
    """The nameservers. `current` is the one to ask over UDP now, None where all are down."""

    def __init__(self, surroundings: Surroundings, upstream: settings.Upstream, zone: bytes) -> None:
        """Prepare them; `zone` is what probes ask for."""
        self.timeout_s = upstream.timeout_s
        self.changed: Callable[[], None] = _nothing
        """Called when another server may be the better one to ask, over either transport."""
        question = zone + TYPE_SOA.to_bytes(2, "big") + CLASS_IN
        self.servers = [self._server(surroundings, endpoint, upstream, question) for endpoint in upstream.servers]
        self.current: DatagramUpstream | None = self.servers[0].datagram

    def _server(
        self, surroundings: Surroundings, endpoint: Endpoint, upstream: settings.Upstream, question: bytes
    ) -> Nameserver:
        replies = Replies()
        datagram = DatagramUpstream(
            endpoint=endpoint,
            outcome=surroundings.outcome,
            health=Health(str(endpoint), self._choose),
            replies=replies,
            tells_client=upstream.proxy_protocol,
            readers=surroundings.readers,
            timeout_s=upstream.timeout_s,
            probe_question=question,
        )
        stream = StreamUpstream(
            endpoint=endpoint,
            health=Health(str(endpoint), self._choose, over_tcp=True),
            replies=replies,
            tells_client=upstream.proxy_protocol,
            connector=surroundings.connector,
            timeout_s=upstream.timeout_s,
            probe_question=question,
        )
        return Nameserver(endpoint, datagram, stream, replies)

    def open(self, shares: Descriptors) -> None:
        """Open the UDP sockets to every server; `OSError` where one is not to be had."""
        for server in self.servers:
            server.datagram.open(shares.sockets, shares.one_shots)

    def _choose(self) -> None:
        self.current = self.next_after(())
        self.changed()

    def next_after(self, tried: Container[object]) -> DatagramUpstream | None:
        """Return the best server for UDP that was not tried yet, None where there is none."""
        left = [server.datagram for server in self.servers if server.up and server.datagram not in tried]
        return min(left, key=lambda datagram: datagram.health.rank, default=None)

    def next_stream(self, tried: Container[object]) -> StreamUpstream | None:
        """Return the best server for TCP that was not tried yet, None where there is none.

        Of those that are equally well over TCP, one that is also well over UDP comes first: it is probed all the time.
        """
        left = [server for server in self.servers if server.stream.health.up and server.stream not in tried]
        best = min(left, key=lambda server: (server.stream.health.rank, server.datagram.health.rank), default=None)
        return best.stream if best is not None else None

    def sweep(self) -> None:
        """Give up what is overdue and send the probes that are due; to be called several times a second."""
        now = monotonic()
        alone = sum(server.up for server in self.servers) <= 1
        for server in self.servers:
            server.datagram.sweep(now, alone=alone)
            server.stream.sweep(now, wary=server.datagram.health.suspect)

    @property
    def pending(self) -> int:
        """UDP queries under way to all servers."""
        return sum(server.pending for server in self.servers)

    def close(self) -> None:
        """Close every socket, and what is being set up. Connections that carry queries are their clients' to close."""
        for server in self.servers:
            server.datagram.close()
            server.stream.close()
