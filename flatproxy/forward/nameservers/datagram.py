"""One nameserver over UDP: which socket a query leaves from, what is overdue, and the probes of its health.

It never chooses between nameservers, and never knows what a query means.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.logger import Logger

from flatproxy.counts import Replies, Verdicts, worth_a_line
from flatproxy.forward.bounds import ONE_SHOTS, PENDING, PENDING_SHARE
from flatproxy.forward.nameservers.health import PROBE_TIMEOUT_S
from flatproxy.forward.nameservers.sockets import OneShotSocket, SharedSocket
from flatproxy.forward.pending import random_ids
from flatproxy.forward.query import query_from
from flatproxy.wire import proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.config.settings import Endpoint
    from flatproxy.forward.nameservers.health import Health
    from flatproxy.forward.query import Outcome, Query
    from flatproxy.forward.readers import Readers

log = Logger()


@define(eq=False)
class _Prober:
    """Who sends the probes: a listener that nobody has asked."""

    datagrams: bool = True
    verdicts: Verdicts = field(factory=Verdicts)
    rcodes: list[int] = field(factory=list)
    link: None = None
    waiting: int = 0
    gone: bool = True

    def send(self, reply: bytes, back: object) -> None:
        """Take a reply that nobody waits for."""

    def proxy_header(self, back: object) -> bytes:  # noqa: ARG002 - as a listener's
        """Return the header of a datagram of our own."""
        return proxy.LOCAL


@define(eq=False, slots=False)
class DatagramUpstream:
    """The UDP side of one nameserver."""

    endpoint: Endpoint
    outcome: Outcome
    health: Health
    tells_client: bool
    _readers: Readers
    _timeout_s: float
    _probe_question: bytes
    replies: Replies = field(factory=Replies)
    sent: int = 0
    timeouts: int = 0
    mismatched: int = 0
    pending: int = 0
    itself: tuple[DatagramUpstream, ...] = ()
    """Itself and nobody else: the servers asked so far by a query that begins here."""
    _failures: int = 0
    _greedy: frozenset[bytes] = frozenset()
    _one_shot_limit: int = ONE_SHOTS
    _sockets: list[SharedSocket] = field(factory=list)
    _one_shots: dict[Query, OneShotSocket] = field(factory=dict)
    _probe: Query | None = None
    _prober: _Prober = field(factory=_Prober)
    _ids: Iterator[bytes] = field(factory=random_ids)
    _resent_before: float = float("-inf")

    def __attrs_post_init__(self) -> None:
        self.itself = (self,)

    def open(self, sockets: int, one_shots: int) -> None:
        """Open its sockets; `OSError` where there are no descriptors left."""
        self._one_shot_limit = one_shots
        for _ in range(sockets):
            shared = SharedSocket(self, self._ids)
            self._sockets.append(shared)
            self._readers.add(shared)

    def send(self, query: Query) -> None:
        """Send a query under a random ID from a random port; what it costs is its place in the pending table."""
        if self.pending >= PENDING or (self._greedy and query.host in self._greedy):
            self.outcome.overload(query)
            return
        drawn = self._sockets[next(self._ids)[0] % len(self._sockets)]
        self.sent += 1
        self.pending += 1
        drawn.put(query, drawn.pending.admit(query))

    def send_preserved(self, query: Query) -> None:
        """Send a query under its own ID from a socket of its own."""
        if len(self._one_shots) >= self._one_shot_limit or not self._send_alone(query):
            self.outcome.overload(query)
            return
        self.sent += 1
        self.pending += 1

    def _send_alone(self, query: Query) -> bool:
        """Send a query from a socket of its own; False where none is to be had."""
        try:
            one_shot = OneShotSocket(self, query)
        except OSError:
            return False
        self._one_shots[query] = one_shot
        self._readers.add(one_shot)
        return True

    def answered(self, query: Query, reply: bytes, now: float) -> None:
        """Hand on the reply to a query that had a socket of its own."""
        self._close_one_shot(query)
        if query is self._probe:
            self._probe = None
            self.health.probe_answered(reply, now)
            return
        self.health.heard(reply, now)
        self.replies.add(reply[3] & 0x0F, now - query.sent_at)
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
        for shared in self._sockets:
            if shared.pending:
                for query in shared.pending.expire(before):
                    self.timeouts += 1
                    self._give_up(query, now)
        self._resend(now - self._timeout_s / 2, alone=alone)
        for query in list(self._one_shots):
            if query is self._probe:
                if query.sent_at < now - PROBE_TIMEOUT_S:
                    self._give_up(query, now)
            elif query.sent_at < before:
                self.timeouts += 1
                self._give_up(query, now)
        if self._probe is None and self.health.probe_is_due(now):
            self._send_probe(now)

    def _resend(self, before: float, *, alone: bool) -> None:
        """Send once more what was sent before this time, each query once (RFC 1035 section 4.2.1)."""
        if alone:
            for shared in self._sockets:
                if shared.pending:
                    self.sent += shared.resend(self._resent_before, before)
        self._resent_before = before

    def _note_greed(self) -> None:
        """Find the clients that have more than their share of a table that fills up."""
        if self.pending < PENDING // 2:
            self._greedy = frozenset()
            return
        shares = Counter(query.host for shared in self._sockets for query in shared.pending)
        self._greedy = frozenset(host for host, share in shares.items() if share > PENDING_SHARE)

    def _give_up(self, query: Query, now: float) -> None:
        self._close_one_shot(query)
        if query is self._probe:
            self._probe = None
            self.health.probe_failed(query.sent_at)
            return
        self.pending -= 1
        self.health.silent(query.sent_at)
        self.outcome.give_up(query, now)

    def _send_probe(self, now: float) -> None:
        """Ask for a served zone's SOA: any answer, whatever its rcode, shows that the server lives."""
        message = next(self._ids) + b"\0\0\0\1\0\0\0\0\0\0" + self._probe_question
        query = query_from(message, self._probe_question, b"", self._prober, None, now, preserved=True)
        if self._send_alone(query):
            self._probe = query
        else:
            self.health.probe_failed(now)

    def _close_one_shot(self, query: Query) -> None:
        one_shot = self._one_shots.pop(query, None)
        if one_shot is not None:
            self._readers.remove(one_shot)
            one_shot.close()

    def close(self) -> None:
        """Close every socket; what is under way gets no reply."""
        descriptors: list[SharedSocket | OneShotSocket] = [*self._sockets, *self._one_shots.values()]
        for descriptor in descriptors:
            self._readers.remove(descriptor)
            descriptor.close()
        self._sockets.clear()
        self._one_shots.clear()
