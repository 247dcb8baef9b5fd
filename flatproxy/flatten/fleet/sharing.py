"""Resolutions shared with the fleet: what a node asks of the store for its targets, and what it does with the replies.

The rules are `rules`'; here they meet targets. No socket and no task: operations go to `asking`, which calls back with
the results, or never, where the store is lost: then each target is due again by itself.
"""

from __future__ import annotations

import random
import secrets
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import define, field

from flatproxy.flatten.fleet.entry import HEAD, EntryRefused, Seal, TargetEntry, field_of
from flatproxy.flatten.fleet.operations import Claim, Publish, Read, Release
from flatproxy.flatten.fleet.rules import Judgement, Shared, Step, claim_again_at, judge, lease_s, next_step
from flatproxy.flatten.timing import resolve_again_at
from flatproxy.table.agenda import Agenda
from flatproxy.table.ladder import fresh_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flatproxy.flatten.fleet.operations import Operation
    from flatproxy.flatten.fleet.ranks import Ranks
    from flatproxy.flatten.fleet.reasons import FleetCounts
    from flatproxy.table.ladder import Resolution
    from flatproxy.table.target import Target

FIRST_S: Final = 0.2
"""After a reconnect the first node of a target publishes within so long,"""
OTHERS_S: Final = 0.8
"""and others, where they know something else and newer, within so long after that."""
KEPT_S: Final = 3_600
"""An entry is kept for so long after it could last be answered stale."""
PIECE: Final = 20
"""Publications begun in one tick."""


class Asking(Protocol):
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

    def take(self, target: Target, entry: TargetEntry, resolved_at: float) -> bool:
        """Settle a target with what another node has found; False where the guards let nothing through."""


@define(eq=False)
class Sharing:
    """The targets of this node in the fleet. `clock` returns monotonic seconds, `timeout_s` is that of resolvers."""

    seal: Seal
    node: str
    ranks: Ranks
    counts: FleetCounts
    asking: Asking
    refreshing: Refreshing
    clock: Callable[[], float]
    timeout_s: float
    _places: dict[str, Target] = field(factory=dict)
    _shared: dict[Target, Shared] = field(factory=dict)
    _refused: dict[Target, bytes] = field(factory=dict)
    """The heads of entries that are not believed: they may be overwritten."""
    _pending: dict[Target, None] = field(factory=dict)
    """Targets that are due and wait for others."""
    _unpublished: dict[Target, None] = field(factory=dict)
    _granted: dict[Target, Shared] = field(factory=dict)
    _later: Agenda[Target] = field(factory=Agenda)
    """When to publish what others may not know."""

    def follow(self, new: Iterable[Target], gone: Iterable[Target]) -> None:
        """Share new targets from now on, and others no more."""
        for target in gone:
            if (shared := self._shared.pop(target, None)) is not None:
                self._places.pop(shared.place, None)
            for mapping in (self._granted, self._refused, self._pending, self._unpublished):
                mapping.pop(target, None)
            self._later.drop(target)
        for target in new:
            place = field_of(target.name, target.rdtype)
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

    def warm(self, found: Mapping[str, object], now: float) -> dict[Target, Resolution]:
        """Take in what the store has at the start; return what is believed, by target."""
        known: dict[Target, Resolution] = {}
        for place, raw in found.items():
            target = self._places.get(place)
            opened = self._open(target, raw) if target is not None and raw is not None else None
            if target is None or opened is None:
                continue
            version, entry = opened
            shared = self._shared[target]
            shared.version, shared.content, shared.is_warm = version, frozenset(entry.rdatas), True
            known[target] = entry.resolution(min(entry.resolved_at - self.asking.offset, now))
        return known

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
            shared, now=now, first=first, fresh_until=self._fresh_until(target), chance=random.random()
        )
        if step is Step.RESOLVE:
            self._pending.pop(target, None)
            return None
        self._pending[target] = None
        if step is Step.CLAIM:
            self._claim(target, shared, again)
        elif step is Step.READ:
            self._read(target)
        return again

    @staticmethod
    def _usual(target: Target) -> float:
        assert target.resolution is not None, "a warm target was resolved"
        return resolve_again_at(target, target.resolution.resolved_at, random.random(), asked=False)

    @staticmethod
    def _fresh_until(target: Target) -> float | None:
        known = target.resolution
        return min((fresh_until(known, each.rule) for each in target.answers), default=None) if known else None

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
                    self.asking.ask(Release(shared.place, token), _nothing)
                    return
                shared.granted_until, shared.token = until, token
                self._granted[target] = shared
                self.refreshing.hurry(target, now)
            elif result[0] == b"held":
                again = claim_again_at(now, max(int(result[1]), 0) / 1000, alone_at, random.random())
                self.refreshing.hurry(target, again)
            else:
                self._hear(target, result[1])

        claim = Claim(shared.place, shared.version, token, int(lease * 1000), self._refused.get(target, b""))
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
            self._refused[target] = raw[:HEAD]
        if target in self._pending:
            self.refreshing.hurry(target, self.clock())

    def _hear(self, target: Target, raw: object) -> None:
        """Do with an entry what is to be done."""
        shared = self._shared.get(target)
        opened = self._open(target, raw) if shared is not None else None
        if shared is None or opened is None:
            return
        version, entry = opened
        judgement = judge(shared, version, entry.resolved_at, frozenset(entry.rdatas), self._own(target))
        if judgement is Judgement.TAKE:
            self._take(target, shared, entry, raw)
        elif judgement is Judgement.OLD:
            self.counts.refuse("old", shared.place)
        elif judgement is Judgement.PUBLISH:
            self._unpublished[target] = None
            self._later.set(target, self.clock() + self._turn(target))

    def _own(self, target: Target) -> tuple[float, frozenset[bytes]] | None:
        known = target.resolution
        return (known.resolved_at + self.asking.offset, frozenset(known.rdatas)) if known is not None else None

    def _take(self, target: Target, shared: Shared, entry: TargetEntry, raw: object) -> None:
        now = self.clock()
        was_pending = self._pending.pop(target, 0) is None
        if not self.refreshing.take(target, entry, min(entry.resolved_at - self.asking.offset, now)):
            if was_pending:
                self._pending[target] = None
            self._refuse(target, raw, "guard")
            return
        self._refused.pop(target, None)
        self._unpublished.pop(target, None)
        self.counts.fleet += 1
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
        if success:
            self._unpublished[target] = None
            if self.asking.joined:
                self._publish(target, shared, token)
        elif token and self.asking.joined:
            self.asking.ask(Release(shared.place, token), _nothing)

    def _publish(self, target: Target, shared: Shared, token: bytes = b"", *, again: bool = False) -> None:
        """Publish what a target is; `again`: the version that was published is put where it is missing."""
        known = target.resolution
        if known is None:
            return
        now, offset = self.clock(), self.asking.offset
        version = shared.version if again else shared.next_version(now + offset)
        content = frozenset(known.rdatas)
        outcome = "addresses" if known.rdatas else "nodata"
        entry = TargetEntry(
            rdatas=known.rdatas,
            ttl_s=known.ttl_s,
            names=known.names,
            outcome=outcome,
            resolved_at=known.resolved_at + offset,
            left_out=known.left_out,
        )
        place = shared.place
        raw = self.seal.seal(place, version, entry.content())
        changed = 2 if again else int(content != shared.content)

        def then(result: Any) -> None:  # noqa: ANN401 - whatever a store says
            if result[0] == b"published":
                shared.version, shared.content = max(shared.version, version), content
                self._unpublished.pop(target, None)
                self._refused.pop(target, None)
            else:
                self._hear(target, result[1])

        keep_ms = int((self._useful_s(target) + KEPT_S) * 1000)
        self.asking.ask(Publish(place, raw, keep_ms, token, changed, self._refused.get(target, b"")), then)

    @staticmethod
    def _useful_s(target: Target) -> float:
        ttl_s = target.resolution.ttl_s if target.resolution is not None else 0
        return ttl_s + max((each.rule.stale_for_s for each in target.answers), default=0)

    def _turn(self, target: Target) -> float:
        """Return after how long it is this node's turn to publish what others may not know."""
        if self.ranks.rank(self._shared[target].place) == 0:
            return random.random() * FIRST_S
        return FIRST_S + random.random() * OTHERS_S

    def rejoin(self, now: float) -> None:
        """Publish what the store may not have: what was resolved alone, and what this node is the first for."""
        for target, shared in self._shared.items():
            is_first = self.ranks.rank(shared.place) == 0
            if target in self._unpublished or (is_first and shared.version):
                self._later.set(target, now + self._turn(target))

    def tick(self, now: float) -> None:
        """Publish what is due to be."""
        if not self.asking.joined:
            return
        for _ in range(PIECE):
            target = self._later.next_due(now)
            if target is None:
                return
            self._publish_late(target, now)

    def _publish_late(self, target: Target, now: float) -> None:
        shared, known = self._shared[target], target.resolution
        is_first = self.ranks.rank(shared.place) == 0
        fresh = self._fresh_until(target)
        if known is None or fresh is None or fresh <= now:
            self._unpublished.pop(target, None)
        elif target not in self._unpublished:
            self._publish(target, shared, again=True)
        elif is_first or frozenset(known.rdatas) != shared.content:
            self._publish(target, shared)
        else:
            self._unpublished.pop(target, None)

    def go_alone(self, now: float) -> None:
        """Resolve at once what waited for others: the store is lost."""
        for shared in self._shared.values():
            shared.settle()
        pending, self._pending = self._pending, {}
        for target in pending:
            self.refreshing.hurry(target, now)


def _nothing(_result: object) -> None:
    """Nothing depends on it."""
