"""The log's lines about changes in the table: it only says what was published, and changes nothing."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from attrs import define, field
from twisted.logger import Logger

from flatproxy.observe import choice_log
from flatproxy.table.changes import (
    ChoiceChanged,
    Failed,
    HealthChanged,
    KeyChanged,
    PlaceholderMissed,
    Refused,
    RungChanged,
    Settled,
    SignedChanged,
)
from flatproxy.table.ladder import Rung
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flatproxy.table.changes import Change
    from flatproxy.table.ladder import Resolution
    from flatproxy.table.target import Target

log = Logger()

REMEMBERED: Final = 1_000
"""Targets of which is remembered that a line about them was written."""
SHOWN: Final = 4
"""Refused addresses that a line spells out."""
LINES_A_SECOND: Final = 100
"""More changes than these are only counted: a hundred thousand targets that fail must not fill the disk."""


@define(eq=False)
class ChangeLog:
    """A subscriber to the table's feed. `clock` gives monotonic seconds."""

    clock: Callable[[], float] = monotonic
    _second: int = 0
    _written: int = 0
    """Changes in this second that were written."""
    _unwritten: int = 0
    """Changes that were only counted, and not told of yet."""
    _refused: dict[Target, None] = field(factory=dict)
    _left_out: dict[Target, None] = field(factory=dict)
    _placeholders: int = 0

    def __call__(self, change: Change) -> None:
        """Write what is worth a line."""
        match change:
            case Settled(target=target, before=before) if change.is_new and self._may_write():
                _say_addresses(target, before)
                self._say_left_out(target)
            case Refused(target=target, reasons=reasons):
                self._say_refused(target, reasons)
            case Failed(target=target, reason=reason) if target.failures == 1 and self._may_write():
                log.warn(
                    "{target} {type} cannot be resolved: {reason}",
                    event="target_failed",
                    target=str(target),
                    type=target.type_text,
                    reason=reason,
                )
            # A first answer that is fresh has its line already: its addresses.
            case RungChanged(before=before, after=after) if before is not None or after is not Rung.FRESH:
                if self._may_write():
                    _say_rung(change)
            case HealthChanged() | ChoiceChanged() if self._may_write():
                choice_log.say(change)
            case KeyChanged():
                _say_key(change)
            case PlaceholderMissed() if self._placeholders < REMEMBERED:
                self._placeholders += 1
                log.warn(
                    "{name} has no {type} record in its signed zone: add one, until then queries with DO=1 for that "
                    "type go to the nameserver",
                    event="placeholder_missing",
                    name=names.to_text(change.name),
                    type=types.text_of(change.rdtype),
                )
            case SignedChanged(apex=apex, signed=True):
                log.warn(
                    "zone {zone} is signed: queries with DO=1 for its flagged names go to the nameserver, unless "
                    "[dnssec] has an active key",
                    event="zone_signed",
                    zone=names.to_text(apex),
                )
            case _:
                pass

    def _may_write(self) -> bool:
        """Tell whether a change is to be written; the first one of a later second says how many were not."""
        second = int(self.clock())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written >= LINES_A_SECOND:
            self._unwritten += 1
            return False
        if self._unwritten:
            log.warn(
                "{count} more changes were not written, there being more than {most} a second",
                event="changes_unwritten",
                count=self._unwritten,
                most=LINES_A_SECOND,
            )
            self._unwritten = 0
        self._written += 1
        return True

    def _say_refused(self, target: Target, reasons: Mapping[bytes, str]) -> None:
        """Say once of a target that addresses of it are left out."""
        if target in self._refused or len(self._refused) >= REMEMBERED:
            return
        self._refused[target] = None
        others = len(reasons) - SHOWN
        shown = list(reasons)[:SHOWN]
        log.warn(
            "{target} has the address {address}{others}, which is left out, being {reason}",
            event="address_refused",
            target=str(target),
            address=str(types.rdata_texts(target.rdtype, shown)),
            others=f" and {others} more" if others > 0 else "",
            reason=reasons[shown[0]],
        )

    def _say_left_out(self, target: Target) -> None:
        """Say once of a target that it has more records than are answered."""
        known = target.resolution
        if known is None or not known.left_out or target in self._left_out or len(self._left_out) >= REMEMBERED:
            return
        self._left_out[target] = None
        log.warn(
            "{target} has {found} {type} records, of which {answered} are answered",
            event="addresses_cut",
            target=str(target),
            type=target.type_text,
            found=len(known.rdatas) + known.left_out,
            answered=len(known.rdatas),
        )


def _say_addresses(target: Target, before: Resolution | None) -> None:
    for answer in target.answers:
        if answer.selection is not None:
            continue  # what is answered is told where it is chosen
        choice_log.say_addresses(answer, _rdatas(before), _rdatas(target.resolution))


def _say_rung(change: RungChanged) -> None:
    answer = change.answer
    log.info(
        "{name} {type}: {old} → {new}{others}",
        event="rung_change",
        name=names.to_text(answer.first_name),
        type=answer.target.type_text,
        old=change.before.name.lower() if change.before is not None else "none",
        new=change.after.name.lower(),
        others=choice_log.others(answer.names),
    )


def _say_key(change: KeyChanged) -> None:
    left = f", active in {change.left_s:.0f} s" if change.left_s else ""
    log.info(
        "key {tag} of zone {zone}: {old} → {new}{left}{off}",
        event="key_change",
        tag=change.tag,
        zone=names.to_text(change.apex),
        old=change.before,
        new=change.after,
        left=left,
        off=f"; nothing is signed: {change.off}" if change.off else "",
    )


def _rdatas(resolution: Resolution | None) -> tuple[bytes, ...]:
    return resolution.rdatas if resolution is not None else ()
