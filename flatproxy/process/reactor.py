"""What every process of flatproxy sets up for itself: Twisted's reactor on asyncio, and the garbage collector."""

from __future__ import annotations

import gc
from time import monotonic
from typing import Any

from flatproxy.forward.packet_loop import PacketLoop

GC_THRESHOLD = 50_000
"""Allocations between collections: packets leave no cycles behind, so looking for some is wasted time."""


def install_reactor() -> Any:  # noqa: ANN401 - a module that is many interfaces
    """Install Twisted's reactor on a new asyncio loop and return it; once a process, before anything imports it."""
    from twisted.internet import asyncioreactor

    asyncioreactor.install(PacketLoop())  # type: ignore[no-untyped-call]
    from twisted.internet import reactor

    # Twisted plans by the wall clock: set back by an hour, no periodic task would run for an hour.
    reactor.seconds = monotonic  # type: ignore[method-assign]
    return reactor


def settle_memory() -> None:
    """Take everything that is there now for what stays, and look for cycles rarely; once all is built."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
