"""What a name's records are to be: what is answered now, as far as it may be written. No packet, no file, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from flatproxy.table.answers import TargetAnswer
from flatproxy.table.ladder import Rung
from flatproxy.table.table import question
from flatproxy.wire import types

if TYPE_CHECKING:
    from flatproxy.config.rules import Rule
    from flatproxy.sync.sets import Sets
    from flatproxy.table.table import Table

_COLD = "not resolved yet"
_WORDS = {"upstream": "not resolved"}
"""For rungs that say little here."""


@frozen
class Wanted:
    """What may be written of a name now, and, for the other types, why their answer is not written: a rung."""

    sets: Sets
    withheld: dict[int, str] = field(factory=dict)

    @property
    def is_cold(self) -> bool:
        """Tell whether a type is being resolved for the first time: all of them are to be written in one go."""
        return _COLD in self.withheld.values()

    @property
    def why(self) -> str:
        """The reasons in one text, empty where everything may be written."""
        if not self.withheld and not any(self.sets.values()):
            return "the target has no address"
        return ", ".join(f"{types.text_of(rdtype)} is {why}" for rdtype, why in sorted(self.withheld.items()))


def synced_types(rule: Rule) -> list[int]:
    """Return the types that are kept in step under a rule."""
    return [number for number in types.OF_ADDRESSES if types.text_of(number) in rule.types]


def wanted(table: Table, name: bytes, rule: Rule, now: float, *, pinned: bool) -> Wanted:
    """Return what may be written of what a flagged name answers at `now`; `pinned`: pinned answers, too."""
    rungs = {Rung.FRESH, Rung.PINNED} if pinned else {Rung.FRESH}
    found = Wanted({})
    for rdtype in synced_types(rule):
        answer = table.get(question(name, rdtype))
        if not isinstance(answer, TargetAnswer) or answer.is_cold(now):
            found.withheld[rdtype] = _COLD
            continue
        step = answer.step(now)
        if step.rung in rungs:
            found.sets[rdtype] = frozenset(step.rdatas)
        else:
            rung = step.rung.name.lower()
            found.withheld[rdtype] = _WORDS.get(rung, rung)
    return found


def after(want: Wanted, current: Sets) -> Sets:
    """Return what is to stand at the name in place of `current`.

    A type whose answer is withheld stays as it is. So does one that the target has no address of, unless the other
    type has: both are never removed.
    """
    lives = any(want.sets.values())
    return current | {rdtype: rdatas for rdtype, rdatas in want.sets.items() if rdatas or lives}
