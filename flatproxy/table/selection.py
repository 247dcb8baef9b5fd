"""The targets of a rule that has several, or health checks, and what is answered of them at a moment.

One `Selection` stands behind all answers of such a rule. What is fresh, held or stale is the ladder's to say, which of
it is answered the choice's, and what is sick the probes'; this only brings them together, and tells what has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, evolve, field, frozen

from flatproxy.table.changes import ChoiceChanged, OffersChanged
from flatproxy.table.choice import Addresses, Have, pick
from flatproxy.table.held import held_of
from flatproxy.table.ladder import Rung, Step, lifetime_s, rung_at, step
from flatproxy.wire import types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from flatproxy.config.rules import Check, Rule
    from flatproxy.table.answers import TargetAnswer
    from flatproxy.table.choice import Pick
    from flatproxy.table.ladder import Held
    from flatproxy.table.table import Table
    from flatproxy.table.target import Target

    Place = Mapping[int, Target]

_HAVE: Final = {Rung.FRESH: Have.FRESH, Rung.HELD: Have.HELD, Rung.STALE: Have.STALE}
_NEVER: Final = float("inf")


@frozen(kw_only=True, eq=False)
class Chosen:
    """What is answered at a moment, by type. `targets` has, for each type, the one whose records these are, or most."""

    choice: Pick | None
    """None where no target has an address."""
    steps: Mapping[int, Step]
    targets: Mapping[int, Target]
    runs_out: Mapping[int, float]
    """When the TTL of what is fresh comes to its end, by type (monotonic seconds)."""
    cold: Mapping[int, Target]
    """What is worth waiting for, by the type that cannot be answered before; not always of that type itself."""
    offered: frozenset[bytes]
    """The addresses that all targets have, answered or not."""
    until: float
    """Until when it holds if nothing is resolved and nobody falls sick meanwhile (monotonic seconds)."""
    look_at: float
    """When a rung may change."""


@define(eq=False, repr=False)
class Selection:
    """`places` has the targets in the rule's order, each by type. Its methods publish what they change."""

    rule: Rule
    places: tuple[Place, ...]
    table: Table
    answers: list[TargetAnswer] = field(factory=list)
    """What the rule answers, one for each type."""
    said: Pick | None = None
    """The choice that was published last."""
    offered: frozenset[bytes] = frozenset()
    """The addresses that were published last."""
    _chosen: Chosen | None = None
    _version: int = -1
    _looked_at: float = float("-inf")

    @property
    def names(self) -> tuple[bytes, ...]:
        """The flagged names that it is for, as far as `Group` keeps them."""
        answer = self.answers[0]
        return (answer.first_name, *answer.others)

    @property
    def fails_open(self) -> bool:
        """Whether so few addresses are well that all are answered."""
        choice = self._chosen.choice if self._chosen is not None else None
        return choice is not None and choice.failing_open

    @property
    def longest_s(self) -> int:
        """The longest TTL where an address is left out."""
        return max(int(self.rule.health.check.interval_s), 1) if self.rule.health is not None else self.rule.max_ttl_s

    @property
    def check(self) -> Check | None:
        """How its addresses are checked."""
        return self.rule.health.check if self.rule.health is not None else None

    def targets_with(self, address: bytes) -> Iterator[Target]:
        """Yield the targets that have an address, each once."""
        for place in self.places:
            for target in place.values():
                known = target.resolution
                if (known is not None and address in known.rdatas) or address in target.history.addresses:
                    yield target
                    break

    @property
    def _targets_version(self) -> int:
        return sum(target.version for place in self.places for target in place.values())

    def current(self, now: float) -> Chosen:
        """Return what is answered at `now`."""
        version = self._targets_version
        if self._chosen is None or version != self._version or now >= self._chosen.until:
            self._chosen, self._version = self._choose(now), version
        return self._chosen

    def reconsider(self, now: float) -> None:
        """Look again although nothing has changed but somebody's health."""
        self._chosen = None
        self.look(now)

    def look(self, now: float) -> float:
        """Put right what time or a resolution has changed, and publish it; return when to look again."""
        if self._chosen is not None and now == self._looked_at and self._targets_version == self._version:
            return self._chosen.look_at  # another of its targets has asked for the same
        self._chosen, self._looked_at = None, now
        chosen = self.current(now)
        for answer in self.answers:
            answer.expire()
        if chosen.offered != self.offered:
            self.offered = chosen.offered
            self.table.feed.publish(OffersChanged(self))
        if not chosen.cold and chosen.choice is not None and chosen.choice != self.said:
            before, self.said = self.said, chosen.choice
            self.table.feed.publish(ChoiceChanged(self, before, chosen.choice))
        for answer in self.answers:
            answer.look_itself(now, cold=answer.target.rdtype in chosen.cold)
        return chosen.look_at

    def wait(self, rdtype: int, now: float, ready: Callable[[], None]) -> bool:
        """Have `ready` called when it is known what to answer, or took too long; False where waiting is no use."""
        awaited = self.current(now).cold.get(rdtype)
        if awaited is None:
            return False

        def go_on() -> None:
            is_late = awaited.resolution is None and not awaited.failures
            if is_late or not self.wait(rdtype, max(now, self._looked_at), ready):
                ready()

        return awaited.wait(now, go_on)

    def _choose(self, now: float) -> Chosen:
        steps = [self._steps(place, now) for place in self.places]
        offers = [dict(_offer(place, of_place)) for place, of_place in zip(self.places, steps, strict=True)]
        health = self.rule.health
        sick = self.table.sick(health.check) if health is not None else ()
        choice = pick(offers, self.rule.use, sick, health.minimum if health is not None else 0.0)
        made: dict[int, Step] = {}
        targets: dict[int, Target] = {}
        runs_out: dict[int, float] = {}
        cold: dict[int, Target] = {}
        for rdtype in self.places[0]:
            awaited = self._awaited(rdtype, choice, now)
            if awaited is not None:
                cold[rdtype] = awaited
                made[rdtype], targets[rdtype] = step(None, self.rule, rdtype, now), self.places[0][rdtype]
            else:
                behind, made[rdtype] = self._of_type(rdtype, [each[rdtype] for each in steps], choice)
                targets[rdtype] = self.places[behind[0]][rdtype]
                runs_out[rdtype] = min(self._runs_out(self.places[place][rdtype]) for place in behind)
        all_targets = [target for place in self.places for target in place.values()]
        waits = [target.cold_until for target in all_targets if target.is_cold(now)]
        return Chosen(
            choice=choice,
            steps=made,
            targets=targets,
            runs_out=runs_out,
            cold=cold,
            offered=frozenset(rdata for offer in offers for had in offer.values() for rdata in had.rdatas),
            until=min((each.until for of_place in steps for each in of_place.values()), default=_NEVER),
            look_at=min([*waits, *self._rung_ends(now)], default=_NEVER),
        )

    def _steps(self, place: Place, now: float) -> dict[int, Step]:
        """Return what one target would be answered with, by type."""
        return {
            rdtype: step(target.resolution, self.rule, rdtype, now, self._held(target))
            for rdtype, target in place.items()
        }

    def _rung_ends(self, now: float) -> Iterator[float]:
        for place in self.places:
            for rdtype, target in place.items():
                yield rung_at(target.resolution, self.rule, rdtype, now, self._held(target))[1]

    def families_of(self, target: Target) -> list[Target]:
        """Return the targets with addresses of the other types beside one of these."""
        place = next((place for place in self.places if place[target.rdtype] is target), {})
        return [each for each in place.values() if each is not target and types.has_addresses(each.rdtype)]

    def _held(self, target: Target) -> Held | None:
        if target.history.absent_since is None:
            return None
        others = (each.history for each in self.families_of(target))
        return held_of(target.history, others, self.rule.hold_absent_s)

    def _awaited(self, rdtype: int, choice: Pick | None, now: float) -> Target | None:
        """Return a target without which it is not clear what to answer, where it is worth waiting for."""
        if self.rule.use == "all":
            needed = [place[rdtype] for place in self.places]
        else:
            # One that comes before all others is not passed over before it has had its time.
            first = choice.targets[0] if choice is not None else len(self.places) - 1
            before = self.places[: first + (choice is None)]
            needed = [each for place in before for number, each in place.items() if types.has_addresses(number)]
            needed.append(self.places[first][rdtype])
        return next((target for target in needed if target.is_cold(now)), None)

    def _runs_out(self, target: Target) -> float:
        known = target.resolution
        return known.resolved_at + lifetime_s(known.ttl_s, self.rule) if known is not None else _NEVER

    def _of_type(self, rdtype: int, steps: Sequence[Step], choice: Pick | None) -> tuple[Sequence[int], Step]:
        """Return the answer for a type, and the places of the targets that it comes from, the worst first."""
        if choice is None:
            # Only where all of them say that there is nothing is nothing told.
            behind = sorted(range(len(steps)), key=lambda place: -steps[place].rung)
            return behind, steps[behind[0]]
        having = [place for place in choice.targets if steps[place].rdatas and steps[place].rung in _HAVE]
        behind = sorted(having, key=lambda place: -steps[place].rung)
        if types.is_service(rdtype):
            behind = list(choice.targets)
            # Of several targets none may be told of as if it were alone.
            made = steps[behind[0]] if len(behind) == 1 else evolve(steps[behind[0]], rdatas=())
        elif behind:
            ttl_s = min(steps[place].ttl_s for place in behind)
            made = evolve(steps[behind[0]], rdatas=choice.rdatas.get(rdtype, ()), ttl_s=ttl_s)
        else:
            behind = sorted(choice.targets, key=lambda place: steps[place].rung)
            made = steps[behind[0]]
        return behind, evolve(made, ttl_s=min(made.ttl_s, self.longest_s)) if choice.left_out else made


def _offer(place: Place, steps: Mapping[int, Step]) -> Iterator[tuple[int, Addresses]]:
    """Yield what a target has, by type."""
    for rdtype, made in steps.items():
        if not types.has_addresses(rdtype) or not made.rdatas or made.rung not in _HAVE:
            continue
        have = _HAVE[made.rung]
        if have is Have.STALE and not place[rdtype].failures:
            # Restored after a restart, and being asked: until that has failed, nothing says that it is gone.
            have = Have.FRESH
        yield rdtype, Addresses(have, made.rdatas)
