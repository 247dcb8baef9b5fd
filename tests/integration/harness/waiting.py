"""Waiting for something to become true, with a deadline; and the one place where time itself must pass."""

from __future__ import annotations

from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

INTERVAL_S = 0.02


def until(probe: Callable[[], T | None], what: str | Callable[[], str], deadline_s: float = 10.0) -> T:
    """Return the first true value of `probe`; fail, saying what was waited for and what it last gave."""
    pause = Event()
    end = monotonic() + deadline_s
    while True:
        value = probe()
        if value:
            return value
        if monotonic() > end:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {deadline_s} s: {said}; last: {value!r}")
        pause.wait(INTERVAL_S)


def let_pass(seconds: float) -> None:
    """Let time pass, where that is the subject: another server's limit of replies a second."""
    Event().wait(seconds)
