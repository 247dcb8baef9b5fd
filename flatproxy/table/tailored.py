"""Answers by EDNS client subnet (RFC 7871): what is known of a target for a network, and what a query gets of it.

It asks nobody: who resolves for a network is told by `resolve`, and settles or fails here. No network is ever logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, evolve, field

from flatproxy.errors import WireError
from flatproxy.table.answers import TargetAnswer
from flatproxy.table.ladder import MIN_FRESH_S, lifetime_s
from flatproxy.table.subnets import Subnets, Tailored
from flatproxy.table.target import Target
from flatproxy.wire import client_subnet, reply
from flatproxy.wire.special import special_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.table.answers import Responder
    from flatproxy.table.ladder import Resolution, Step
    from flatproxy.wire.client_subnet import Subnet

BRIEF_TTL_S: Final = 30
"""The longest TTL of the shared answer where a network's own is not known."""
AT_ONCE: Final = 512
"""Networks that are resolved at a time, of all targets together."""
WAITING_AT_ONCE: Final = 1_000
"""Queries that may wait for networks; the others get the shared answer at once."""


def _to_nobody(_target: Target, _sent: Subnet) -> None:
    """Resolve nothing."""


@define(eq=False)
class Tailoring:
    """What is known by network, for all targets. `v4_bits` and `v6_bits` are the most that resolvers are told."""

    v4_bits: int = 24
    v6_bits: int = 56
    wait_s: float = 1.8
    """How long a query waits for a network's first answer."""
    resolve: Callable[[Target, Subnet], None] = _to_nobody
    """Begins a resolution, which ends with `settle` or `fail`."""
    subnets: Subnets[Target] = field(factory=Subnets)
    """The values are targets of their own, in no table."""
    _under_way: int = 0
    _waiters: dict[tuple[Target, Subnet], list[Callable[[], None]]] = field(factory=dict)
    _deadlines: dict[tuple[Target, Subnet], float] = field(factory=dict)
    _waiting: int = 0

    def begin(self, target: Target, sent: Subnet) -> bool:
        """Have a network resolved; False where that is under way or there is no room for one more."""
        if self._under_way >= AT_ONCE or not self.subnets.begin(target, sent):
            return False
        self._under_way += 1
        self.resolve(target, sent)
        return True

    def settle(self, target: Target, sent: Subnet, scope: int, resolution: Resolution) -> None:
        """Keep what a target was found to be for a network; `scope` is in bits, at most what was sent."""
        lifetimes = (lifetime_s(resolution.ttl_s, answer.rule) for answer in target.answers)
        ttl_s = max(min(lifetimes, default=0), MIN_FRESH_S)
        value = Target(target.name, target.rdtype, target.table, float("-inf"), target.guarding, resolution)
        self.subnets.settle(target, sent, Tailored(scope=scope, value=value, ttl_s=ttl_s), resolution.resolved_at)
        self._end(target, sent)

    def fail(self, target: Target, sent: Subnet, now: float) -> None:
        """Take note that a network could not be resolved."""
        self.subnets.fail(target, sent, now)
        self._end(target, sent)

    def _end(self, target: Target, sent: Subnet) -> None:
        self._under_way -= 1
        self._release(target, sent)

    def can_wait(self, target: Target, sent: Subnet) -> bool:
        """Tell whether a network is being resolved, and one more query may wait for it."""
        return self._waiting < WAITING_AT_ONCE and self.subnets.is_resolving(target, sent)

    def wait(self, target: Target, sent: Subnet, now: float, ready: Callable[[], None]) -> bool:
        """Have `ready` called when a network is resolved or took too long; False where that cannot be."""
        if not self.can_wait(target, sent):
            return False
        self._deadlines.setdefault((target, sent), now + self.wait_s)
        self._waiters.setdefault((target, sent), []).append(ready)
        self._waiting += 1
        return True

    def expire(self, now: float) -> None:
        """Call back whoever waited for too long."""
        for target, sent in [key for key, deadline in self._deadlines.items() if now >= deadline]:
            self._release(target, sent)

    def _release(self, target: Target, sent: Subnet) -> None:
        self._deadlines.pop((target, sent), None)
        waiters = self._waiters.pop((target, sent), ())
        self._waiting -= len(waiters)
        for ready in waiters:
            ready()

    @property
    def hits(self) -> int:
        """Queries that got an answer that was kept for their network."""
        return self.subnets.hits

    @property
    def evictions(self) -> int:
        """Answers that made room for others."""
        return self.subnets.evictions

    def by_target(self) -> dict[str, int]:
        """Return how many networks have an answer of their own, by target."""
        counts: dict[str, int] = {}
        for target, count in self.subnets.counts():
            counts[str(target)] = counts.get(str(target), 0) + count
        return counts


class TailoredAnswer(TargetAnswer):
    """The answer of a rule that is tailored: itself is the shared one."""

    def of_client(self, query: bytes, end: int, host: bytes) -> Responder:
        """Return what this query gets: the shared answer, one for its network, or FORMERR (RFC 7871 section 7.1.2)."""
        try:
            own = client_subnet.asked(query, end)
        except WireError:
            return SubnetAnswer(self, None, None, is_malformed=True)
        client = None
        if own is None:
            if self.rule.client_subnet != "synthesize" or special_network(host) is not None:
                return self
            client = host
        tailoring = self.target.table.tailoring
        return SubnetAnswer(self, own, client_subnet.to_send(own, client, tailoring.v4_bits, tailoring.v6_bits))


@define(eq=False)
class _BriefAnswer(TargetAnswer):
    """A shared answer that stands in for a network's own: it must not be kept for long."""

    def step(self, now: float) -> Step:
        """Return rung, rdatas and TTL at `now`."""
        current = super().step(now)
        return evolve(current, ttl_s=min(current.ttl_s, BRIEF_TTL_S))


@define(eq=False)
class SubnetAnswer:
    """What one query gets. `own` is the network that it carried, `sent` the one that resolvers are asked with, if any.

    Without an answer for the network it is the shared one, with scope 0 and a TTL of `BRIEF_TTL_S` at most.
    """

    _shared: TailoredAnswer
    _own: Subnet | None
    _sent: Subnet | None
    is_malformed: bool = False
    """Whether the option cannot be read."""
    _waited: bool = False

    def reply(self, query: bytes, end: int, now: float, *, udp: bool) -> bytes | None:
        """Return the reply to a well-formed query, None where it has to wait, or the nameserver is to answer."""
        if self.is_malformed:
            return reply.error_reply(query, reply.FORMERR)
        chosen = self._chosen(now)
        if chosen is None:
            return None
        answer, scope = chosen
        return answer.reply(query, end, now, udp=udp, options=self._own.option(scope) if self._own else b"")

    def _chosen(self, now: float) -> tuple[TargetAnswer, int] | None:
        """Return an answer and the bits that it holds for; None where it is worth waiting for."""
        shared, sent = self._shared, self._sent
        if sent is None:
            return shared, 0
        target, tailoring = shared.target, shared.target.table.tailoring
        entry = tailoring.subnets.get(target, sent, now)
        if entry is None or now >= entry.again_at:
            tailoring.begin(target, sent)
        if entry is None and not self._waited and tailoring.can_wait(target, sent):
            return None
        if entry is not None and entry.value is not None:
            return TargetAnswer(entry.value, shared.rule, shared.first_name), entry.scope.bits
        if entry is not None and not entry.scope.bits:
            return shared, 0
        brief = _BriefAnswer(target, shared.rule, shared.first_name)
        brief.stand_beside(shared.siblings)
        return brief, 0

    def wait(self, now: float, ready: Callable[[], None]) -> bool:
        """Have `ready` called when the network, or the cold target, is resolved, has failed or took too long."""
        target = self._shared.target
        if self._sent is not None and not self._waited:
            self._waited = True
            if target.table.tailoring.wait(target, self._sent, now, ready):
                return True
        return self._shared.wait(now, ready)
