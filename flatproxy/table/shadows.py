"""What rehearsals have shown: names in shadow mode, whose answers are compared with the nameserver's, and not given.

It counts and judges; who compares is `forward/`. Times are Unix time: they survive a restart.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Literal

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.config.rules import Rule

SAFE_S: Final = 86_400.0
SAFE_COMPARISONS: Final = 100
DIFFERENCES: Final = 10

Compared = Literal["same", "differs", "would_fail"]
OUTCOMES: Final[tuple[Compared, ...]] = ("same", "differs", "would_fail")


@frozen
class Difference:
    """One comparison that came out so; the sets are rdatas, in order."""

    at: float
    name: bytes
    rdtype: int
    nameserver: tuple[bytes, ...]
    ours: tuple[bytes, ...]


@define
class Rehearsal:
    """One name's: `comparisons` since `since`, all of which had an address to answer with."""

    since: float
    comparisons: int = 0
    counts: dict[int, dict[Compared, int]] = field(factory=dict)
    """By type, since the start of the process."""

    def is_safe(self, wall: float) -> bool:
        """Tell whether the name may be switched on."""
        return self.comparisons >= SAFE_COMPARISONS and wall - self.since >= SAFE_S


@define(eq=False)
class Shadows:
    """Those of all names in shadow mode that were asked for. `any` tells whether there is such a name at all."""

    any: bool = False
    rehearsals: dict[bytes, Rehearsal] = field(factory=dict)
    differences: deque[Difference] = field(factory=lambda: deque(maxlen=DIFFERENCES))
    """The last ones, the newest at the end."""
    changed: dict[bytes, None] = field(factory=dict)
    """Names of which there is something to keep, or to forget."""

    def begin(self, *, any_: bool) -> None:
        """Take note of whether there are such names now."""
        self.any = any_

    def keep_only(self, rules: Iterable[tuple[bytes, Rule]]) -> None:
        """Forget names that are rehearsed no more: who comes back begins anew."""
        if not self.rehearsals:
            return
        kept = {name for name, rule in rules if rule.is_rehearsed}
        for name in [name for name in self.rehearsals if name not in kept]:
            del self.rehearsals[name]
            self.changed[name] = None

    def restore(self, name: bytes, since: float, comparisons: int) -> None:
        """Take what was known before a restart."""
        self.rehearsals[name] = Rehearsal(since, comparisons)

    def note(self, seen: Difference, outcome: Compared) -> None:
        """Take one comparison."""
        mine = self.rehearsals.get(seen.name)
        if mine is None:
            mine = self.rehearsals[seen.name] = Rehearsal(seen.at)
        if outcome == "would_fail":
            mine.since, mine.comparisons = seen.at, 0
        else:
            mine.comparisons += 1
        counts = mine.counts.setdefault(seen.rdtype, dict.fromkeys(OUTCOMES, 0))
        counts[outcome] += 1
        if outcome != "same":
            self.differences.append(seen)
        self.changed[seen.name] = None


def how_far(rehearsal: Rehearsal | None, wall: float) -> str:
    """Say how far a name is."""
    if rehearsal is None:
        return "not compared yet"
    if rehearsal.is_safe(wall):
        return "safe to switch on"
    hours = (wall - rehearsal.since) / 3600
    return (
        f"not yet safe to switch on: {rehearsal.comparisons} comparisons in {hours:.1f} h without one that would fail, "
        f"of {SAFE_COMPARISONS} in {SAFE_S / 3600:g} h"
    )
