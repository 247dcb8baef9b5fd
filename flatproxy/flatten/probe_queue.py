"""Flagged names that the nameserver was never asked about, in the order in which to ask. It asks nobody itself."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NAMES_AT_ONCE = 200
"""Names compared at once with those before: a fraction of a millisecond."""
SORTED = 100
"""Names put where they can wait at once."""
PARENTS = 1_000
"""Parents of new names that are asked about first, by one name each: that finds most zones at once."""


@define
class ProbeQueue:
    """Two queues: `urgent` are names around which no zone may be known, `patient` those in a known zone."""

    urgent: deque[bytes] = field(factory=deque)
    patient: deque[bytes] = field(factory=deque)
    _before: Mapping[bytes, object] = field(factory=dict)
    """The names before a change, until all were compared with them."""
    _compared: Iterator[bytes] | None = None
    _unused: set[bytes] = field(factory=set)
    """Zones known before a change of which no name was seen since."""
    _parents: set[bytes] = field(factory=set)
    """Parents of new names of which one has been put in front."""

    def cover(self, before: Mapping[bytes, object], flagged: Mapping[bytes, object], zones: set[bytes]) -> None:
        """Find, over the next calls of `compare`, the names that were not there before, and which zones have none."""
        while self._compared is not None:
            self.compare(lambda _name: None)
        self._before, self._compared, self._unused = before, iter(flagged), zones
        self._parents.clear()

    def compare(self, apex_of: Callable[[bytes], bytes | None]) -> set[bytes]:
        """Find new names, some at a time, one of each parent first; return zones that turn out to have no name."""
        if self._compared is None:
            return set()
        part = list(islice(self._compared, NAMES_AT_ONCE))
        for name in part:
            if self._unused and (apex := apex_of(name)) is not None:
                self._unused.discard(apex)
            if name in self._before:
                continue
            parent = names.parent(name)
            if len(self._parents) < PARENTS and parent not in self._parents:
                self._parents.add(parent)
                self.urgent.appendleft(name)
            else:
                self.urgent.append(name)
        if part:
            return set()
        unused, self._unused = self._unused, set()
        self._compared, self._before = None, {}
        return unused

    def sort(self, is_in_known_zone: Callable[[bytes], bool]) -> None:
        """Put names that are in a known zone among the patient ones, until one is not, some at a time."""
        for _ in range(SORTED):
            if not self.urgent or not is_in_known_zone(self.urgent[0]):
                return
            self.patient.append(self.urgent.popleft())
