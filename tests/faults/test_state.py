"""A disk or state file that fails while clients ask: nobody notices but the operator."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

import dns.message
import pytest

from tests.support.child import run
from tests.support.configuration import configuration
from tests.support.internet import Mood
from tests.support.load import Load
from tests.support.waiting import until

from .losses import FLAGGED, FLATTEN, PLAIN, replies, saved

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.nsd import Nsd

    from .losses import Count, Start


@contextlib.contextmanager
def broken(path: Path, how: str) -> Iterator[None]:
    """Break the file at `path`, or what it lies on, for as long as the block runs."""
    if how in {"disk full", "read-only file system"}:
        if os.geteuid():
            pytest.fail("mounting needs root")
        option = "size=16k" if how == "disk full" else "ro"
        run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(path.parent)])
        try:
            if how == "disk full":
                with contextlib.suppress(OSError), (path.parent / "filler").open("wb", buffering=0) as filler:
                    while True:
                        filler.write(bytes(4096))
            yield
        finally:
            run(["umount", "-l", str(path.parent)])
    elif how == "locked":
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
    else:
        if how == "random octets":
            path.write_bytes(os.urandom(20_000))
        elif how == "truncated":
            with contextlib.closing(sqlite3.connect(path)) as made:
                made.execute("CREATE TABLE answers (a)")
            path.write_bytes(path.read_bytes()[:5000])
        elif how == "a later version":
            with contextlib.closing(sqlite3.connect(path)) as later:
                later.execute("PRAGMA user_version = 99")
        yield


def _with_state(nsd: Nsd, resolver: FakeInternet, folder: Path) -> tuple[Path, str]:
    """Return where the state file is to be, in a folder of its own, and the configuration that names it."""
    path = folder / "state" / "answers.sqlite"
    path.parent.mkdir()
    # Of what stays the same, the age in the file may be wrong by a tenth of `stale_for`: so it is saved every 10 s.
    tables = {"state": {"path": str(path)}, "defaults": {"stale_for": "100s"}}
    return path, configuration(upstream=[nsd.address], resolver=[resolver.address], flatten=FLATTEN, tables=tables)


@pytest.mark.parametrize(
    "how", ["disk full", "read-only file system", "locked", "random octets", "truncated", "a later version"]
)
def test_state(nsd: Nsd, resolver: FakeInternet, start: Start, count: Count, tmp_path: Path, how: str) -> None:
    path, config = _with_state(nsd, resolver, tmp_path)
    with broken(path, how):
        proxy = start(config)
        with Load(proxy.address, [FLAGGED, PLAIN]) as load:
            proxy.wait_event("state_unusable")
            replies(load, 100)
        assert proxy.metrics().value("state_errors_total") >= 1
        proxy.stop()
    assert count(f"state: {how}", load) == (0, 0)


def _spoil(path: Path, how: str) -> None:
    """Do this to a state file that is in use."""
    if how == "truncated":
        os.truncate(path, 5000)
    elif how == "overwritten":
        path.write_bytes(os.urandom(20_000))
    elif how == "replaced":
        other = path.with_suffix(".other")
        other.write_bytes(os.urandom(20_000))
        other.replace(path)
    else:
        for file in path.parent.iterdir():
            file.unlink()


@pytest.mark.parametrize("how", ["truncated", "overwritten", "replaced", "removed"])
def test_state_that_goes_bad_in_use(
    nsd: Nsd, resolver: FakeInternet, start: Start, count: Count, tmp_path: Path, how: str
) -> None:
    """Clients notice nothing, and what is learned from then on is saved: the next start is as warm as before."""
    path, config = _with_state(nsd, resolver, tmp_path)
    proxy = start(config)
    until(lambda: saved(str(path)), "the answer in the state file")
    with Load(proxy.address, [FLAGGED, PLAIN]) as load:
        replies(load, 20)
        _spoil(path, how)
        until(lambda: saved(str(path)), "the answer in a state file again", 30)
        replies(load, 50)
    assert count(f"state in use: {how}", load) == (0, 0)
    noticed = proxy.metrics().value("state_errors_total") > 0
    if how != "truncated":  # what is written next may or may not need what was cut off
        assert noticed is (how in {"overwritten", "replaced"})
    assert bool(proxy.since(0, "state_unusable")) is noticed
    assert path.with_name("answers.sqlite.damaged").exists() is noticed
    proxy.stop()
    resolver.mood = Mood.SILENT
    proxy.start()
    assert str(proxy.ask(dns.message.make_query(*FLAGGED)).answer[0][0]) == "203.0.113.1"
