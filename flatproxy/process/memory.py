"""How this process holds memory: what it gives back to the system, and how often it looks for garbage."""

from __future__ import annotations

import ctypes
import gc
import sys
from time import sleep
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flatproxy.config.settings import Settings

GC_THRESHOLD = 500
"""Allocations, less what was freed, between collections. Packets leave nothing behind, so they cause none; resolutions
leave cycles, of which so many are found in less than half a millisecond (50,000 of them took 40 ms)."""
GC_LATER = 1_000
"""Collections of the young between two that look at older objects."""

LARGE = 128 * 1024
"""Octets of a block that is mapped on its own."""
_M_MMAP_THRESHOLD = -3  # mallopt(3)

DISCARDED = 5_000
"""Names given back before a rest: about half a millisecond."""
_REST_S = 0.001
_ONLY_HERE = 2
"""What `sys.getrefcount` says of an object that one local variable holds."""


def return_large_blocks() -> None:
    """Have the C library give each large block back to the system as soon as it is freed; before any is taken.

    glibc begins so, but counts a size as small once a block of that size was freed, up to 32 MiB. The tables of a
    reload would then lie in the heap, and what lies above them would keep their room from being given back.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none, and needs none
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, LARGE)


def settle() -> None:
    """Take everything that is there now for what stays, and look for cycles rarely; once all is built."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, GC_LATER, 50)
    gc.enable()


def discard(unused: list[Settings]) -> None:
    """Give back the settings in the list, which it must alone hold, in a thread beside packets.

    To free a million names at once takes some 50 ms, in which no other thread runs; so they go some at a time. What
    somebody else holds is left to them.
    """
    settings = unused.pop()
    if sys.getrefcount(settings) > _ONLY_HERE:
        return
    rules = settings.flatten
    del settings
    if sys.getrefcount(rules) > _ONLY_HERE:
        return
    while rules:
        for _ in range(min(DISCARDED, len(rules))):
            rules.popitem()
        sleep(_REST_S)
