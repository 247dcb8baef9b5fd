"""Fixtures of the fault tests, and the table of losses that the run prints at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.rcode
import pytest

from tests.support.fixtures import nsd, start, zones
from tests.support.internet import FakeInternet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.load import Load

    from .losses import Count, Share, Took

__all__ = ["nsd", "start", "zones"]

_LINES: list[tuple[str, int, int, int, float]] = []

_NOTES: list[str] = []


@pytest.fixture
def resolver() -> Iterator[FakeInternet]:
    """A resolver of the test's own, whose records run out every second."""
    internet = FakeInternet()
    internet.set("lb.test", "A", ["203.0.113.1"], 1)
    internet.set("lb.test", "AAAA", [], 1)
    internet.start()
    yield internet
    internet.stop()


@pytest.fixture
def count() -> Count:
    """Note a load under a name for the table; gives how many had no reply and how many had SERVFAIL."""

    def note(name: str, load: Load) -> tuple[int, int]:
        lost = len(load.lost)
        failed = sum(reply.rcode() == dns.rcode.SERVFAIL for reply in load.replies())
        assert len(load.asked) > 20, "hardly any load"
        _LINES.append((name, len(load.asked), lost, failed, max(asked.took_s for asked in load.asked)))
        return lost, failed

    return note


@pytest.fixture
def note_share() -> Share:
    """Note how many were asked, and how many had the right answer in the end."""

    def note(name: str, asked: int, right: int) -> None:
        _NOTES.append(f"{name:44} {asked:6} {asked - right:5}")

    return note


@pytest.fixture
def note_took() -> Took:
    """Note how long something took."""

    def note(name: str, took_s: float) -> None:
        _NOTES.append(f"{name:44} {took_s:31.2f}s")

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_sep("-", "losses")
    terminalreporter.write_line(f"{'fault':44} {'asked':>6} {'lost':>5} {'SERVFAIL':>8} {'longest':>9}")
    for name, asked, lost, failed, longest in _LINES:
        terminalreporter.write_line(f"{name:44} {asked:6} {lost:5} {failed:8} {longest:8.2f}s")
    for line in _NOTES:
        terminalreporter.write_line(line)
