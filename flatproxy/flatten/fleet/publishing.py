"""What a node publishes: its resolutions, and after a reconnect what the store may lack. No socket, no task."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from flatproxy.flatten.fleet.entry import Seal, TargetEntry
from flatproxy.flatten.fleet.operations import Publish
from flatproxy.table.agenda import Agenda
from flatproxy.table.ladder import fresh_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flatproxy.flatten.fleet.ranks import Ranks
    from flatproxy.flatten.fleet.rules import Shared
    from flatproxy.flatten.fleet.sharing import Carrier
    from flatproxy.table.target import Target

FIRST_S: Final = 0.2
"""After a reconnect the first node of a target publishes within so long,"""
OTHERS_S: Final = 0.8
"""and others, where they know something else and newer, within so long after that."""
KEPT_S: Final = 3_600
"""An entry is kept for so long after it could last be answered stale."""
PUBLISHED_AT_ONCE: Final = 20
"""Publications begun in one tick."""


def fresh_until_of(target: Target) -> float | None:
    """Return until when a target's answers are fresh, None where nothing is known."""
    known = target.resolution
    return min((fresh_until(known, each.rule) for each in target.answers), default=None) if known else None


@define(eq=False)
class Publishing:
    """What is published, and what is still to be. `hear` is told what the store has instead."""

    seal: Seal
    ranks: Ranks
    asking: Carrier
    clock: Callable[[], float]
    hear: Callable[[Target, object], None]
    unpublished: dict[Target, None] = field(factory=dict)
    """Targets that were resolved here, which the store does not know yet."""
    refused: dict[Target, bytes] = field(factory=dict)
    """The heads of entries that are not believed: they may be overwritten."""
    later: Agenda[Target] = field(factory=Agenda)
    """When to publish what others may not know."""

    def forget(self, target: Target) -> None:
        """Have nothing to publish of a target: it is gone, or the store has it."""
        self.refused.pop(target, None)
        self.unpublished.pop(target, None)
        self.later.drop(target)

    def publish(self, target: Target, shared: Shared, token: bytes = b"", *, again: bool = False) -> None:
        """Publish what a target is; `again`: the version that was published is put where it is missing."""
        known = target.resolution
        if known is None:
            return
        now, offset = self.clock(), self.asking.offset
        version = shared.version if again else shared.next_version(now + offset)
        content = frozenset(known.rdatas)
        entry = TargetEntry.about(target, offset)
        place = shared.place
        raw = self.seal.seal(place, version, entry.content())
        changed = 2 if again else int(content != shared.content)

        def then(result: Any) -> None:  # noqa: ANN401 - whatever a store says
            if result[0] == b"published":
                shared.version, shared.content = max(shared.version, version), content
                self.forget(target)
            else:
                self.hear(target, result[1])

        keep_ms = int((self._useful_s(target) + KEPT_S) * 1000)
        self.asking.ask(Publish(place, raw, keep_ms, token, changed, self.refused.get(target, b"")), then)

    @staticmethod
    def _useful_s(target: Target) -> float:
        ttl_s = target.resolution.ttl_s if target.resolution is not None else 0
        return ttl_s + max((each.rule.stale_for_s for each in target.answers), default=0)

    def turn(self, shared: Shared) -> float:
        """Return after how long it is this node's turn to publish what others may not know."""
        if self.ranks.rank(shared.place) == 0:
            return random.random() * FIRST_S
        return FIRST_S + random.random() * OTHERS_S

    def rejoin(self, shared_targets: Mapping[Target, Shared], now: float) -> None:
        """Publish what the store may not have: what was resolved alone, and what this node is the first for."""
        for target, shared in shared_targets.items():
            is_first = self.ranks.rank(shared.place) == 0
            if target in self.unpublished or (is_first and shared.version):
                self.later.set(target, now + self.turn(shared))

    def tick(self, shared_targets: Mapping[Target, Shared], now: float) -> None:
        """Publish what is due to be."""
        for _ in range(PUBLISHED_AT_ONCE):
            target = self.later.next_due(now)
            if target is None:
                return
            self._publish_late(target, shared_targets[target], now)

    def _publish_late(self, target: Target, shared: Shared, now: float) -> None:
        known = target.resolution
        is_first = self.ranks.rank(shared.place) == 0
        fresh = fresh_until_of(target)
        if known is None or fresh is None or fresh <= now:
            self.unpublished.pop(target, None)
        elif target not in self.unpublished:
            self.publish(target, shared, again=True)
        elif is_first or frozenset(known.rdatas) != shared.content:
            self.publish(target, shared)
        else:
            self.unpublished.pop(target, None)
