"""The process around the app: Twisted's reactor on asyncio, the signals, the log. Nothing about DNS lives here."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Literal

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from flatproxy.forward.listeners.sockets import bind
from flatproxy.observe import logs
from flatproxy.process import hangup, memory, privileges
from flatproxy.process.app import App
from flatproxy.process.loading import load_settings
from flatproxy.process.reactor import install_reactor
from flatproxy.process.reload import Reloader, ReloadRecord
from flatproxy.process.systemd import Notifier, adopt, passed_sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from flatproxy.config.settings import Endpoint, Settings
    from flatproxy.forward.listeners.sockets import ListenSocket
    from flatproxy.process.privileges import User

log = Logger()


def run(path: Path, log_format: Literal["text", "json"], user_name: str | None = None) -> None:
    """Run the proxy until SIGTERM or SIGINT, as that user once it is bound; `FlatproxyError` where it cannot start."""
    memory.return_large_blocks()
    notifier = Notifier.from_environment(os.environ, os.getpid())
    logs.setup(log_format, sys.stderr)
    reactor = install_reactor()
    failures: list[Exception] = []

    record = ReloadRecord("")

    def take_signals(app: App) -> None:
        _take_signals(Reloader(path, app, record, notifier), lambda: _stop(app, notifier, reactor))

    def start() -> None:
        try:
            app = _started(path, user_name, reactor, record, take_signals)
        except Exception as error:  # noqa: BLE001 - raised again once the reactor has stopped
            failures.append(error)
            reactor.stop()
            return
        memory.settle()
        notifier.ready(f"listening on {', '.join(map(str, app.listening))}")
        _feed_watchdog(notifier, app, reactor)

    reactor.callLater(0, start)  # from within the loop: tasks can be made from the first moment
    reactor.run(installSignalHandlers=False)
    if failures:
        raise failures[0]


def _started(
    path: Path,
    user_name: str | None,
    reactor: Any,  # noqa: ANN401 - many interfaces
    record: ReloadRecord,
    take_signals: Callable[[App], None],
) -> App:
    """Return the app, running. No frame that stays may hold the settings: a reload would not give back their memory."""
    settings = load_settings(path)
    record.digest, record.at = settings.digest, time()
    user = privileges.find_user(user_name) if user_name is not None else None
    passed = adopt(passed_sockets(os.environ, os.getpid()), settings.listen.dns, settings.listen.tls)

    def listen_at(endpoint: Endpoint, threads: int = 1, *, tls: bool = False) -> Sequence[ListenSocket]:
        return passed.get(endpoint) or bind(endpoint, threads, tls=tls)

    app = App(reactor, record, listen_at)

    def bound() -> None:
        _give_up_root(user, path, settings)
        take_signals(app)  # before it says that it listens: whoever reads that may end it at once

    app.start(settings, bound)
    return app


def _take_signals(reloader: Reloader, stop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Stop at the first SIGTERM or SIGINT, reload at each SIGHUP, also at one that was held since the start."""
    loop = asyncio.get_running_loop()
    stopping: list[asyncio.Task[None]] = []

    def begin_stop() -> None:
        if not stopping:
            stopping.append(loop.create_task(stop()))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_stop)
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, reloader.request)
        hangup.release()


async def _stop(app: App, notifier: Notifier, reactor: Any) -> None:  # noqa: ANN401 - many interfaces
    log.info("stopping", event="stopping")
    notifier.stopping()
    await app.stop()
    log.info("stopped", event="stopped")
    reactor.stop()


def _give_up_root(user: User | None, path: Path, settings: Settings) -> None:
    """Become that user and say what it cannot use; without one, say so where root goes on."""
    if user is not None:
        privileges.become(user)
        read_again = (path, settings.listen.certificate, settings.listen.key)
        for trouble in privileges.out_of_reach(user, read_again, settings.state.path if settings.state else None):
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
