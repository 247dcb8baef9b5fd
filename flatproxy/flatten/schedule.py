"""Which target is resolved next. Where more is due than can be begun, those that clients ask for come first.

New ones have a share all the same: what is stale for a moment is a better answer than none of ours.

It knows no clock, and what it costs does not grow with the number of targets.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.table.agenda import Agenda

if TYPE_CHECKING:
    from flatproxy.table.target import Target


NEW_SHARE = 4
"""Of so many that are taken out while new ones are due, one is new."""


@define(eq=False)
class Schedule:
    """When each target is due; one that is being resolved is not in it."""

    wanted: deque[Target] = field(factory=deque)
    """Those that a query waits for; they are due at once."""
    _asked: Agenda[Target] = field(factory=Agenda)
    """Those that clients were answered with since their last resolution."""
    _known: Agenda[Target] = field(factory=Agenda)
    _new: Agenda[Target] = field(factory=Agenda)
    """Those that nothing is known of: their replies must be parsed."""
    _places: dict[Target, Agenda[Target]] = field(factory=dict)
    _taken: int = 0
    """How many were taken out."""

    def __len__(self) -> int:
        return len(self._places)

    def set(self, target: Target, due: float, *, asked: bool = False) -> None:
        """Have a target due at this time; `asked` says whether clients ask for it."""
        self.drop(target)
        agenda = self._asked if asked else self._new if target.resolution is None else self._known
        self._places[target] = agenda
        agenda.set(target, due)

    def due_at(self, target: Target) -> float | None:
        """Return when a target is due, None where it is not in the schedule."""
        agenda = self._places.get(target)
        return None if agenda is None else agenda.due_at(target)

    def hasten(self, target: Target, due: float) -> None:
        """Have a target that is in it due at this time."""
        agenda = self._places.get(target)
        if agenda is not None:
            agenda.set(target, due)

    def drop(self, target: Target) -> None:
        """Take a target out."""
        agenda = self._places.pop(target, None)
        if agenda is not None:
            agenda.drop(target)

    def next_due(self, now: float, *, new: bool = True) -> Target | None:
        """Take out and return the target to resolve next, None where none is due; `new` ones only where that is set."""
        while self.wanted:
            wanted = self.wanted.popleft()
            if wanted in self._places:
                self.drop(wanted)
                return wanted
        self._taken += 1
        agendas = [self._asked, self._known]
        if new:
            agendas.insert(2 if self._taken % NEW_SHARE else 0, self._new)
        for agenda in agendas:
            target = agenda.next_due(now)
            if target is not None:
                del self._places[target]
                return target
        return None

    def soonest(self, *, new: bool = True) -> float:
        """Return when the next one is due at the soonest, `NEVER` where there is none."""
        if self.wanted:
            return float("-inf")
        agendas = (self._asked, self._known, self._new) if new else (self._asked, self._known)
        return min(agenda.soonest for agenda in agendas)
