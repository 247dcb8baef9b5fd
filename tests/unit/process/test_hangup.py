from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from flatproxy.process import hangup

FIRST_LINES = """
import sys, runpy
known = set(sys.modules)
import flatproxy.__main__
print(*sorted(set(sys.modules) - known))
"""


def test_nothing_that_takes_time_is_imported_before_it_is_held() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_LINES], capture_output=True, text=True, check=True, timeout=60)
    ours = {"flatproxy", "flatproxy.__main__", "flatproxy.process", "flatproxy.process.hangup"}
    assert ours <= set(done.stdout.split()) <= ours | {"_signal", "enum", "gc", "signal", "operator", "_operator"}


@pytest.fixture
def came() -> list[int]:
    """The signals that were delivered."""
    return []


def test_many_while_it_is_held_are_delivered_once_and_later(came: list[int]) -> None:
    before = signal.signal(signal.SIGHUP, lambda number, _: came.append(number))
    try:
        hangup.hold()
        for _ in range(5):
            signal.raise_signal(signal.SIGHUP)  # for this thread: a test runner may have others
        assert came == []
        hangup.release()
        assert came == [signal.SIGHUP]
        signal.raise_signal(signal.SIGHUP)
        assert came == [signal.SIGHUP] * 2
    finally:
        signal.signal(signal.SIGHUP, before)
