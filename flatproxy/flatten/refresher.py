"""Keeps every target resolved: when to ask, at most one resolution of a target at a time, what to do with the result.

`tick` is called many times a second with the time; nothing here sleeps. A target is asked again before its TTL ends,
whether or not anybody asks for it, and after a failure with growing pauses (RFC 9520 section 3.2).
"""

from __future__ import annotations

import asyncio
import random
from heapq import heappop, heappush
from itertools import count
from time import time
from typing import TYPE_CHECKING, Protocol

import dns.rdatatype
from attrs import define, field
from twisted.logger import Logger

from flatproxy.counts import BucketTable
from flatproxy.errors import ChainBroken, ChainLoop, ChainTooLong, FlatproxyError, UpstreamTimeout
from flatproxy.flatten.chain import Chain, Found, Scope
from flatproxy.table.answers import Target
from flatproxy.table.ladder import Resolution, Rung, lifetime_s
from flatproxy.wire import names, records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import dns.message
    import dns.name

log = Logger()

CONCURRENT = 64
"""Resolutions under way at once."""
MIN_INTERVAL_S = 1.0
MARGIN_S = 4.0
"""Before the TTL ends: room for two attempts with the default timeout of 1.8 s."""
FAILURE_S = 5.0
MAX_FAILURE_S = 300.0

_OUTCOMES: dict[type[FlatproxyError], str] = {ChainLoop: "loop", ChainTooLong: "too_long", UpstreamTimeout: "timeout"}

Key = tuple[bytes, int]


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
    """The targets and their schedule. `clock` returns monotonic seconds; `saved` is told of every new resolution."""

    resolvers: Asker
    upstream: Asker
    scope: Scope
    cold_s: float
    clock: Callable[[], float]
    saved: Callable[[Target], None]
    latency: BucketTable = field(factory=BucketTable)
    targets: dict[Key, Target] = field(factory=dict)
    _due: list[tuple[float, int, Target]] = field(factory=list)
    """When to resolve each target next; one entry a target, none while it is being resolved."""
    _numbers: Iterator[int] = field(factory=count)
    _running: dict[Target, asyncio.Task[None]] = field(factory=dict)
    _waiting: dict[Key, float] = field(factory=dict)
    """Cold targets and when their waiters are let go."""
    _troubled: dict[Key, None] = field(factory=dict)
    """Targets not all of whose answers are fresh."""
    _told_private: set[bytes] = field(factory=set)

    def target_for(self, name: bytes, rdtype: int) -> Target:
        """Return the target, a new one being resolved as soon as there is room."""
        key = (name, rdtype)
        target = self.targets.get(key)
        if target is None:
            now = self.clock()
            target = self.targets[key] = Target(name, rdtype, cold_until=now + self.cold_s)
            self._troubled[key] = None
            self._waiting[key] = target.cold_until
            self._schedule(target, now)
        return target

    def _schedule(self, target: Target, due: float) -> None:
        heappush(self._due, (due, next(self._numbers), target))

    def _is_wanted(self, target: Target) -> bool:
        """Tell whether it is still in the table: a reload may have dropped it, and another may stand in its place."""
        return self.targets.get((target.name, target.rdtype)) is target

    def keep(self, known: dict[Key, Resolution]) -> None:
        """Take resolutions from before a restart for targets that have none yet."""
        for key, resolution in known.items():
            target = self.targets.get(key)
            if target is not None and target.resolution is None:
                target.resolution = resolution

    def retire_unused(self) -> None:
        """Forget the targets that no answer refers to any more."""
        for key, target in list(self.targets.items()):
            if not target.answers:
                del self.targets[key]
                self._waiting.pop(key, None)
                self._troubled.pop(key, None)
                target.release()

    def tick(self, now: float) -> None:
        """Begin what is due, let go who waited long enough, and report changes of rung."""
        while self._due and self._due[0][0] <= now and len(self._running) < CONCURRENT:
            target = heappop(self._due)[2]
            if self._is_wanted(target):
                self._running[target] = asyncio.get_running_loop().create_task(self._resolve(target))
        for key in [key for key, until in self._waiting.items() if until <= now]:
            del self._waiting[key]
            self.targets[key].release()
        # One whose refresh takes long may grow stale meanwhile, without any failure.
        slow = {(target.name, target.rdtype) for target in self._running if self._is_wanted(target)}
        for key in slow.union(self._troubled):
            self._report_rungs(key, now)

    async def _resolve(self, target: Target) -> None:
        """Resolve one target and put down the result; never raises."""
        began = self.clock()
        outcome = "broken"
        try:
            rdtype = dns.rdatatype.RdataType(target.rdtype)
            found = await walk(Chain.to(names.to_name(target.name), rdtype, self.scope), self.resolvers, self.upstream)
        except FlatproxyError as error:
            outcome = outcome_of(error)
            self._failed(target, str(error))
        except Exception:  # noqa: BLE001 - a resolver's answer must not end the refreshing
            log.failure("resolving {target} went wrong", event="resolve_failed", target=names.to_text(target.name))
            self._failed(target, "unexpected")
        else:
            outcome = found.outcome
            self._found(target, found)
        target.outcomes[outcome] = target.outcomes.get(outcome, 0) + 1
        now = self.clock()
        self.latency.add(now - began)
        del self._running[target]
        if self._is_wanted(target):
            key = (target.name, target.rdtype)
            self._schedule(target, self._next(target, now))
            self._waiting.pop(key, None)
            self._report_rungs(key, now)
        target.release()

    def _next(self, target: Target, now: float) -> float:
        chance = random.random()
        if target.failures or target.resolution is None:
            return retry_at(now, max(target.failures, 1), chance)
        ttl_s = target.resolution.ttl_s
        lifetime = min((lifetime_s(ttl_s, answer.rule) for answer in target.answers), default=ttl_s)
        return refresh_at(now, lifetime, chance)

    def _failed(self, target: Target, reason: str) -> None:
        target.failures += 1
        if target.failures == 1:
            log.warn(
                "{target} {type} cannot be resolved: {reason}",
                event="target_failed",
                target=names.to_text(target.name),
                type=target.type_text,
                reason=reason,
            )

    def _found(self, target: Target, found: Found) -> None:
        old = target.resolution
        target.failures = 0
        target.resolution = Resolution(
            rdatas=found.rdatas, ttl_s=found.ttl_s, names=found.names, resolved_at=self.clock()
        )
        if (old.rdatas if old else ()) != found.rdatas:
            target.changed_at = time()
            self._report_addresses(target, old, found.rdatas)
        self.saved(target)

    def _report_addresses(self, target: Target, old: Resolution | None, rdatas: tuple[bytes, ...]) -> None:
        for answer in target.answers:
            log.info(
                "{name} {type}: {old} → {new}{others}",
                event="address_change",
                name=names.to_text(answer.first_name),
                type=target.type_text,
                old=records.texts(old.rdatas if old else ()),
                new=records.texts(rdatas),
                others=_others(answer.names),
                target=names.to_text(target.name),
            )
        for rdata in rdatas:
            if records.is_private(rdata) and rdata not in self._told_private and len(self._told_private) < 1_000:
                self._told_private.add(rdata)
                log.warn(
                    "{target} has the private address {address}: clients elsewhere cannot reach it",
                    event="private_address",
                    target=names.to_text(target.name),
                    address=records.texts([rdata])[0],
                )

    def _report_rungs(self, key: Key, now: float) -> None:
        """Log each answer of a target whose rung has changed; a target all of whose answers are fresh is left alone."""
        target = self.targets[key]
        fresh = not target.failures and target.resolution is not None
        if not target.is_cold(now):
            for answer in target.answers:
                rung = answer.step(now).rung
                if answer.rung is None and rung is Rung.FRESH:
                    answer.rung = rung  # the addresses have their own line
                elif answer.rung is not rung:
                    log.info(
                        "{name} {type}: {old} → {new}{others}",
                        event="rung_change",
                        name=names.to_text(answer.first_name),
                        type=target.type_text,
                        old=answer.rung.name.lower() if answer.rung is not None else "none",
                        new=rung.name.lower(),
                        others=_others(answer.names),
                    )
                    answer.rung = rung
        else:
            fresh = False
        if fresh:
            self._troubled.pop(key, None)
        else:
            self._troubled[key] = None

    async def stop(self) -> None:
        """End what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _others(count: int) -> str:
    return f" (and {count - 1} more names)" if count > 1 else ""
