"""How many probes may be under way: as many as leave the loop's turns short. Pure; how late they were is told.

Probes share their thread with resolutions and with the packets that Python takes. Each step of a probe is short, but a
turn of the loop does one step of every probe that has something to do. So where turns grow long fewer are begun, and
wait: a probe that is late says nothing wrong of an address, as one would whose timeout we had used up ourselves.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

LATE_S: Final = 0.01
"""Probes that begin so late after their pause, on average over a tick, are too many at once."""
FEWEST: Final = 32
"""With the pause before each, these leave about half of the thread's time to resolutions, however short it is."""
MORE: Final = 8
"""So many more after each tick in which none was late."""


@define
class Room:
    """Halves with each tick in which probes were late, and comes back in steps, to `most` at most."""

    most: int
    places: int = field(init=False)
    """How many may be under way now."""
    _late_s: float = 0.0
    _told: int = 0

    def __attrs_post_init__(self) -> None:
        self.places = self.most

    def note(self, late_s: float) -> None:
        """Take note of how late one probe was begun after its pause."""
        self._late_s += late_s
        self._told += 1

    def tick(self) -> None:
        """Make it smaller or larger, by what was told since the last tick."""
        if self._told and self._late_s / self._told > LATE_S:
            self.places = min(max(self.places // 2, FEWEST), self.most)
        else:
            self.places = min(self.places + MORE, self.most)
        self._late_s, self._told = 0.0, 0
