"""The process around the app: Twisted's reactor on asyncio, the signals, the log. Nothing about DNS lives here."""

from __future__ import annotations

import os
import signal
import sys
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Literal

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from flatproxy.errors import FlatproxyError
from flatproxy.forward.listeners.sockets import bind
from flatproxy.observe import logs
from flatproxy.process import privileges
from flatproxy.process.app import App
from flatproxy.process.reactor import install_reactor, settle_memory
from flatproxy.process.reload import Reload, ReloadRecord
from flatproxy.process.systemd import Notifier, adopt, passed_sockets

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from flatproxy.config.settings import Settings
    from flatproxy.process.privileges import User

log = Logger()


def run(settings: Settings, path: Path, log_format: Literal["text", "json"], user: User | None = None) -> None:
    """Run the proxy until SIGTERM or SIGINT, as `user` once it is bound; `FlatproxyError` where it cannot start."""
    passed = adopt(passed_sockets(os.environ, os.getpid()), settings.listen.dns)
    notifier = Notifier.from_environment(os.environ, os.getpid())
    logs.setup(log_format, sys.stderr)
    reactor = install_reactor()
    loop = reactor._asyncioEventloop  # noqa: SLF001 - Twisted names no other way to the loop
    record = ReloadRecord(settings.digest, at=time())
    app = App(settings, reactor, record, lambda endpoint: passed[endpoint] if endpoint in passed else bind(endpoint))
    reload = Reload(path, app, record, notifier)
    failures: list[FlatproxyError] = []

    async def stop() -> None:
        log.info("stopping", event="stopping")
        notifier.stopping()
        await app.stop()
        log.info("stopped", event="stopped")
        reactor.stop()

    def start() -> None:
        try:
            app.start(lambda: _give_up_root(user, path, settings))
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
        settle_memory()
        notifier.ready(f"listening on {', '.join(map(str, app.listening))}")
        _feed_watchdog(notifier, app, reactor)

    reactor.callLater(0, start)  # from within the loop: tasks can be made from the first moment
    reactor.run(installSignalHandlers=False)
    if failures:
        raise failures[0]


def _give_up_root(user: User | None, path: Path, settings: Settings) -> None:
    """Become that user and say what it cannot use; without one, say so where root goes on."""
    if user is not None:
        privileges.become(user)
        for trouble in privileges.out_of_reach(user, path, settings.state.path if settings.state else None):
            log.warn("{trouble}", event="out_of_reach", trouble=trouble)
    elif privileges.is_root():
        log.warn("running as root, which no part of it needs: start it with --user NAME", event="running_as_root")


def _feed_watchdog(notifier: Notifier, app: App, reactor: Any) -> None:  # noqa: ANN401 - many interfaces
    """Give systemd's watchdog signs of life for as long as the loop turns and the app's periodic tasks go through."""

    def feed() -> None:
        if monotonic() - app.ticked_at < notifier.watchdog_s:
            notifier.alive()

    if notifier.watchdog_s:
        watchdog = LoopingCall(feed)
        watchdog.clock = reactor
        watchdog.start(notifier.watchdog_s, now=False)
