"""What is counted of all answers, kept up to date by each change: nobody walks over them to count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.table.ladder import Rung

if TYPE_CHECKING:
    from flatproxy.table.answers import TargetAnswer

_BELOW = [rung for rung in sorted(Rung, reverse=True) if rung is not Rung.FRESH]


@define(eq=False, repr=False)
class Tally:
    """`names` counts flagged names, once for each type, by rung; a cold answer is on the rung that would answer now."""

    names: dict[Rung, int] = field(factory=lambda: dict.fromkeys(Rung, 0))
    below: dict[Rung, dict[TargetAnswer, None]] = field(factory=lambda: {rung: {} for rung in _BELOW})
    """The answers on each rung but `FRESH`, worst rung first, and on each the one longest there first."""
    cold: dict[TargetAnswer, None] = field(factory=dict)
    """The answers whose target was not resolved yet and is worth waiting for."""
    left_out: int = 0
    """Records of targets that are not answered, being too many."""
    waiting: int = 0
    """Queries that wait for a cold target."""

    def clear(self) -> None:
        """Forget all answers; what is counted of targets stays."""
        self.names = dict.fromkeys(Rung, 0)
        for answers in self.below.values():
            answers.clear()
        self.cold.clear()

    def move(self, answer: TargetAnswer, before: Rung | None, after: Rung) -> None:
        """Take note of the rung of an answer; `before` is None where it is new."""
        if before is not None:
            self.names[before] -= answer.names
        self.names[after] += answer.names
        if before in self.below:
            self.below[before].pop(answer, None)
        if after in self.below and answer.names:  # what only a view is answered has no name of its own
            self.below[after][answer] = None

    def set_cold(self, answer: TargetAnswer, *, cold: bool) -> None:
        """Take note of whether an answer is cold."""
        if cold and answer.names:
            self.cold[answer] = None
        else:
            self.cold.pop(answer, None)
