"""What one name resolves to for one type, whoever asks for it. It changes in few, named ways.

A target is cold until its first resolution ended or took too long: only then queries wait. Times are monotonic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.config.guarding import NO_GUARDING, Guarding
from flatproxy.table.agenda import NEVER
from flatproxy.table.changes import Failed, Refused, Settled
from flatproxy.table.held import NO_BELIEF, NO_HISTORY, Belief, History
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from flatproxy.table.answers import TargetAnswer
    from flatproxy.table.ladder import Resolution
    from flatproxy.table.table import Table

TargetKey = tuple[bytes, int, Guarding]
"""A name, a type, and what is let through."""
WAITERS = 1_000
"""Queries that may wait for one cold target; the others go down the ladder at once."""


@define(eq=False, repr=False)
class Target:
    """Read its attributes from anywhere; change them by its methods only. `changed_at` is Unix time."""

    name: bytes
    rdtype: int
    table: Table
    cold_until: float
    guarding: Guarding = NO_GUARDING
    resolution: Resolution | None = None
    failures: int = 0
    """Failures in a row."""
    version: int = 0
    """Grows with each change of what is known of it."""
    history: History = NO_HISTORY
    """What was found of its addresses over time."""
    belief: Belief = NO_BELIEF
    """Which set of addresses is believed, where a wholly different one must last for a while."""
    changed_at: float | None = None
    outcomes: dict[str, int] = field(factory=dict)
    """How often resolutions ended so."""
    answers: Sequence[TargetAnswer] = ()
    _turns: int = 0
    """Its answers' turns when that was looked at last."""
    _waiters: list[Callable[[], None]] = field(factory=list)

    def __str__(self) -> str:
        return names.to_text(self.name)

    @property
    def key(self) -> TargetKey:
        """Its place in the table."""
        return self.name, self.rdtype, self.guarding

    @property
    def type_text(self) -> str:
        """The type as it is written."""
        return types.text_of(self.rdtype)

    def is_cold(self, now: float) -> bool:
        """Tell whether its first resolution is still worth waiting for."""
        return self.resolution is None and not self.failures and now < self.cold_until

    def settle(self, resolution: Resolution, outcome: str, wall: float) -> None:
        """Take what it was found to be; `wall` is Unix time."""
        before, self.resolution, self.failures = self.resolution, resolution, 0
        self.version += 1
        self.table.tally.left_out += resolution.left_out - (before.left_out if before is not None else 0)
        if types.has_addresses(self.rdtype):
            self.history = self.history.after(resolution.rdatas, resolution.resolved_at)
        self._count(outcome)
        change = Settled(self, before)
        if change.is_new:
            self.changed_at = wall
        self.table.feed.publish(change)
        self.look(resolution.resolved_at)
        for answer in self.answers:
            for other in answer.families_of(self):
                if other.history.absent_since is not None:
                    other.reconsider(resolution.resolved_at)

    def follow(self, history: History, belief: Belief) -> None:
        """Take over its past as another node knows it, whose resolution it is settled with next."""
        if types.has_addresses(self.rdtype):
            self.history = history
        if self.guarding.hold_change_s:
            self.belief = belief

    @property
    def living_families(self) -> Iterator[Target]:
        """The targets of the other types of addresses of its names that were last found to have some."""
        return (other for answer in self.answers for other in answer.families_of(self) if other.history.is_present)

    def reconsider(self, now: float) -> None:
        """See whether its addresses are still held, another type of the same names having been resolved."""
        for answer in self.answers:
            answer.expire()
        self.look(now)

    def believe(self, found: tuple[bytes, ...], now: float) -> tuple[bytes, ...]:
        """Return which addresses are to be taken for what it is after a resolution that found these."""
        span_s = self.guarding.hold_change_s
        if not span_s or not types.has_addresses(self.rdtype):
            return found
        if not found and not any(answer.held_of(self) for answer in self.answers) and not self.history.is_present:
            self.belief = NO_BELIEF
        self.belief = self.belief.after(found, now, span_s)
        return self.belief.current if found else ()

    def refuse(self, reasons: Mapping[bytes, str]) -> None:
        """Publish that addresses are left out, and why."""
        self.table.feed.publish(Refused(self, reasons))

    def fail(self, outcome: str, reason: str, now: float) -> None:
        """Take note that it could not be resolved; what it was found to be before stays."""
        self.failures += 1
        self.version += 1
        self._count(outcome)
        self.table.feed.publish(Failed(self, reason))
        self.look(now)

    def restore(self, resolution: Resolution, now: float, history: History = NO_HISTORY) -> None:
        """Take what was known before a restart, where nothing newer is known."""
        if self.resolution is None:
            self.resolution, self.history = resolution, history
            self.version += 1
            if self.guarding.hold_change_s:
                self.belief = Belief(current=history.addresses)
            for answer in self.answers:
                answer.count(now, cold=False)
            # There may be very many of them at once: what is to be published of them has time.
            self.table.looks.set(self, now)

    def serve(self, answers: Sequence[TargetAnswer], now: float) -> None:
        """Stand behind these answers from now on, and behind no others; none: it is not needed any more."""
        self.answers = answers
        self.was_asked()
        if answers:
            self.look(now)
        else:
            self.table.looks.drop(self)
            self.table.tally.left_out -= self.resolution.left_out if self.resolution is not None else 0
            self._release()

    def was_asked(self) -> bool:
        """Tell whether clients were answered with it since this was called last. It costs nothing when they are."""
        before, self._turns = self._turns, sum(answer.turns for answer in self.answers)
        return self._turns != before

    def wait(self, now: float, ready: Callable[[], None]) -> bool:
        """Have `ready` called when it is not cold any more; False where it is not, or too many wait."""
        if not self.is_cold(now) or len(self._waiters) >= WAITERS:
            return False
        if not self._waiters:
            self.table.waits.set(self, self.cold_until)
            self.table.wanted.append(self)
        self._waiters.append(ready)
        self.table.tally.waiting += 1
        return True

    def look(self, now: float) -> None:
        """Put right what the passing of time changes: coldness, and the rungs of its answers."""
        cold = self.is_cold(now)
        again = self.cold_until if cold else NEVER
        for answer in self.answers:
            again = min(again, answer.look(now, cold=cold))
        if self.answers:
            self.table.looks.set(self, again)
        if not cold:
            self._release()

    def _count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def _release(self) -> None:
        """Call back whoever waits."""
        if not self._waiters:
            return
        waiters, self._waiters = self._waiters, []
        self.table.waits.drop(self)
        self.table.tally.waiting -= len(waiters)
        for ready in waiters:
            ready()
