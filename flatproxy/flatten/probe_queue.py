"""Flagged names that the nameserver was never asked about, in the order in which to ask. It asks nobody itself."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

COMPARED = 2_000
"""Names compared at once with those before: less than a millisecond."""
SORTED = 500
"""Names put where they can wait at once."""
PARENTS = 1_000
"""Parents of new names that are asked about first, by one name each: that finds most zones at once."""


@define
class NewNames:
    """Two queues: `urgent` are names around which no zone may be known, `patient` those in a known zone."""

    urgent: deque[bytes] = field(factory=deque)
    patient: deque[bytes] = field(factory=deque)
    _before: Mapping[bytes, object] = field(factory=dict)
    """The names before a change, until all were compared with them."""
    _compared: Iterator[bytes] | None = None
    _parents: set[bytes] = field(factory=set)
    """Parents of new names of which one has been put in front."""

    def cover(self, before: Mapping[bytes, object], flagged: Mapping[bytes, object]) -> None:
        """Find, over the next calls of `compare`, the names that were not there before."""
        while self._compared is not None:
            self.compare()
        self._before, self._compared = before, iter(flagged)
        self._parents.clear()

    def compare(self) -> None:
        """Find new names, some at a time; one of each parent comes first."""
        if self._compared is None:
            return
        part = list(islice(self._compared, COMPARED))
        for name in part:
            if name in self._before:
                continue
            parent = name[name[0] + 1 :]
            if len(self._parents) < PARENTS and parent not in self._parents:
                self._parents.add(parent)
                self.urgent.appendleft(name)
            else:
                self.urgent.append(name)
        if not part:
            self._compared, self._before = None, {}

    def sort(self, is_in_known_zone: Callable[[bytes], bool]) -> None:
        """Put names that are in a known zone among the patient ones, until one is not, some at a time."""
        for _ in range(SORTED):
            if not self.urgent or not is_in_known_zone(self.urgent[0]):
                return
            self.patient.append(self.urgent.popleft())
