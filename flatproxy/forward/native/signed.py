"""Which answers the packet path in C gives signed: those that were asked for, of a rule with one name, while fresh.

A signature is one name's, so what several names share Python signs; likewise denials, which hang on other types, too,
and what comes after fresh. Nothing is signed here: the table's answers do that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, field

from flatproxy.table.ladder import Rung, lifetime_s

if TYPE_CHECKING:
    from flatproxy.config.rules import Rule
    from flatproxy.table.answers import TargetAnswer
    from flatproxy.table.table import Table
    from flatproxy.table.target import Target

LONGEST_S: Final = 86_400
"""An answer that is fresh for longer is signed in Python: a signature must not come of age meanwhile."""
CLOCK_STEP_S: Final = 2.0
"""A clock that was set by more than this calls for other signatures; so does a machine that slept."""


@define(eq=False)
class SignedAnswers:
    """The answers that somebody has asked for with DO=1."""

    table: Table
    _asked: dict[TargetAnswer, None] = field(factory=dict)
    _version: int = -1
    _clocks_apart: float = 0.0

    def add(self, answer: TargetAnswer) -> bool:
        """Take note that an answer was asked for; tell whether it may be given signed from now on."""
        if answer.names != 1 or answer.selection is not None or answer in self._asked:
            return False
        self._asked[answer] = None
        return True

    def forget(self) -> set[tuple[Rule, int]]:
        """Have nothing signed until it is asked for again: a rule may have got another name. Return what was."""
        asked, self._asked = self._asked, {}
        return {(answer.rule, answer.target.rdtype) for answer in asked}

    def outdated(self, now: float) -> list[Target]:
        """Return whose answers are to be signed anew: other keys sign, placeholders come or go, or a clock was set."""
        version, apart = self.table.zones.version, self.table.wall() - now
        if version == self._version and abs(apart - self._clocks_apart) <= CLOCK_STEP_S:
            return []
        self._version, self._clocks_apart = version, apart
        return [answer.target for answer in self._asked]

    def rrsigs(self, answer: TargetAnswer, now: float) -> tuple[bytes, ...]:
        """Return the signatures that an answer may be given with while it is fresh, none where it may not."""
        resolution = answer.target.resolution
        if answer not in self._asked or resolution is None or answer.step(now).rung is not Rung.FRESH:
            return ()
        if lifetime_s(resolution.ttl_s, answer.rule) > LONGEST_S:
            return ()
        signed = answer.signed(answer.first_name, now)
        return signed.rrsigs if signed is not None else ()
