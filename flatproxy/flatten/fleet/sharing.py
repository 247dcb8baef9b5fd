"""Resolutions shared with the fleet: what a node asks of the store for its targets, and what it does with the replies.

The rules are `rules`'; here they meet targets. No socket and no task: operations go to `asking`, which calls back with
the results, or never, where the store is lost: then each target is due again by itself.
"""

from __future__ import annotations

import random
import secrets
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field

from flatproxy.flatten.fleet.digests import Digests, details
from flatproxy.flatten.fleet.entry import HEAD, EntryRefused, Seal, TargetEntry, field_of
from flatproxy.flatten.fleet.operations import Claim, Read, Release
from flatproxy.flatten.fleet.publishing import Publishing, fresh_until_of
from flatproxy.flatten.fleet.queue import nothing_depends
from flatproxy.flatten.fleet.rules import EntryJudgement, NextStep, Shared, claim_again_at, judge, lease_s, next_step
from flatproxy.flatten.timing import resolve_again_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flatproxy.flatten.fleet.operations import Operation
    from flatproxy.flatten.fleet.ranks import Ranks
    from flatproxy.flatten.fleet.reasons import FleetCounts
    from flatproxy.table.held import History
    from flatproxy.table.ladder import Resolution
    from flatproxy.table.target import Target


class Carrier(Protocol):
    """Who carries operations to the store."""

    joined: bool
    """Whether the store can be used now."""
    hold_until: float
    """Until when it is worth waiting for the first time that it can."""
    offset: float
    """The store's clock less the monotonic one."""

    def ask(self, operation: Operation, then: Callable[[Any], None]) -> None:
        """Carry it out soon; `then` gets the result, if there is one."""


class Refreshing(Protocol):
    """Who resolves targets."""

    def hurry(self, target: Target, due: float) -> None:
        """Have a target due at another time, unless it is being resolved."""

    def take(self, target: Target, entry: TargetEntry, offset: float) -> bool:
        """Settle a target with what another node has found; False where the guards let nothing through.

        The entry's clock is so far ahead of the monotonic one.
        """


@define(eq=False)
class Sharing:
    """The targets of this node in the fleet. `clock` returns monotonic seconds, `timeout_s` is that of resolvers."""

    seal: Seal
    node: str
    ranks: Ranks
    counts: FleetCounts
    asking: Carrier
    refreshing: Refreshing
    clock: Callable[[], float]
    timeout_s: float
    _places: dict[str, Target] = field(factory=dict)
    _shared: dict[Target, Shared] = field(factory=dict)
    _pending: dict[Target, None] = field(factory=dict)
    """Targets that are due and wait for others."""
    _granted: dict[Target, Shared] = field(factory=dict)
    _digests: Digests = field(factory=Digests)
    _publishing: Publishing = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._publishing = Publishing(self.seal, self.ranks, self.asking, self.clock, self._hear)

    def follow(self, new: Iterable[Target], gone: Iterable[Target]) -> None:
        """Share new targets from now on, and others no more."""
        for target in gone:
            if (shared := self._shared.pop(target, None)) is not None:
                self._places.pop(shared.place, None)
                self._digests.forget(shared.place)
            self._granted.pop(target, None)
            self._pending.pop(target, None)
            self._publishing.forget(target)
        for target in new:
            place = field_of(*target.key)
            self._places[place] = target
            self._shared[target] = Shared(place)

    @property
    def places(self) -> Mapping[str, Target]:
        """The targets by their fields."""
        return self._places

    def leases(self, now: float) -> int:
        """Return how many leases of targets this node holds."""
        for target, shared in list(self._granted.items()):
            if shared.granted_until <= now:
                del self._granted[target]
        return len(self._granted)

    def warm(self, found: Mapping[str, object], now: float) -> dict[Target, tuple[Resolution, History]]:
        """Take in what the store has at the start; return what is believed, by target."""
        known: dict[Target, tuple[Resolution, History]] = {}
        offset = self.asking.offset
        for place, raw in found.items():
            target = self._places.get(place)
            opened = self._open(target, raw) if target is not None and raw is not None else None
            if target is None or opened is None:
                continue
            version, entry = opened
            shared = self._shared[target]
            shared.version, shared.content, shared.is_warm = version, frozenset(entry.rdatas), True
            known[target] = entry.resolution(min(entry.resolved_at - offset, now)), entry.history(offset)
        return known

    def note(self, target: Target) -> None:
        """Take note of what a target was found to be, wherever."""
        if (shared := self._shared.get(target)) is not None:
            self._digests.note(shared.place, target)

    def digests(self) -> str:
        """Return digests of what this node answers."""
        return self._digests.texts()

    def details(self, parts: Iterable[int]) -> dict[str, Any]:
        """Return what this node answers for the targets of some parts."""
        return details(self._places, parts)

    def defer(self, target: Target, now: float) -> float | None:
        """Return None where a target that is due is to be resolved here and now, else when to ask again."""
        shared = self._shared.get(target)
        if shared is None:
            return None
        if not self.asking.joined:
            self._pending[target] = None
            if now < self.asking.hold_until:
                return self.asking.hold_until
            self._pending.pop(target)
            return None
        if shared.is_warm:
            shared.is_warm = False
            due = self._usual(target)
            if due > now:
                return due
        first = self.ranks.rank(shared.place) == 0
        step, again = next_step(
            shared, now=now, first=first, fresh_until=fresh_until_of(target), chance=random.random()
        )
        if step is NextStep.RESOLVE:
            self._pending.pop(target, None)
            return None
        self._pending[target] = None
        if step is NextStep.CLAIM:
            self._claim(target, shared, again)
        elif step is NextStep.READ:
            self._read(target)
        return again

    @staticmethod
    def _usual(target: Target) -> float:
        assert target.resolution is not None, "a warm target was resolved"
        return resolve_again_at(target, target.resolution.resolved_at, random.random(), asked=False)

    def _claim(self, target: Target, shared: Shared, alone_at: float) -> None:
        token = f"{self.node}/{secrets.token_hex(8)}".encode()
        lease = lease_s(self.timeout_s)
        until = self.clock() + lease

        def then(result: Any) -> None:  # noqa: ANN401 - whatever a store says
            now = self.clock()
            if target not in self._shared:
                return
            if result[0] == b"granted":
                if target not in self._pending:  # what it was for has come meanwhile
                    self.asking.ask(Release(shared.place, token), nothing_depends)
                    return
                shared.granted_until, shared.token = until, token
                self._granted[target] = shared
                self.refreshing.hurry(target, now)
            elif result[0] == b"held":
                again = claim_again_at(now, int(result[1]) / 1000, alone_at, random.random())
                shared.wait_until = again
                self.refreshing.hurry(target, again)
            else:
                self._hear(target, result[1])

        claim = Claim(shared.place, shared.version, token, int(lease * 1000), self._publishing.refused.get(target, b""))
        self.asking.ask(claim, then)

    def _read(self, target: Target) -> None:
        def then(result: Any) -> None:  # noqa: ANN401 - whatever a store says
            if result is not None:
                self._hear(target, result)

        self.asking.ask(Read((self._shared[target].place,)), then)

    def hear_of(self, place: str, version: int) -> None:
        """Read an entry that is said to have a version, where that is news."""
        target = self._places.get(place)
        if target is not None and version > self._shared[target].version:
            self._read(target)

    def _open(self, target: Target, raw: object) -> tuple[int, TargetEntry] | None:
        """Return version and content of an entry, None where it is not believed, which is counted."""
        place = self._shared[target].place
        try:
            version, content = self.seal.open(place, raw)
            return version, TargetEntry.of(content, target.rdtype, self.clock() + self.asking.offset)
        except EntryRefused as refused:
            self._refuse(target, raw, refused.reason)
        return None

    def _refuse(self, target: Target, raw: object, reason: str) -> None:
        self.counts.refuse(reason, self._shared[target].place)
        if isinstance(raw, bytes):
            self._publishing.refused[target] = raw[:HEAD]
        if target in self._pending:
            self._shared[target].wait_until = float("-inf")
            self.refreshing.hurry(target, self.clock())

    def _hear(self, target: Target, raw: object) -> None:
        """Do with an entry what is to be done."""
        shared = self._shared.get(target)
        opened = self._open(target, raw) if shared is not None else None
        if shared is None or opened is None:
            return
        version, entry = opened
        judgement = judge(shared, version, entry.resolved_at, frozenset(entry.rdatas), self._own(target))
        if judgement is EntryJudgement.TAKE:
            self._take(target, shared, entry, raw)
        elif judgement is EntryJudgement.OLD:
            self.counts.refuse("old", shared.place)
        elif judgement is EntryJudgement.PUBLISH:
            self._publishing.unpublished[target] = None
            self._publishing.later.set(target, self.clock() + self._publishing.turn(shared))

    def _own(self, target: Target) -> tuple[float, frozenset[bytes]] | None:
        known = target.resolution
        return (known.resolved_at + self.asking.offset, frozenset(known.rdatas)) if known is not None else None

    def _take(self, target: Target, shared: Shared, entry: TargetEntry, raw: object) -> None:
        now = self.clock()
        was_pending = self._pending.pop(target, 0) is None
        ahead = max(self.asking.offset, entry.resolved_at - now)  # nothing was resolved in the future
        if not self.refreshing.take(target, entry, ahead):
            if was_pending:
                self._pending[target] = None
            self._refuse(target, raw, "guard")
            return
        self._publishing.forget(target)
        self.counts.fleet += 1
        self.note(target)
        shared.settle()

    def resolved(self, target: Target, *, success: bool) -> None:
        """Take note that this node has resolved a target, or could not."""
        shared = self._shared.get(target)
        if shared is None:
            return
        self._pending.pop(target, None)
        token = shared.token
        shared.settle()
        self.counts.own += success
        self.note(target)
        if success:
            self._publishing.unpublished[target] = None
            if self.asking.joined:
                self._publishing.publish(target, shared, token)
        elif token and self.asking.joined:
            self.asking.ask(Release(shared.place, token), nothing_depends)

    def rejoin(self, now: float) -> None:
        """Publish what the store may not have."""
        self._publishing.rejoin(self._shared, now)

    def tick(self, now: float) -> None:
        """Publish what is due to be."""
        if self.asking.joined:
            self._publishing.tick(self._shared, now)

    def go_alone(self, now: float) -> None:
        """Resolve at once what waited for others: the store is lost."""
        for shared in self._shared.values():
            shared.settle()
        pending, self._pending = self._pending, {}
        for target in pending:
            self.refreshing.hurry(target, now)
