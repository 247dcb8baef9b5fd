"""Keeps every target resolved: when to ask, at most one resolution of a target at a time, what to do with the result.

`tick` is called many times a second; nothing here sleeps. A target is asked again before its TTL ends, whether or not
anybody asks for it, and after a failure with growing pauses (RFC 9520 section 3.2).

Packets come first: between two pieces of work, each a fraction of a millisecond, those that wait are served. What is
left after `SLICE_S` goes on in the next turn of the loop. So the number of targets does not matter to a query.
"""

from __future__ import annotations

import asyncio
import random
from time import time
from typing import TYPE_CHECKING

import dns.rdatatype
from attrs import define, field
from twisted.logger import Logger

from flatproxy.counts import BucketTable
from flatproxy.errors import ChainBroken, ChainLoop, ChainTooLong, FlatproxyError, UpstreamTimeout
from flatproxy.flatten.chain import Chain
from flatproxy.flatten.guards import in_words, sift
from flatproxy.flatten.token_bucket import TokenBucket
from flatproxy.table.agenda import NEVER, Agenda
from flatproxy.table.held import retry_s
from flatproxy.table.ladder import Resolution, lifetime_s
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.flatten.chain import Asker, Found, Scope
    from flatproxy.table.table import Adopted, Table
    from flatproxy.table.target import Target

log = Logger()

RESOLUTIONS_AT_ONCE = 64
"""Resolutions under way at once."""
BEGIN_RATE = 500.0
"""Resolutions begun in a second: about a third of a core."""
BEGUN_AT_ONCE = 2
"""Resolutions begun in one turn of the loop: their pieces run in a row in the next one."""
SLICE_S = 0.002
SOON_S = 0.05
"""What is due later than that is left to the next tick."""
REST = 3.0
"""After a slice nothing is done for so many times as long as it took."""
MIN_INTERVAL_S = 1.0
MARGIN_S = 4.0
"""Before the TTL ends: room for two attempts with the default timeout of 1.8 s."""
FAILURE_S = 5.0
MAX_FAILURE_S = 300.0

_OUTCOMES: dict[type[FlatproxyError], str] = {ChainLoop: "loop", ChainTooLong: "too_long", UpstreamTimeout: "timeout"}


def refresh_at(now: float, lifetime: float, chance: float) -> float:
    """Return when to resolve again what lives for `lifetime` seconds; `chance` in [0, 1) scatters equal ones."""
    lead = max(min(MARGIN_S, lifetime / 2), lifetime * 0.1)
    return now + max((lifetime - lead) * (1 - 0.1 * chance), MIN_INTERVAL_S)


def retry_at(now: float, failures: int, chance: float) -> float:
    """Return when to try again after this many failures in a row: 5 s, doubling to 5 min."""
    pause = min(FAILURE_S * (1 << min(failures - 1, 10)), MAX_FAILURE_S)
    return now + pause * (1 - 0.1 * chance)


def outcome_of(error: FlatproxyError | None) -> str:
    """Return the word for how a walk ended that found nothing: "loop", "too_long", "timeout" or "broken"."""
    return _OUTCOMES.get(type(error), "broken") if error is not None else "broken"


async def walk(chain: Chain, resolvers: Asker, upstream: Asker, rest: Callable[[], None]) -> Found:
    """Drive a chain to its end, with a `rest` after each answer; raises `ChainError` or `UpstreamTimeout`."""
    while (ask := chain.ask) is not None:
        response = await (upstream if ask.upstream else resolvers).ask(ask.name, chain.rdtype)
        rest()
        chain.receive(response)
        rest()
    if chain.found is None:
        raise ChainBroken("the walk ended nowhere")
    return chain.found


def _nothing() -> None:
    """Do nothing."""


@define(eq=False, repr=False)
class Refresher:
    """The schedule of the table's targets. `clock` returns monotonic seconds, `wall` Unix time.

    `serve_packets` is called between two pieces of work.
    """

    table: Table
    resolvers: Asker
    upstream: Asker
    scope: Scope
    clock: Callable[[], float]
    wall: Callable[[], float] = time
    serve_packets: Callable[[], None] = _nothing
    latency: BucketTable = field(factory=BucketTable)
    _due: Agenda[Target] = field(factory=Agenda)
    """When to resolve each target next; it is not there while it is being resolved."""
    _running: dict[Target, asyncio.Task[None]] = field(factory=dict)
    _going_on: asyncio.TimerHandle | None = None
    _rest_until: float = float("-inf")
    _pace: TokenBucket = field(factory=lambda: TokenBucket(BEGIN_RATE))

    def follow(self, adopted: Adopted, now: float) -> None:
        """Resolve new targets as soon as there is room, and those that are gone no more."""
        for target in adopted.gone:
            self._due.drop(target)
        for target in adopted.new:
            self._due.set(target, now)

    def tick(self, now: float) -> None:
        """Begin what is due, and have the table take note of the time; for `SLICE_S` at most."""
        if now >= self._rest_until:
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Do a slice of what is due. Do the next one after a rest, or on time where it is due soon."""
        if self._going_on is not None:
            self._going_on.cancel()
            self._going_on = None
        self._pace.refill(now)
        began, begun = self.clock(), 0
        while True:
            if begun < BEGUN_AT_ONCE and self._begin_one(now):
                begun += 1
            elif not self.table.advance(now):
                break
            self.serve_packets()
            if self.clock() - began >= SLICE_S:
                break
        ended = self.clock()
        self._rest_until = ended + REST * (ended - began)
        wait_s = min(self.table.soonest, self._due.soonest if self._may_begin else NEVER) - now
        if wait_s < SOON_S:
            wait_s = max(wait_s, self._rest_until - ended)
            self._going_on = asyncio.get_running_loop().call_later(wait_s, lambda: self._go_on(self.clock()))

    @property
    def _may_begin(self) -> bool:
        return len(self._running) < RESOLUTIONS_AT_ONCE and self._pace.has_token

    def _begin_one(self, now: float) -> bool:
        """Begin a resolution; False where none is due or as many are under way as may be."""
        if not self._may_begin or (target := self._due.next_due(now)) is None:
            return False
        self._pace.take()
        self._running[target] = asyncio.get_running_loop().create_task(self._resolve(target))
        return True

    async def _resolve(self, target: Target) -> None:
        """Resolve one target and put down the result; never raises."""
        began = self.clock()
        found, outcome, reason = None, "broken", "unexpected"
        try:
            rdtype = dns.rdatatype.RdataType(target.rdtype)
            chain = Chain.to(names.to_name(target.name), rdtype, self.scope)
            self.serve_packets()
            found = await walk(chain, self.resolvers, self.upstream, self.serve_packets)
        except FlatproxyError as error:
            outcome, reason = outcome_of(error), str(error)
        except Exception:  # noqa: BLE001 - a resolver's answer must not end the refreshing
            log.failure("resolving {target} went wrong", event="resolve_failed", target=str(target))
        now = self.clock()
        self.latency.add(now - began)
        del self._running[target]
        if not self.table.holds(target):
            return
        if found is None:
            target.fail(outcome, reason, now)
        else:
            self._take(target, found, now)
        self._due.set(target, _next(target, now))
        self.serve_packets()

    def _take(self, target: Target, found: Found, now: float) -> None:
        """Put down what was found, as far as the guards let it through."""
        rdatas, refused = sift(target.guarding, target.rdtype, found.rdatas)
        if refused:
            target.refuse(refused)
        if refused and not rdatas:
            target.fail("refused", f"every address is refused: {in_words(target.rdtype, refused)}", now)
            return
        believed = target.believe(rdatas, now)
        target.settle(_resolution(found, believed, now), found.outcome, self.wall())
        if target.history.absent_since == now:
            # Did the other families go as well? Until that is known, it is not clear what to answer.
            for answer in target.answers:
                for other in answer.families:
                    if other not in self._running:
                        self._due.set(other, now)

    async def stop(self) -> None:
        """End what is under way."""
        if self._going_on is not None:
            self._going_on.cancel()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _resolution(found: Found, rdatas: tuple[bytes, ...], now: float) -> Resolution:
    return Resolution(rdatas=rdatas, ttl_s=found.ttl_s, names=found.names, resolved_at=now, left_out=found.left_out)


def _next(target: Target, now: float) -> float:
    """Return when to resolve a target again."""
    chance = random.random()
    if target.failures or target.resolution is None:
        return retry_at(now, max(target.failures, 1), chance)
    ttl_s = target.resolution.ttl_s
    ends = [answer.held.until for answer in target.answers if answer.held is not None and now < answer.held.until]
    if ends:
        # Once more before the end, so that what is said then is fresh.
        return max(min(now + retry_s(ttl_s), min(ends) - MIN_INTERVAL_S), now + MIN_INTERVAL_S)
    lifetime = min((lifetime_s(ttl_s, answer.rule) for answer in target.answers), default=ttl_s)
    believed_at = target.belief.due(target.guarding.hold_change_s)
    return min(refresh_at(now, lifetime, chance), believed_at if believed_at is not None else float("inf"))
