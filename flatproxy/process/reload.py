"""SIGHUP: load the file again and go over to it. A file that cannot be used changes nothing but a metric."""

from __future__ import annotations

import asyncio
from time import time
from typing import TYPE_CHECKING, Protocol

from attrs import define
from twisted.logger import Logger

from flatproxy.errors import FlatproxyError
from flatproxy.process.loading import load_settings
from flatproxy.process.memory import discard

if TYPE_CHECKING:
    from pathlib import Path

    from flatproxy.config.settings import Settings

log = Logger()


@define
class ReloadRecord:
    """How the last loading went: the digest is that of the configuration in force, `at` is Unix time."""

    digest: str
    success: bool = True
    at: float = 0.0


class Reloadable(Protocol):
    """What goes over to new settings."""

    @property
    def settings(self) -> Settings:
        """Return what is in force."""

    def reload(self, settings: Settings) -> None:
        """Go over to new settings; a `FlatproxyError` has changed nothing."""


class Supervisor(Protocol):
    """Who is to know that a reload begins and ends."""

    def reloading(self) -> None:
        """Note that a reload begins."""

    def ready(self) -> None:
        """Note that it is done, well or not."""


@define(eq=False)
class Reloader:
    """Reloads `path` whenever `request` is called, one at a time; the last request is always honoured."""

    path: Path
    app: Reloadable
    record: ReloadRecord
    supervisor: Supervisor
    listening: bool = True
    """Whether `[listen]` is required."""
    _task: asyncio.Task[None] | None = None
    _again: bool = False

    def request(self) -> None:
        """Begin a reload, or have one follow the one that is under way."""
        if self._task is not None:
            self._again = True
            return
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        again = True
        while again:
            self._again = False
            self.supervisor.reloading()
            try:
                await self._reload()
            except FlatproxyError as error:
                self._failed(str(error))
            except Exception as error:  # noqa: BLE001 - the old configuration stays, whatever happened
                log.failure("reloading went wrong", event="reload_error")
                self._failed(str(error))
            self.supervisor.ready()
            again = self._again
        self._task = None

    async def _reload(self) -> None:
        # In a thread: a file of many names takes seconds to read, and packets do not wait for that.
        settings = await asyncio.to_thread(
            load_settings, self.path, self.app.settings.flatten, listening=self.listening
        )
        unused = [self.app.settings]
        self.app.reload(settings)
        self.record.success, self.record.digest, self.record.at = True, settings.digest, time()
        log.info("configuration reloaded from {path}", event="reloaded", path=str(self.path))
        await asyncio.to_thread(discard, unused)

    def _failed(self, reason: str) -> None:
        self.record.success, self.record.at = False, time()
        log.error(
            "configuration not reloaded, the old one stays in force: {error}", event="reload_failed", error=reason
        )
