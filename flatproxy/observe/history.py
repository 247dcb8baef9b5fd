"""What happened to flagged names: the last changes of all, and of each name that changed lately, for the pages.

A subscriber to the table's feed that keeps references and makes text when somebody looks. It is bounded: of
`TARGETS` targets that changed last, `CHANGES` changes each.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from flatproxy.table.changes import Failed, KeyChanged, PlaceholderMissed, RungChanged, Settled, SignedChanged
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flatproxy.table.answers import TargetAnswer
    from flatproxy.table.changes import Change
    from flatproxy.table.ladder import Rung
    from flatproxy.table.target import Target

CHANGES: Final = 10
TARGETS: Final = 2_000
SPELT_OUT: Final = 6
"""Addresses that a line spells out."""


@frozen
class Event:
    """One change, at a Unix time. `subject` is a name, a target or a zone, with a type where it has one."""

    at: float
    subject: str
    what: str


@frozen
class _Settling:
    """Addresses that took the place of others."""

    at: float
    target: Target
    before: tuple[bytes, ...]
    after: tuple[bytes, ...]

    def event(self, name: bytes | None) -> Event:
        """Return it as text, for one of the names that have the target."""
        rdtype = self.target.rdtype
        what = f"{_texts(rdtype, self.before)} → {_texts(rdtype, self.after)}"
        return Event(self.at, _subject(name or _name_of(self.target), self.target), what)


@frozen
class _Failing:
    """A target that could not be resolved any more."""

    at: float
    target: Target
    reason: str

    def event(self, name: bytes | None) -> Event:
        """Return it as text."""
        return Event(
            self.at, _subject(name or _name_of(self.target), self.target), f"cannot be resolved: {self.reason}"
        )


@frozen
class _Step:
    """An answer that comes from another rung."""

    at: float
    answer: TargetAnswer
    before: Rung | None
    after: Rung

    def event(self, name: bytes | None) -> Event:
        """Return it as text."""
        before = self.before.name.lower() if self.before is not None else "none"
        what = f"{before} → {self.after.name.lower()}"
        return Event(self.at, _subject(name or self.answer.first_name, self.answer.target), what)


@frozen
class _Said:
    """What is about no target."""

    at: float
    subject: str
    what: str

    def event(self, name: bytes | None) -> Event:  # noqa: ARG002 - as the others
        """Return it as text."""
        return Event(self.at, self.subject, self.what)


_Kept = _Settling | _Failing | _Step | _Said


@define(eq=False)
class LastChanges:
    """The subscriber. `wall` gives Unix time."""

    wall: Callable[[], float]
    failing: dict[Target, str] = field(factory=dict)
    """Targets that cannot be resolved now, and why; `TARGETS` at most, the one longest so first."""
    empty: dict[Target, None] = field(factory=dict)
    """Targets that were found to have no record of the type; `TARGETS` at most."""
    _last: deque[_Kept] = field(factory=lambda: deque(maxlen=CHANGES))
    _of: dict[Target, deque[_Kept]] = field(factory=dict)
    """The one that changed last at the end."""

    def __call__(self, change: Change) -> None:
        """Keep what is news: a first answer is none."""
        match change:
            case Settled(target=target, before=before):
                self._settled(target, before.rdatas if before is not None else None, is_new=change.is_new)
            case Failed(target=target, reason=reason):
                if target.failures == 1:
                    self._keep(target, _Failing(self.wall(), target, reason))
                if target in self.failing or len(self.failing) < TARGETS:
                    self.failing[target] = reason
            case RungChanged(answer=answer, before=before, after=after) if before is not None:
                self._keep(answer.target, _Step(self.wall(), answer, before, after))
            case KeyChanged(apex=apex, tag=tag, before=before, after=after):
                self._say(names.to_text(apex), f"key {tag}: {before} → {after}")
            case SignedChanged(apex=apex, signed=signed):
                self._say(names.to_text(apex), "is signed with DNSSEC" if signed else "is no longer signed with DNSSEC")
            case PlaceholderMissed(name=name, rdtype=rdtype):
                self._say(f"{names.to_text(name)} {types.text_of(rdtype)}", "has no record in its signed zone")
            case _:
                pass

    def _settled(self, target: Target, before: tuple[bytes, ...] | None, *, is_new: bool) -> None:
        self.failing.pop(target, None)
        known = target.resolution
        if known is None or known.rdatas:
            self.empty.pop(target, None)
        elif len(self.empty) < TARGETS:
            self.empty[target] = None
        if is_new and before is not None and known is not None:
            self._keep(target, _Settling(self.wall(), target, before, known.rdatas))

    def _keep(self, target: Target, kept: _Kept) -> None:
        mine = self._of.pop(target, None) or deque(maxlen=CHANGES)
        self._of[target] = mine
        if len(self._of) > TARGETS:
            del self._of[next(iter(self._of))]
        mine.append(kept)
        self._last.append(kept)

    def _say(self, subject: str, what: str) -> None:
        self._last.append(_Said(self.wall(), subject, what))

    @property
    def last(self) -> Iterator[Event]:
        """The last changes of all, the newest first."""
        return (kept.event(None) for kept in reversed(self._last))

    def of(self, name: bytes, answers: list[TargetAnswer]) -> list[Event]:
        """Return the last changes of one name, the newest first; `answers` are its answers."""
        mine = [
            kept
            for answer in answers
            for kept in self._of.get(answer.target, ())
            if not isinstance(kept, _Step) or kept.answer.rule == answer.rule
        ]
        return [kept.event(name) for kept in sorted(mine, key=lambda kept: kept.at, reverse=True)[:CHANGES]]


def _texts(rdtype: int, rdatas: tuple[bytes, ...]) -> str:
    """Return rdatas as text, a few of them where there are many."""
    shown = " ".join(types.rdata_texts(rdtype, rdatas[:SPELT_OUT])) or "none"
    return shown if len(rdatas) <= SPELT_OUT else f"{shown} and {len(rdatas) - SPELT_OUT} more"


def _subject(name: bytes, target: Target) -> str:
    return f"{names.to_text(name)} {target.type_text}"


def _name_of(target: Target) -> bytes:
    """Return the first flagged name that has this target, or its own name where none has it any more."""
    return target.answers[0].first_name if target.answers else target.name
