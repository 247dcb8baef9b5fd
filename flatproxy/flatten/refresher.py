"""Keeps every target resolved: when to ask, at most one resolution of a target at a time, what to do with the result.

`tick` is called many times a second with the time; nothing here sleeps. A target is asked again before its TTL ends,
whether or not anybody asks for it, and after a failure with growing pauses (RFC 9520 section 3.2).
"""

from __future__ import annotations

import asyncio
import random
from time import time
from typing import TYPE_CHECKING, Protocol

import dns.rdatatype
from attrs import define, field
from twisted.logger import Logger

from flatproxy.counts import BucketTable
from flatproxy.errors import ChainBroken, ChainLoop, ChainTooLong, FlatproxyError, UpstreamTimeout
from flatproxy.flatten.chain import Chain, Found, Scope
from flatproxy.table.agenda import Agenda
from flatproxy.table.ladder import Resolution, lifetime_s
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import dns.message
    import dns.name

    from flatproxy.table.table import Table
    from flatproxy.table.target import Target

log = Logger()

CONCURRENT = 64
"""Resolutions under way at once."""
MIN_INTERVAL_S = 1.0
MARGIN_S = 4.0
"""Before the TTL ends: room for two attempts with the default timeout of 1.8 s."""
FAILURE_S = 5.0
MAX_FAILURE_S = 300.0

_OUTCOMES: dict[type[FlatproxyError], str] = {ChainLoop: "loop", ChainTooLong: "too_long", UpstreamTimeout: "timeout"}


class Asker(Protocol):
    """Who answers a question of the walk."""

    async def ask(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
        """Return the response; raises `UpstreamTimeout` or `ChainError`."""


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


async def walk(chain: Chain, resolvers: Asker, upstream: Asker) -> Found:
    """Drive a chain to its end; raises `ChainError` or `UpstreamTimeout`."""
    while (ask := chain.ask) is not None:
        chain.told(await (upstream if ask.upstream else resolvers).ask(ask.name, chain.rdtype))
    if chain.found is None:
        raise ChainBroken("the walk ended nowhere")
    return chain.found


@define(eq=False)
class Refresher:
    """The schedule of the table's targets. `clock` returns monotonic seconds, `wall` Unix time."""

    table: Table
    resolvers: Asker
    upstream: Asker
    scope: Scope
    clock: Callable[[], float]
    wall: Callable[[], float] = time
    latency: BucketTable = field(factory=BucketTable)
    _due: Agenda[Target] = field(factory=Agenda)
    """When to resolve each target next; it is not there while it is being resolved."""
    _running: dict[Target, asyncio.Task[None]] = field(factory=dict)

    def begin(self, targets: Iterable[Target], now: float) -> None:
        """Resolve new targets as soon as there is room."""
        for target in targets:
            self._due.set(target, now)

    def tick(self, now: float) -> None:
        """Begin what is due, and have the table take note of the time."""
        while len(self._running) < CONCURRENT and (target := self._due.next_due(now)) is not None:
            if self.table.holds(target):
                self._running[target] = asyncio.get_running_loop().create_task(self._resolve(target))
        while self.table.advance(now):
            pass

    async def _resolve(self, target: Target) -> None:
        """Resolve one target and put down the result; never raises."""
        began = self.clock()
        found, outcome, reason = None, "broken", "unexpected"
        try:
            rdtype = dns.rdatatype.RdataType(target.rdtype)
            found = await walk(Chain.to(names.to_name(target.name), rdtype, self.scope), self.resolvers, self.upstream)
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
            target.settle(_resolution(found, now), found.outcome, self.wall())
        self._due.set(target, _next(target, now))

    async def stop(self) -> None:
        """End what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _resolution(found: Found, now: float) -> Resolution:
    return Resolution(rdatas=found.rdatas, ttl_s=found.ttl_s, names=found.names, resolved_at=now)


def _next(target: Target, now: float) -> float:
    """Return when to resolve a target again."""
    chance = random.random()
    if target.failures or target.resolution is None:
        return retry_at(now, max(target.failures, 1), chance)
    ttl_s = target.resolution.ttl_s
    lifetime = min((lifetime_s(ttl_s, answer.rule) for answer in target.answers), default=ttl_s)
    return refresh_at(now, lifetime, chance)
