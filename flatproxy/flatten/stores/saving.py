"""Which resolutions a store is given: what is new at once, what is as it was seldom.

A restart needs the records, and their age: from it follows for how long they may be answered while nothing newer is
known (`stale_for`). So the age in the store may be wrong by a tenth of that, `UNCHANGED_S` at most, and always so that
the records pass for older than they are. Written with each resolution, a hundred thousand targets would cost more there
than in being resolved.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.flatten.stores.store import Row
from flatproxy.table.changes import Settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flatproxy.flatten.stores.store import Store
    from flatproxy.table.changes import Change
    from flatproxy.table.target import Target

UNCHANGED_S = 600.0


@define(eq=False)
class Saving:
    """A subscriber to the table's feed. `wall` returns Unix time."""

    store: Store
    wall: Callable[[], float]
    _again: dict[Target, float] = field(factory=dict)
    """From when on to save an unchanged target again, in Unix time."""

    def __call__(self, change: Change) -> None:
        """Have the store keep a resolution."""
        if not isinstance(change, Settled):
            return
        target, wall = change.target, self.wall()
        # A clock that was set back must not keep anything from being saved.
        if _is_as_before(change) and 0 < self._again.get(target, 0.0) - wall < UNCHANGED_S:
            return
        # At different times, even where all of them were new at the same one.
        self._again[target] = wall + _may_age_s(target) * random.uniform(0.5, 1.0)
        self.store.save(Row.of(target, wall))

    def forget(self, targets: Iterable[Target]) -> None:
        """Let go of targets that are needed no more."""
        for target in targets:
            self._again.pop(target, None)


def _is_as_before(change: Settled) -> bool:
    now, before = change.target.resolution, change.before
    return now is not None and before is not None and (now.rdatas, now.names) == (before.rdatas, before.names)


def _may_age_s(target: Target) -> float:
    """Return by how many seconds the age in the store may be wrong."""
    stale_for_s = min((answer.rule.stale_for_s for answer in target.answers), default=0)
    return min(stale_for_s / 10, UNCHANGED_S)
