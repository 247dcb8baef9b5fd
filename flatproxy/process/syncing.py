"""`flatproxy sync`: targets are resolved and the zone follows, without a socket that anybody could ask."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from time import monotonic, time
from typing import TYPE_CHECKING, Literal

from attrs import define, evolve
from twisted.logger import Logger

from flatproxy.errors import ConfigError, Problem
from flatproxy.flatten.flattener import Flattener
from flatproxy.observe import logs
from flatproxy.observe.change_log import ChangeLog
from flatproxy.process import hangup, phases
from flatproxy.process.loading import load_settings
from flatproxy.process.reload import Reloader, ReloadRecord
from flatproxy.process.systemd import Notifier
from flatproxy.sync.updater import Updater
from flatproxy.table.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from flatproxy.config.settings import Settings

log = Logger()

SYNC_TICK_S = 0.05


@define
class _Alone:
    """A part that is not told of the state file nor, where it is there `once`, of the fleet."""

    part: Flattener
    once: bool

    def prepare(self, settings: Settings) -> None:
        """Prepare the part."""
        self.part.prepare(evolve(settings, state=None, fleet=None if self.once else settings.fleet))

    def commit(self) -> None:
        """Commit it."""
        self.part.commit()

    def abort(self) -> None:
        """Abort it."""
        self.part.abort()


class Follower:
    """Table, flattener and updater, from `start` to `stop`. To be made within the running loop.

    What was resolved before is not looked at and none of it is kept: the state file holds what was written, no more.
    """

    def __init__(self, *, once: bool = False, dry: bool = False) -> None:
        self._settings: Settings | None = None
        self._once = once
        self.table = Table(wall=time)
        self.table.feed.subscribe(ChangeLog())
        self._flattener = Flattener(self.table, lambda: None)
        self.updater = Updater(self.table, self._flattener.may_write, dry=dry)

    @property
    def settings(self) -> Settings:
        """What is in force, from the start on."""
        assert self._settings is not None, "not started"
        return self._settings

    def start(self, settings: Settings) -> None:
        """Begin; after a `FlatproxyError` nothing has begun."""
        self.reload(settings)
        self._flattener.start()

    def reload(self, settings: Settings) -> None:
        """Go over to new settings; a `FlatproxyError` has changed nothing."""
        phases.change((_Alone(self._flattener, self._once), self.updater), settings)
        self._settings = settings

    def resolve(self, now: float) -> None:
        """Begin the resolutions that are due."""
        for part in self._flattener.parts(now):
            part()

    async def stop(self) -> None:
        """End what is under way."""
        await self.updater.stop()
        await self._flattener.stop()


def keep_in_step(path: Path, log_format: Literal["text", "json"]) -> None:
    """Keep the records in step until SIGTERM or SIGINT; `FlatproxyError` where that cannot begin."""
    logs.setup(log_format, sys.stderr)
    notifier = Notifier.from_environment(os.environ, os.getpid())
    asyncio.run(_follow(path, notifier))


async def _follow(path: Path, notifier: Notifier) -> None:
    settings = load_for_sync(path)
    follower = Follower()
    follower.start(settings)
    record = ReloadRecord(settings.digest, at=time())
    reloader = Reloader(path, follower, record, notifier, listening=False)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, reloader.request)
        hangup.release()
    count = len(follower.updater.names)
    log.info("keeping the records of {count} names in step", event="sync_started", count=count)
    notifier.ready(f"keeping the records of {count} names in step")
    while not stopping.is_set():
        now = monotonic()
        follower.resolve(now)
        follower.updater.tick(now)
        notifier.alive()
        await asyncio.sleep(SYNC_TICK_S)
    log.info("stopping", event="stopping")
    notifier.stopping()
    await follower.stop()
    log.info("stopped", event="stopped")


def load_for_sync(path: Path) -> Settings:
    """Return the settings in a file, which needs no `[listen]`; `ConfigError` where it keeps no name in step."""
    settings = load_settings(path, listening=False)
    if settings.sync is None or not any(group.rule.sync for group in settings.flatten.groups):
        key = "sync" if settings.sync is None else "flatten"
        problem = Problem(
            key=key,
            reason="no name is to be kept in step",
            write='[sync] with key_file, and sync = true under [flatten."NAME"]',
        )
        raise ConfigError(problems=(problem,), file=str(path))
    return settings
