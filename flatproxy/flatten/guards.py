"""What of a target's addresses is let through to the table: no special ones, none outside the owner's networks."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from flatproxy.wire import types
from flatproxy.wire.special import Guard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flatproxy.config.guarding import Guarding


@lru_cache(maxsize=64)
def _guard(guarding: Guarding) -> Guard:
    return Guard.of(special=guarding.special, allow=guarding.allow)


def sift(guarding: Guarding, rdtype: int, rdatas: Sequence[bytes]) -> tuple[tuple[bytes, ...], Mapping[bytes, str]]:
    """Return the rdatas that pass, in their order, and why the others do not."""
    if not types.has_addresses(rdtype):
        return tuple(rdatas), {}
    return _guard(guarding).sift(rdatas)


def in_words(rdtype: int, refused: Mapping[bytes, str]) -> str:
    """Return the first of the reasons and how many others there are; there is at least one."""
    (rdata, reason), others = next(iter(refused.items())), len(refused) - 1
    return f"{types.rdata_texts(rdtype, [rdata])} is {reason}" + (f" (and {others} more)" if others else "")
