"""The addresses of the table's targets under watch: begun and ended with the targets, judged for the answers.

It follows the feed for the addresses that there are, and has a selection look again where one fell sick or got well.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from attrs import define, field

from flatproxy.counts import BucketTable
from flatproxy.flatten.health.checks import HealthChecks
from flatproxy.table.changes import HealthChanged, OffersChanged
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flatproxy.flatten.health.checks import ProbeSeats
    from flatproxy.flatten.health.probes import Prober
    from flatproxy.flatten.health.states import Watched
    from flatproxy.table.changes import Change
    from flatproxy.table.selection import Selection
    from flatproxy.table.table import Table


class AddressHealth(NamedTuple):
    """One address of a target of a flagged name. `flaps` counts how often it fell sick or got well."""

    name: bytes
    target: bytes
    address: bytes
    is_well: bool
    flaps: int


@define(eq=False)
class Watching:
    """A subscriber to the table's feed. `clock` returns monotonic seconds."""

    table: Table
    clock: Callable[[], float]
    latency: BucketTable = field(factory=BucketTable)
    seats: ProbeSeats | None = None
    """With whom probes are shared."""
    _checks: HealthChecks | None = None
    """None until a configuration has checks."""
    _users: set[Selection] = field(factory=set)

    def probe_by(self, prober: Prober | None) -> None:
        """Have addresses probed so from now on; None where nothing is to be probed."""
        if prober is None:
            return  # what is under watch still ends with its answers
        if self._checks is None:
            self._checks = HealthChecks(prober.probe, self.clock, self._judge, latency=self.latency)
            self.table.sick = self._checks.sick
        self._checks.probe = prober.probe
        self._checks.seats = self.seats

    def follow(self) -> None:
        """Watch for the table's selections, after it has adopted rules, and for none of those before."""
        if self._checks is None:
            return
        users = {selection for selection in self.table.selections if selection.check is not None}
        for selection in users:
            self._watch(selection)
        for selection in self._users - users:
            self._checks.forget(selection)
        self._users = users

    def __call__(self, change: Change) -> None:
        """Follow the addresses of a selection's targets."""
        if isinstance(change, OffersChanged):
            self._watch(change.selection)

    def _watch(self, selection: Selection) -> None:
        check = selection.check
        if check is not None and self._checks is not None:
            self._checks.watch(selection, check, selection.offered)

    def _judge(self, watched: Watched, reason: str) -> None:
        """Publish that an address fell sick or got well, and have those who use it choose anew."""
        selections = _selections(watched)
        self.table.feed.publish(HealthChanged(watched.check, watched.address, watched.is_well, reason, selections))
        now = self.clock()
        for selection in selections:
            selection.reconsider(now)

    def tick(self, now: float) -> None:
        """Begin the probes that are due."""
        if self._checks is not None:
            self._checks.tick(now)

    def addresses(self) -> Iterator[AddressHealth]:
        """Yield each watched address, for each target and name that has it, the sick ones first."""
        if self._checks is None:
            return
        every = self._checks.watched
        for watched in chain(self._checks.sick_ones, (each for each in every if each.is_well)):
            for selection in _selections(watched):
                for target in selection.targets_with(watched.address):
                    for name in selection.names:
                        yield AddressHealth(name, target.name, watched.address, watched.is_well, watched.flaps)

    @property
    def late(self) -> int:
        """Probes that began late."""
        return self._checks.late if self._checks is not None else 0

    def failing_open(self) -> Iterator[tuple[bytes, bool]]:
        """Yield each name whose addresses are checked, and whether so few are well that all are answered."""
        checked = [selection for selection in self.table.selections if selection.check is not None]
        well = (selection for selection in checked if not selection.fails_open)
        for selection in chain((each for each in checked if each.fails_open), well):
            yield from ((name, selection.fails_open) for name in selection.names)

    async def stop(self) -> None:
        """End what is under way."""
        if self._checks is not None:
            await self._checks.stop()


def _selections(watched: Watched) -> tuple[Selection, ...]:
    """Return the users of a watched address, in an order that stays."""
    return tuple(sorted(watched.users, key=lambda selection: names.to_text(selection.names[0])))  # type: ignore[arg-type]
