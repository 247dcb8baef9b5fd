"""Sets up Twisted's reactor on asyncio's loop, once a process."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any


def install_reactor() -> Any:  # noqa: ANN401 - a module that is many interfaces
    """Install Twisted's reactor on a new asyncio loop and return it; once a process, before anything imports it."""
    from twisted.internet import asyncioreactor

    asyncioreactor.install(asyncio.SelectorEventLoop())  # type: ignore[no-untyped-call]
    from twisted.internet import reactor

    # Twisted plans by the wall clock: set back by an hour, no periodic task would run for an hour.
    reactor.seconds = monotonic  # type: ignore[method-assign]
    return reactor
