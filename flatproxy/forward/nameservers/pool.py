"""The existing nameservers: which of them to ask, who is up, and what becomes of a query that got no reply."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from attrs import define, field
from twisted.logger import Logger

from flatproxy.counts import worth_a_line
from flatproxy.forward.bounds import ONE_SHOTS, PENDING, PENDING_SHARE, SOCKETS
from flatproxy.forward.nameservers.datagram import OneShotSocket, PooledSocket
from flatproxy.forward.nameservers.health import Health
from flatproxy.forward.pending import Query, host_of, random_ids
from flatproxy.wire.types import CLASS_IN, TYPE_SOA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flatproxy.config.settings import Endpoint
    from flatproxy.forward.packet_loop import Readers

log = Logger()

QUERIES_A_PORT = 32
"""Queries of one round of the loop that leave from one port, in one system call, before another is drawn."""
PROBE_TIMEOUT_S = 1.0


class Outcome(Protocol):
    """Who is told how a query ended."""

    def deliver(self, query: Query, reply: bytes, now: float) -> None:
        """Take the reply, with the ID it came with."""

    def give_up(self, query: Query, now: float) -> None:
        """Take note that this server sent no reply."""

    def overload(self, query: Query) -> None:
        """Take note that there is no room for this query."""


@define(eq=False, slots=False)
class Upstream:
    """One nameserver. Its `server` methods are called by its sockets."""

    endpoint: Endpoint
    outcome: Outcome
    _readers: Readers
    _timeout_s: float
    _probe_question: bytes
    _changed: Callable[[], None]
    tells_client: bool
    health: Health = field(factory=Health)
    sent: int = 0
    timeouts: int = 0
    mismatched: int = 0
    pending: int = 0
    _failures: int = 0
    _greedy: frozenset[str] = frozenset()
    _one_shot_limit: int = ONE_SHOTS
    itself: tuple[Upstream, ...] = ()
    """Itself and nobody else: the servers asked so far by a query that begins here."""
    _sockets: list[PooledSocket] = field(factory=list)
    _one_shots: dict[int, OneShotSocket] = field(factory=dict)
    _probe: Query | None = None
    _ids: Iterator[bytes] = field(factory=random_ids)
    _drawn: PooledSocket | None = None
    _resent_before: float = float("-inf")

    def __attrs_post_init__(self) -> None:
        self.itself = (self,)

    @property
    def up(self) -> bool:
        """Whether it is taken to be up."""
        return self.health.up

    def open(self, sockets: int, one_shots: int) -> None:
        """Open its sockets; `OSError` where there are no descriptors left."""
        self._one_shot_limit = one_shots
        for _ in range(sockets):
            pooled = PooledSocket(self, self._readers, self._ids)
            self._sockets.append(pooled)
            self._readers.add(pooled)

    def send(self, query: Query) -> None:
        """Send a query under a random ID from a random port; what it costs is its place in the pending table."""
        if self.pending >= PENDING or (self._greedy and host_of(query) in self._greedy):
            self.outcome.overload(query)
            return
        drawn = self._drawn
        if drawn is None or not 0 < len(drawn.unsent) < QUERIES_A_PORT:
            drawn = self._drawn = self._sockets[next(self._ids)[0] % len(self._sockets)]
        self.sent += 1
        self.pending += 1
        drawn.send(query)

    def send_preserved(self, query: Query) -> None:
        """Send a query under its own ID from a socket of its own."""
        if len(self._one_shots) >= self._one_shot_limit:
            self.outcome.overload(query)
            return
        try:
            one_shot = OneShotSocket(self, query)
        except OSError:
            self.outcome.overload(query)
            return
        self.sent += 1
        self.pending += 1
        self._one_shots[id(query)] = one_shot
        self._readers.add(one_shot)

    def answered(self, query: Query, reply: bytes, now: float) -> None:
        """Hand on the reply to a query that had a socket of its own."""
        self.heard(now)
        self._close_one_shot(query)
        if query is self._probe:
            self._probe = None
            return
        self.pending -= 1
        try:
            self.outcome.deliver(query, reply, now)
        except Exception:  # noqa: BLE001 - no reply may stop the service, nor leave a client without one
            self.misunderstood(query, reply, now)

    def misunderstood(self, query: Query, reply: bytes, now: float) -> None:
        """Give up a query whose reply broke something; called where the exception is at hand."""
        self._failures += 1
        if worth_a_line(self._failures):
            log.failure("reply of {size} octets not understood", event="reply_failed", size=len(reply))
        self.outcome.give_up(query, now)

    def heard(self, now: float) -> None:
        """Note a sign of life."""
        health = self.health
        health.answered_at = now
        if health.suspect:
            was_up = health.up
            health.answered(now)
            if not was_up:
                log.info("upstream {server} is up", event="upstream_up", server=str(self.endpoint))
            self._changed()

    def refused(self, queries: list[Query], now: float) -> None:
        """Give up queries that the host refused."""
        for query in queries:
            self._give_up(query, now)

    def sweep(self, now: float, *, alone: bool) -> None:
        """Give up what is overdue and probe where it is due.

        `alone`: there is no other server to turn to, so what waited for half of the timeout is sent once more.
        """
        self._note_greed()
        before = now - self._timeout_s
        for pooled in self._sockets:
            if pooled.pending:
                for query in pooled.pending.expire(before):
                    self.timeouts += 1
                    self._give_up(query, now)
        self._resend(now - self._timeout_s / 2, alone=alone)
        for one_shot in list(self._one_shots.values()):
            query = one_shot.query
            if query is self._probe:
                if query[4] < now - PROBE_TIMEOUT_S:
                    self._give_up(query, now)
            elif query[4] < before:
                self.timeouts += 1
                self._give_up(query, now)
        if self._probe is None and self.health.probe_is_due(now):
            self._send_probe(now)

    def _resend(self, before: float, *, alone: bool) -> None:
        """Send once more what was sent before this time, each query once (RFC 1035 section 4.2.1)."""
        if alone:
            for pooled in self._sockets:
                if pooled.pending:
                    self.sent += pooled.resend(self._resent_before, before)
        self._resent_before = before

    def _note_greed(self) -> None:
        """Find the clients that have more than their share of a table that fills up."""
        if self.pending < PENDING // 2:
            self._greedy = frozenset()
            return
        shares = Counter(host_of(query) for pooled in self._sockets for query in pooled.pending)
        self._greedy = frozenset(host for host, share in shares.items() if share > PENDING_SHARE)

    def _give_up(self, query: Query, now: float) -> None:
        self._close_one_shot(query)
        if query is self._probe:
            self._probe = None
            self._note_silence(query[4], self.health.probe_failed)
            return
        self.pending -= 1
        self._note_silence(query[4], self.health.silent)
        self.outcome.give_up(query, now)

    def _note_silence(self, sent_at: float, note: Callable[[float], None]) -> None:
        was_up, was_suspect = self.health.up, self.health.suspect
        note(sent_at)
        if was_up and not self.health.up:
            log.error("upstream {server} is down", event="upstream_down", server=str(self.endpoint))
        if (was_up, was_suspect) != (self.health.up, self.health.suspect):
            self._changed()

    def _send_probe(self, now: float) -> None:
        """Ask for a served zone's SOA: any answer, whatever its rcode, shows that the server lives."""
        message = next(self._ids) + b"\0\0\0\1\0\0\0\0\0\0" + self._probe_question
        query: Query = (message, self._probe_question, _nobody, None, now, (), True)
        try:
            one_shot = OneShotSocket(self, query)
        except OSError:
            self._note_silence(now, self.health.probe_failed)
            return
        self._probe = query
        self._one_shots[id(query)] = one_shot
        self._readers.add(one_shot)

    def _close_one_shot(self, query: Query) -> None:
        one_shot = self._one_shots.pop(id(query), None)
        if one_shot is not None:
            self._readers.remove(one_shot)
            one_shot.close()

    def close(self) -> None:
        """Close every socket; what is under way gets no reply."""
        descriptors: list[PooledSocket | OneShotSocket] = [*self._sockets, *self._one_shots.values()]
        for descriptor in descriptors:
            self._readers.remove(descriptor)
            descriptor.close()
        self._sockets.clear()
        self._one_shots.clear()


def _nobody(_reply: bytes, _client: object) -> None:
    """Take a reply that nobody waits for."""


class Upstreams:
    """The nameservers in order of preference. `current` is the one to ask now, None where all are down."""

    def __init__(
        self,
        readers: Readers,
        endpoints: Sequence[Endpoint],
        timeout_s: float,
        zone: bytes,
        outcome: Outcome,
        *,
        tells_client: bool = False,
    ) -> None:
        """Prepare them. `zone` is what probes ask for; `tells_client` puts a PROXY header before what is sent."""
        self.tells_client = tells_client
        question = zone + TYPE_SOA.to_bytes(2, "big") + CLASS_IN
        self.timeout_s = timeout_s
        self.servers = [
            Upstream(endpoint, outcome, readers, timeout_s, question, self._choose, tells_client)
            for endpoint in endpoints
        ]
        self.current: Upstream | None = self.servers[0]

    def open(self, sockets: int = SOCKETS, one_shots: int = ONE_SHOTS) -> None:
        """Open the sockets to every server."""
        for server in self.servers:
            server.open(sockets, one_shots)

    def _choose(self) -> None:
        up = [server for server in self.servers if server.up]
        self.current = next((server for server in up if not server.health.suspect), up[0] if up else None)

    def next_after(self, tried: Sequence[object]) -> Upstream | None:
        """Return the best server that was not tried yet, None where there is none."""
        left = [server for server in self.servers if server.up and server not in tried]
        return next((server for server in left if not server.health.suspect), left[0] if left else None)

    def sweep(self) -> None:
        """Give up what is overdue and send the probes that are due; to be called several times a second."""
        now = monotonic()
        alone = sum(server.up for server in self.servers) <= 1
        for server in self.servers:
            server.sweep(now, alone=alone)

    @property
    def pending(self) -> int:
        """Queries under way to all servers."""
        return sum(server.pending for server in self.servers)

    def close(self) -> None:
        """Close every socket."""
        for server in self.servers:
            server.close()
