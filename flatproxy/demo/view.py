"""What is shown of the flagged names, as lines of text: a picture to redraw, and a line for each change.

Statuses in, lines out: no terminal, no clock, no output.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from time import localtime, strftime
from typing import TYPE_CHECKING, Final, Protocol

from attrs import define, field

from flatproxy.observe import sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class NameStatus(sources.NameStatus, Protocol):
    """One flagged name and type as it is answered now."""

    @property
    def target(self) -> str:
        """The first name of the chain."""


_GREEN, _YELLOW, _RED = "\x1b[32m", "\x1b[33m", "\x1b[31m"
COLOURS: Final = {
    "pinned": _YELLOW,
    "fresh": _GREEN,
    "held": _YELLOW,
    "stale": _YELLOW,
    "fallback": _RED,
    "upstream": _RED,
}
BOLD: Final = "\x1b[1m"
PLAIN: Final = "\x1b[0m"
MIN_WIDTH: Final = 40

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_INDENT = "  "
_KEY = 6
_RUNG = 9
_TTL = 11


def age_text(seconds: float) -> str:
    """Return a time as people say it: `9 s`, `3 min`, `2 h`, `1 d`; never less than `0 s`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(int(seconds), 0)} s"


def picture(statuses: Iterable[NameStatus], wall: float, width: int, *, coloured: bool = False) -> list[str]:
    """Return the lines of all flagged names at Unix time `wall`, none longer than `width` (at least 40) columns."""
    width = max(width, MIN_WIDTH)
    lines: list[str] = []
    for name, group in groupby(statuses, key=attrgetter("name")):
        title = _cut(name, width)
        lines += ["", f"{BOLD}{title}{PLAIN}" if coloured else title]
        shown: tuple[str, ...] = ()
        for status in group:
            if tuple(status.chain) != shown:
                shown = tuple(status.chain)
                lines += _wrapped("chain", [shown[0], *(f"→ {hop}" for hop in shown[1:])], width)
            lines += _rows(status, wall, width, coloured=coloured)
    return lines[1:]


def _rows(status: NameStatus, wall: float, width: int, *, coloured: bool) -> list[str]:
    """Return one type's rows: how it stands, then its addresses."""
    rung = status.rung
    standing = _wrapped(status.rdtype, [f"{rung:<{_RUNG}}", *_standing(status, wall)], width)
    if coloured:
        standing[0] = standing[0].replace(rung, f"{COLOURS[rung]}{rung}{PLAIN}", 1)
    return [*standing, *_wrapped("", list(status.rdatas) or [_instead(status)], width)]


def _standing(status: NameStatus, wall: float) -> list[str]:
    """Return what is known of an answer's times, each to be shown where there is one."""
    said = []
    if status.rung == "fresh":
        said.append(f"TTL {age_text(status.ttl_left_s)}".ljust(_TTL))
    elif status.age_s is not None:
        said.append(f"resolved {age_text(status.age_s)} ago ")
    if status.rung == "stale" and status.stale_left_s is not None:
        said.append(f"ends in {age_text(status.stale_left_s)} ")
    if status.changed_at is not None:
        said.append(f"changed {age_text(wall - status.changed_at)} ago")
    return said


def _instead(status: NameStatus) -> str:
    """Say what stands in the place of addresses."""
    if status.rung == "upstream":
        return "the nameserver's own answer"
    return "no address of this type"


def _wrapped(key: str, words: Sequence[str], width: int) -> list[str]:
    """Return the words in lines of at most `width`, a longer word being cut; `key` stands before the first."""
    first = f"{_INDENT}{key:<{_KEY}}"
    room = width - len(first)
    rows: list[str] = []
    for word in (_cut(whole, room) for whole in words):
        if rows and len(rows[-1]) + 1 + len(word) <= room:
            rows[-1] += " " + word
        else:
            rows.append(word)
    return [((" " * len(first) if number else first) + row).rstrip() for number, row in enumerate(rows)]


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


@define
class Changes:
    """Remembers what each flagged name said, and says what has changed since; `briefly` leaves the chains out."""

    briefly: bool = False
    _seen: dict[tuple[str, str], tuple[str, frozenset[str]]] = field(factory=dict)

    def since(self, statuses: Iterable[NameStatus], wall: float) -> list[str]:
        """Return a line for each name and type whose rung or addresses differ from the last call's; all at first."""
        lines = []
        clock = strftime("%H:%M:%S", localtime(wall))
        for status in statuses:
            key = (status.name, status.rdtype)
            now = (status.rung, frozenset(status.rdatas))
            if self._seen.get(key) != now:
                self._seen[key] = now
                chain = "" if self.briefly else f"; {' → '.join(status.chain)}"
                lines.append(f"{clock}  {_line(status)}{chain}")
        return lines


def _line(status: NameStatus) -> str:
    addresses = " ".join(status.rdatas) or _instead(status)
    ttl = f", TTL {age_text(status.ttl_left_s)}" if status.rung == "fresh" else ""
    return f"{status.name} {status.rdtype:<4} {addresses}; {status.rung}{ttl}"
