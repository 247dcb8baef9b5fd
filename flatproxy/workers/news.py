"""What the workers are told of settings, targets and zones: all of it at their start, then what has changed.

It sends nothing but through `send`, and knows no worker.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from flatproxy.workers.messages import Changed, Facts

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from flatproxy.config.settings import Settings
    from flatproxy.flatten.answers import Target
    from flatproxy.flattening import Flattening
    from flatproxy.workers.messages import Message, TargetState, ZoneFact

ZONES_S = 0.5
"""At most so often zones are told: at a start hundreds a second are found."""


@define(eq=False)
class News:
    """Collects what settles in one turn of the loop, and what is learned of zones for a while."""

    flattening: Flattening
    loop: asyncio.AbstractEventLoop
    send: Callable[[Message], None]
    _targets: dict[Target, None] = field(factory=dict)
    _zones: dict[bytes, ZoneFact] = field(factory=dict)
    """As they were told last."""
    _zones_changed: bool = False
    _zones_due: float = float("-inf")

    def target_settled(self, target: Target) -> None:
        """Tell of it at the end of this turn, with those that settle in the same one."""
        if not self._targets:
            self.loop.call_soon(self._tell_targets)
        self._targets[target] = None

    def _tell_targets(self) -> None:
        targets, self._targets = self._targets, {}
        self.send(Changed(facts=Facts(targets=states(targets))))

    def zone_learned(self) -> None:
        """Tell of the zones when it is time again."""
        self._zones_changed = True

    def tick(self, now: float) -> None:
        """Tell of the zones where something has changed: those of which all or nothing is new."""
        if not self._zones_changed or now < self._zones_due:
            return
        self._zones_changed, self._zones_due = False, now + ZONES_S
        before, self._zones = self._zones, self._zone_facts()
        changed = {apex: fact for apex, fact in self._zones.items() if before.get(apex) != fact}
        changed.update((apex, (None, False)) for apex in before.keys() - self._zones.keys())
        if changed:
            self.send(Changed(facts=Facts(zones=changed)))

    def all(self) -> Facts:
        """Return everything that is known."""
        return Facts(targets=states(self.flattening.targets), zones=self._zone_facts())

    def _zone_facts(self) -> dict[bytes, ZoneFact]:
        zones = self.flattening.zones
        return {apex: (soa, apex in zones.signed_zones) for apex, soa in zones.soas.items()}


def for_each(settings: Settings, workers: int) -> Settings:
    """Return the settings as each worker follows them: its share of the rates.

    The kernel spreads a client over the workers by its ports, so that all of them together allow what is written.
    """
    limits = settings.limits
    shared = evolve(
        limits,
        responses_per_second=ceil(limits.responses_per_second / workers),
        queries_per_second=ceil(limits.queries_per_second / workers),
    )
    return evolve(settings, limits=shared)


def states(targets: Iterable[Target]) -> tuple[TargetState, ...]:
    """Return what answers need of these targets."""
    return tuple(
        (target.name, target.rdtype, target.resolution, target.failures, target.cold_until) for target in targets
    )
