from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from attrs import define, field

from flatproxy.config.load import load
from flatproxy.errors import FlatproxyError
from flatproxy.process.reload import Reloader, ReloadRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flatproxy.config.settings import Settings

FILE = '[listen]\ndns = ["127.0.0.1:0"]\n[upstream]\nservers = ["192.0.2.53"]\n[access]\nzones = ["example.com"]\n'
OTHER = f'{FILE}[flatten."example.com"]\ntarget = "lb.example.net"\n'


@define
class Supervised:
    """Notes what a reload says."""

    said: list[str] = field(factory=list)
    meanwhile: Callable[[], None] | None = None
    """What happens in the middle of the first reload."""

    def reloading(self) -> None:
        self.said.append("reloading")
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()

    def ready(self) -> None:
        self.said.append("ready")


@define
class Running:
    """An app: what it went over to, or refuses to."""

    settings: Settings
    reloads: int = 0
    failure: Exception | None = None

    def reload(self, settings: Settings) -> None:
        if self.failure is not None:
            raise self.failure
        self.settings = settings
        self.reloads += 1


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flatproxy.toml"
    path.write_text(FILE)
    return path


def _reload(file: Path, running: Running, supervised: Supervised, signals: int = 1) -> ReloadRecord:
    """Reload once for the first signal, take the others in the middle of it, and return the record at the end."""
    record = ReloadRecord(running.settings.digest)

    async def play() -> None:
        reload = Reloader(file, running, record, supervised)

        def more() -> None:
            for _ in range(signals - 1):
                reload.request()

        supervised.meanwhile = more
        reload.request()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    asyncio.run(play())
    return record


def test_a_reload_takes_what_the_file_says_now(file: Path) -> None:
    running, supervised = Running(load(file)), Supervised()
    file.write_text(OTHER)
    record = _reload(file, running, supervised)
    assert list(running.settings.flatten) == [b"\7example\3com\0"]
    assert supervised.said == ["reloading", "ready"]
    assert (record.success, record.digest) == (True, running.settings.digest)
    assert record.at > 0


def test_many_signals_in_the_middle_of_a_reload_make_one_more(file: Path) -> None:
    """One at least: the file may have changed after it was read."""
    running, supervised = Running(load(file)), Supervised()
    _reload(file, running, supervised, signals=9)
    assert running.reloads == 2
    assert supervised.said == ["reloading", "ready"] * 2


def test_a_wrong_file_changes_nothing_but_the_record(file: Path) -> None:
    running, supervised = Running(load(file)), Supervised()
    before = running.settings
    file.write_text("[listen]")
    record = _reload(file, running, supervised)
    assert running.settings is before
    assert (record.success, record.digest) == (False, before.digest)
    assert supervised.said == ["reloading", "ready"], "systemd waits for the end of it"


@pytest.mark.parametrize("failure", [FlatproxyError("no socket"), ZeroDivisionError()])
def test_what_cannot_be_prepared_leaves_the_record_of_what_is_in_force(file: Path, failure: Exception) -> None:
    running, supervised = Running(load(file), failure=failure), Supervised()
    digest = running.settings.digest
    file.write_text(OTHER)
    record = _reload(file, running, supervised)
    assert (record.success, record.digest) == (False, digest)
    assert supervised.said == ["reloading", "ready"]
