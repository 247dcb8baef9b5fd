"""When what is due: a heap of times, one for each item, in which what is due costs nothing to find.

It knows no clock. A time that is moved to later leaves its entry in the heap, which is put right when its turn comes.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
NEVER = float("inf")
SMALL = 64
"""Entries that need no clearing."""


@define(eq=False, repr=False)
class Agenda(Generic[T]):
    """Items, compared by identity or hash, each with the time (monotonic seconds) at which it is due."""

    _heap: list[tuple[float, int, T]] = field(factory=list)
    _due: dict[T, float] = field(factory=dict)
    _entered: dict[T, float] = field(factory=dict)
    """The time of the one entry of each item in the heap that counts, which is never after it is due."""
    _numbers: Iterator[int] = field(factory=count)

    def __len__(self) -> int:
        return len(self._due)

    def set(self, item: T, due: float) -> None:
        """Have an item due at this time and no other; `NEVER` takes it out."""
        if due == NEVER:
            self.drop(item)
            return
        self._due[item] = due
        if due < self._entered.get(item, NEVER):
            self._enter(item, due)

    def _enter(self, item: T, due: float) -> None:
        self._entered[item] = due
        heappush(self._heap, (due, next(self._numbers), item))

    def due_at(self, item: T) -> float:
        """Return when an item that is there is due."""
        return self._due[item]

    def drop(self, item: T) -> None:
        """Take an item out."""
        self._due.pop(item, None)
        self._entered.pop(item, None)
        if len(self._heap) > SMALL and len(self._heap) > 2 * len(self._entered):
            # Entries of dropped items would keep these in memory until their time comes.
            self._heap = [entry for entry in self._heap if self._entered.get(entry[2]) == entry[0]]
            heapify(self._heap)

    def next_due(self, now: float) -> T | None:
        """Take out and return an item that is due, None where none is."""
        while self._heap and self._heap[0][0] <= now:
            entered, _number, item = heappop(self._heap)
            if self._entered.get(item) != entered:
                continue
            due = self._due[item]
            if due <= now:
                self.drop(item)
                return item
            self._enter(item, due)
        return None

    @property
    def soonest(self) -> float:
        """The time of the next entry, `NEVER` where there is none; its item may turn out to be due later."""
        return self._heap[0][0] if self._heap else NEVER
