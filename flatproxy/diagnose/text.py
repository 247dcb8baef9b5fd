"""Lines for people, 100 columns wide: indented, wrapped, never cut. It knows nothing of what they say."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH = 100


def wrapped(text: str, first: str, indent: int) -> Iterator[str]:
    """Yield the text in lines that begin with `first`, and then with `indent` blanks. Long words stay whole."""
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    yield from lines or [first.rstrip()]


def labelled(label: str, text: str, *, at: int, indent: int = 2) -> Iterator[str]:
    """Yield the text beside a label; it begins in column `at`, or behind a label that is longer."""
    yield from wrapped(text, f"{'':{indent}}{label:{at - indent - 2}}  ", at)


def some(items: Sequence[str], most: int, apart: str = ", ") -> str:
    """Return the items as one text, those above a number only counted."""
    shown = apart.join(items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"


def table(rows: Sequence[Sequence[str]], indent: int = 2, gap: int = 2) -> Iterator[str]:
    """Yield rows with their columns aligned; the last column wraps. What fits nowhere begins a line of its own."""
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    widths = [width + gap if width else 0 for width in widths]
    start = indent + sum(widths)
    for row in rows:
        first = " " * indent + "".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False))
        yield from wrapped(row[-1], first, start)


def count(number: int, thing: str) -> str:
    """Return a number of things: `1 error`, `2 errors`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
