"""What a configuration says of the addresses that a target may have, as one value: targets are told apart by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from flatproxy.wire.prefixes import Network


class Guarding(NamedTuple):
    """The guards of a target: whether special addresses pass, where all must be, how long a new set must last."""

    special: bool = False
    allow: tuple[Network, ...] = ()
    hold_change_s: int = 0


NO_GUARDING = Guarding(special=True)
