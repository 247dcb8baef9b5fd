"""How new settings come into force: in two phases, for all parts or for none. It knows no part.

prepare (may fail, changes nothing that is in force) ──► commit (cannot fail)
                                                    └──► abort (gives back what was prepared)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flatproxy.config.settings import Settings


class Part(Protocol):
    """A part of the service that takes settings."""

    def prepare(self, settings: Settings) -> None:
        """Open and read what these settings need; where that fails, give it back and raise `FlatproxyError`."""

    def commit(self) -> None:
        """Go over to what was prepared. This cannot fail."""

    def abort(self) -> None:
        """Give back what was prepared, if anything was."""


def _at_once() -> None:
    """Do nothing in between."""


def change(parts: Sequence[Part], settings: Settings, between: Callable[[], None] = _at_once) -> None:
    """Take these settings into force in all parts, in their order; whatever is raised, nothing has changed.

    `between` is called once all are prepared, and may fail like them.
    """
    try:
        for part in parts:
            part.prepare(settings)
        between()
    except BaseException:
        for part in reversed(parts):
            part.abort()
        raise
    for part in parts:
        part.commit()
