"""Whether each address is well, and when to probe it next. No socket and no task: `now` is passed, results are told.

An address is well until `fall` probes in a row failed, and then sick until `rise` in a row succeeded:

    well --- fall failures ---> sick
    sick --- rise successes --> well

One address under one check is one `Watched`, whoever uses it, and is probed once an interval.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from attrs import define, field

from flatproxy.flatten.health.room import Room
from flatproxy.table.agenda import Agenda

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator

    from flatproxy.config.rules import Check

UNDER_WAY: Final = 512
JITTER: Final = 0.1
LEAST_LATE_S: Final = 0.25
"""Less is not late, however short the interval."""
_NONE: Final[frozenset[bytes]] = frozenset()


@define(eq=False)
class Watched:
    """One address, of 4 or 16 octets, under one check. `flaps` counts how often it changed."""

    check: Check
    address: bytes
    is_well: bool = True
    flaps: int = 0
    due: float = 0.0
    """When it is to be probed next, or was to be, while it is being probed."""
    users: set[Hashable] = field(factory=set)
    _against: int = 0
    """Results in a row that speak against `is_well`."""

    def note(self, *, success: bool) -> bool:
        """Take a result in, and tell whether the address has changed by it."""
        if success is self.is_well:
            self._against = 0
            return False
        self._against += 1
        if self._against < (self.check.fall if self.is_well else self.check.rise):
            return False
        self.is_well, self._against = success, 0
        self.flaps += 1
        return True


@define(eq=False)
class ProbeSchedule:
    """Every watched address, by its users: anything that needs to know of it, such as an answer."""

    room: Room = field(factory=lambda: Room(UNDER_WAY))
    """How many may be probed at once."""
    is_full: bool = False
    """Whether there was no more room at the last look: then what is due begins when another one ends."""
    late: int = 0
    """Probes that began more than a tenth of their interval after they were due."""
    _watched: dict[tuple[Check, bytes], Watched] = field(factory=dict)
    _wanted: dict[Hashable, tuple[Check, frozenset[bytes]]] = field(factory=dict)
    _sick: dict[Check, set[bytes]] = field(factory=dict)
    _agenda: Agenda[Watched] = field(factory=Agenda)
    """When to probe next what is not being probed."""
    _probing: set[Watched] = field(factory=set)

    def watch(self, user: Hashable, check: Check, addresses: Collection[bytes], now: float) -> list[Watched]:
        """Have these addresses watched for a user, and no others; return those that nobody uses any more.

        A new address is first probed within an interval, at any time of it: many that come at once are spread out.
        """
        before = self._wanted.get(user)
        wanted = frozenset(addresses)
        if before == (check, wanted):
            return []
        self._wanted[user] = check, wanted
        for address in wanted:
            watched = self._watched.get((check, address))
            if watched is None:
                watched = self._watched[check, address] = Watched(check, address)
                self._schedule(watched, now + random.random() * check.interval_s)
            watched.users.add(user)
        if before is None:
            return []
        return self._leave(user, before[0], before[1] - wanted if before[0] == check else before[1])

    def forget(self, user: Hashable) -> list[Watched]:
        """Have nothing watched for a user; return what nobody uses any more."""
        before = self._wanted.pop(user, None)
        return self._leave(user, *before) if before else []

    def _leave(self, user: Hashable, check: Check, addresses: Collection[bytes]) -> list[Watched]:
        unused = []
        for address in addresses:
            watched = self._watched[check, address]
            watched.users.discard(user)
            if not watched.users:
                del self._watched[check, address]
                self._agenda.drop(watched)
                self._took_sides(watched, is_well=True)
                unused.append(watched)
        return unused

    def _schedule(self, watched: Watched, due: float) -> None:
        watched.due = due
        self._agenda.set(watched, due)

    def begin(self, now: float) -> Iterator[Watched]:
        """Yield what to probe now, as much as there is room for; each is to be ended by `end`."""
        while len(self._probing) < self.room.places and (watched := self._agenda.next_due(now)) is not None:
            self._probing.add(watched)
            self.late += now - watched.due > max(JITTER * watched.check.interval_s, LEAST_LATE_S)
            yield watched
        self.is_full = len(self._probing) >= self.room.places

    def end(self, watched: Watched, now: float, *, success: bool | None) -> bool:
        """Take in how a probe ended, None where it says nothing; tell whether the address has changed by it.

        The next one is counted from when this one was due, so that being late once is not being late always.
        """
        self._probing.remove(watched)
        if not watched.users:
            return False
        pause_s = watched.check.interval_s * random.uniform(1 - JITTER, 1 + JITTER)
        self._schedule(watched, max(watched.due + pause_s, now))
        if success is None or not watched.note(success=success):
            return False
        self._took_sides(watched, is_well=watched.is_well)
        return True

    def judge(self, watched: Watched, *, is_well: bool) -> bool:
        """Take over what others have found an address to be; tell whether it has changed by it."""
        if not watched.users or watched.is_well is is_well:
            return False
        watched.is_well = is_well
        watched.flaps += 1
        self._took_sides(watched, is_well=is_well)
        return True

    def cancel(self, watched: Watched) -> None:
        """Take note that a probe was ended before it said anything; harmless where it was not."""
        if watched in self._probing:
            self._probing.remove(watched)
            if watched.users:
                self._schedule(watched, watched.due + watched.check.interval_s)

    def _took_sides(self, watched: Watched, *, is_well: bool) -> None:
        sick = self._sick.setdefault(watched.check, set())
        if not is_well:
            sick.add(watched.address)
        else:
            sick.discard(watched.address)
            if not sick:
                del self._sick[watched.check]

    def sick(self, check: Check) -> Collection[bytes]:
        """Return the addresses that are sick under a check."""
        return self._sick.get(check, _NONE)

    @property
    def sick_ones(self) -> Iterator[Watched]:
        """Everything that is watched and sick."""
        return (self._watched[check, address] for check, sick in self._sick.items() for address in sick)

    @property
    def watched(self) -> Collection[Watched]:
        """Everything that is watched."""
        return self._watched.values()
