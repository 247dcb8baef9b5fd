"""A block of lines on a terminal that is drawn over itself. What stands above it stays where it is."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence

HIDE_CURSOR: Final = "\x1b[?25l"
SHOW_CURSOR: Final = "\x1b[?25h"
CLEAR_BELOW: Final = "\x1b[J"

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def can_redraw(stream: TextIO) -> bool:
    """Tell whether the stream is a terminal that takes control sequences."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


class Screen:
    """The block. The cursor is hidden from the first `draw` to `close`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rows = 0

    @staticmethod
    def size() -> tuple[int, int]:
        """Return the terminal's columns and rows now."""
        size = shutil.get_terminal_size()
        return size.columns, size.lines

    def draw(self, lines: Sequence[str]) -> None:
        """Draw the lines over those of the last call. What does not fit on the terminal is left out, at the end."""
        columns, rows = self.size()
        fitting: list[str] = []
        used = 0
        for line in lines:
            needed = _rows(line, columns)
            if used + needed > rows - 1:
                break
            used += needed
            fitting.append(line + "\n")
        back = f"\x1b[{self._rows}A\r" if self._rows else ""
        # In one write, so that no half of it is ever shown.
        self._stream.write(HIDE_CURSOR + back + CLEAR_BELOW + "".join(fitting))
        self._stream.flush()
        self._rows = used

    def close(self) -> None:
        """Show the cursor again, below the block."""
        self._stream.write(SHOW_CURSOR)
        self._stream.flush()


def _rows(line: str, columns: int) -> int:
    """Return how many rows a line takes."""
    return max(-(-len(_COLOUR.sub("", line)) // columns), 1)
