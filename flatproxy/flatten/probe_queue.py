"""Flagged names that the nameserver was never asked about, in the order in which to ask. It asks nobody itself."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

NAMES_AT_ONCE = 200
"""Names looked at without a rest: a fraction of a millisecond."""
SORTED = 100
"""Names put where they can wait at once."""
PARENTS = 1_000
"""Parents of new names that are asked about first, by one name each: that finds most zones at once."""


@define
class ProbeQueue:
    """Two queues: `urgent` are names around which no zone may be known, `patient` those in a known zone."""

    urgent: deque[bytes] = field(factory=deque)
    patient: deque[bytes] = field(factory=deque)
    _added: Iterator[bytes] = field(factory=lambda: iter(()))
    """New names that are in no queue yet."""
    _flagged: Iterator[bytes] = field(factory=lambda: iter(()))
    """All names, until each was looked at for the sake of `_unused`."""
    has_looked: bool = True
    """Whether there is nothing left for `look` to do."""
    _unused: set[bytes] = field(factory=set)
    """Zones known before a change of which no name was seen since."""
    _parents: set[bytes] = field(factory=set)
    """Parents of new names of which one has been put in front."""

    def cover(self, added: Iterable[bytes], flagged: Iterable[bytes], zones: set[bytes]) -> None:
        """Take in, over the next calls of `look`, the names that are new, and find which zones have none any more.

        Nothing of a change before is held after this: with a million names that would be much.
        """
        for name in self._added:
            self._take(name)
        self._parents.clear()
        self._added, self._flagged, self._unused = iter(added), iter(flagged), zones
        self.has_looked = False

    def look(self, apex_of: Callable[[bytes], bytes | None]) -> set[bytes]:
        """Take in new names, some at a time, one of each parent first; return zones that turn out to have no name."""
        new = list(islice(self._added, NAMES_AT_ONCE))
        for name in new:
            self._take(name)
        part = list(islice(self._flagged, NAMES_AT_ONCE)) if self._unused else []
        self._unused.difference_update(map(apex_of, part))
        if part:
            return set()
        self.has_looked = not new
        unused, self._unused = self._unused, set()
        return unused

    def _take(self, name: bytes) -> None:
        parent = names.parent(name)
        if len(self._parents) < PARENTS and parent not in self._parents:
            self._parents.add(parent)
            self.urgent.appendleft(name)
        else:
            self.urgent.append(name)

    def sort(self, is_in_known_zone: Callable[[bytes], bool]) -> None:
        """Put names that are in a known zone among the patient ones, until one is not, some at a time."""
        for _ in range(SORTED):
            if not self.urgent or not is_in_known_zone(self.urgent[0]):
                return
            self.patient.append(self.urgent.popleft())
