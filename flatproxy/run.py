"""The process around the app: Twisted's reactor on asyncio, the signals, the log. Nothing about DNS lives here."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from time import time
from typing import TYPE_CHECKING, Any, Literal

from twisted.logger import Logger

from flatproxy.app import App
from flatproxy.errors import FlatproxyError
from flatproxy.observe import logs
from flatproxy.reload import Reload, ReloadRecord

if TYPE_CHECKING:
    from pathlib import Path

    from flatproxy.config.settings import Settings

log = Logger()

GC_THRESHOLD = 50_000
"""Allocations between collections: packets leave no cycles behind, so looking for some is wasted time."""


def install_reactor() -> Any:  # noqa: ANN401 - a module that is many interfaces
    """Install Twisted's reactor on a new asyncio loop and return it; once a process, before anything imports it."""
    from twisted.internet import asyncioreactor

    asyncioreactor.install(asyncio.new_event_loop())  # type: ignore[no-untyped-call]
    from twisted.internet import reactor

    return reactor


def run(settings: Settings, path: Path, log_format: Literal["text", "json"]) -> None:
    """Run the proxy until SIGTERM or SIGINT; `FlatproxyError` where it cannot start."""
    logs.setup(log_format, sys.stderr)
    reactor = install_reactor()
    loop = reactor._asyncioEventloop  # noqa: SLF001 - Twisted names no other way to the loop
    record = ReloadRecord(settings.digest, at=time())
    app = App(settings, reactor, record)
    reload = Reload(path, app, record)
    failures: list[FlatproxyError] = []

    async def stop() -> None:
        log.info("stopping", event="stopping")
        await app.stop()
        log.info("stopped", event="stopped")
        reactor.stop()

    def start() -> None:
        try:
            app.start()
        except FlatproxyError as error:
            failures.append(error)
            reactor.stop()
            return
        stopping: list[asyncio.Task[None]] = []

        def begin_stop() -> None:
            if not stopping:
                stopping.append(loop.create_task(stop()))

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, begin_stop)
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, reload.request)
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 50)

    reactor.callLater(0, start)  # from within the loop: tasks can be made from the first moment
    reactor.run(installSignalHandlers=False)
    if failures:
        raise failures[0]
