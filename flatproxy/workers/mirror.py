"""The answer table as a worker has it: built from the same settings, filled with what the control process says.

It resolves nothing. Between two changes it needs nobody: what becomes of an answer with time follows from the clock.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from flatproxy.flatten import answers
from flatproxy.flatten.answers import Target
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flatproxy.config.settings import Settings
    from flatproxy.flatten.answers import Table
    from flatproxy.workers.messages import Facts, ZoneFact

Key = tuple[bytes, int]
Targets = dict[Key, Target]

_NEVER = float("inf")


class SignedNames(Collection[bytes]):
    """Every name in a signed zone. It holds the zones that are known; iterated over, the apexes of the signed ones."""

    def __init__(self) -> None:
        self.soas: dict[bytes, bytes] = {}
        """The SOA record of each known zone, by apex."""
        self._apexes: set[bytes] = set()

    def take(self, zones: Mapping[bytes, ZoneFact]) -> bool:
        """Take what has changed; tell whether another zone is signed now."""
        before = set(self._apexes)
        for apex, (soa, signed) in zones.items():
            if soa is None:
                self.soas.pop(apex, None)
            else:
                self.soas[apex] = soa
            (self._apexes.add if signed else self._apexes.discard)(apex)
        return self._apexes != before

    def apex(self, name: bytes) -> bytes | None:
        """Return the deepest known zone that encloses a name, None where none does."""
        return next((suffix for suffix in names.suffixes(name) if suffix in self.soas), None)

    def __contains__(self, name: object) -> bool:
        return bool(self._apexes) and isinstance(name, bytes) and self.apex(name) in self._apexes

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._apexes)

    def __len__(self) -> int:
        return len(self._apexes)


class Mirror:
    """Targets, zones and the table made of them. New settings come into force in two steps, as those of the packets."""

    def __init__(self) -> None:
        self.table: Table = {}
        self.signed = SignedNames()
        """The names whose zone is signed; always the same object."""
        self._targets: Targets = {}
        self._cold: Targets = {}
        self._next: tuple[Table, Targets] | None = None

    def prepare(self, settings: Settings, facts: Facts) -> None:
        """Build the next table, and take what is known."""
        targets: Targets = {}

        def target_for(name: bytes, rdtype: int) -> Target:
            key = name, rdtype
            target = targets.get(key)
            if target is None:
                # One that is new stays cold until its state comes, with the switch at the latest.
                target = self._targets.get(key) or Target(name, rdtype, cold_until=_NEVER)
                target.answers.clear()  # nobody here looks for them, and they would pile up
                targets[key] = target
            return target

        table = answers.build(settings.flatten, target_for, self)
        self._next = table, targets
        self.take(facts)

    def discard(self) -> None:
        """Forget what was prepared."""
        self._next = None

    def switch(self, facts: Facts) -> None:
        """Go over to the table that was prepared, with these facts."""
        assert self._next is not None, "nothing was prepared"
        self.table, targets = self._next
        old, self._targets, self._next = self._targets, targets, None
        self.take(facts)
        self._cold = {key: target for key, target in targets.items() if target.resolution is None}
        for key, target in old.items():
            if key not in targets:
                target.release()

    def take(self, facts: Facts) -> bool:
        """Take what has changed; tell whether `signed` has. Who waits for a target that is cold no more is let go."""
        for name, rdtype, resolution, failures, cold_until in facts.targets:
            for target in self._known(name, rdtype):
                target.resolution, target.failures, target.cold_until = resolution, failures, cold_until
                if resolution is not None or failures:
                    self._cold.pop((name, rdtype), None)
                    target.release()
        return self.signed.take(facts.zones)

    def _known(self, name: bytes, rdtype: int) -> list[Target]:
        """Return the target as it is in force and as it is prepared, which is the same object where both know it."""
        found = []
        for targets in (self._targets, self._next[1] if self._next is not None else {}):
            target = targets.get((name, rdtype))
            if target is not None and target not in found:
                found.append(target)
        return found

    def tick(self, now: float) -> None:
        """Let go who has waited long enough."""
        for key in [key for key, target in self._cold.items() if not target.is_cold(now)]:
            self._cold.pop(key).release()

    def waits(self) -> bool:
        """Tell whether a query waits for a target's first resolution."""
        return any(target.waiters for target in self._cold.values())

    def soa(self, name: bytes) -> bytes | None:
        """Return the SOA record of a flagged name's zone, None where it is not known."""
        apex = self.signed.apex(name)
        return self.signed.soas[apex] if apex is not None else None
