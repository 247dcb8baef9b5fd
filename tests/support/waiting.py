"""Waiting for something to become true, with a deadline; and the one place where time itself must pass."""

from __future__ import annotations

from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

INTERVAL_S = 0.02


def wait_until(probe: Callable[[], T], deadline_s: float = 5.0, interval_s: float = INTERVAL_S) -> T:
    """Return the first true value of `probe`, or its last one at the deadline."""
    end = monotonic() + deadline_s
    while not (value := probe()) and monotonic() <= end:
        let_pass(interval_s)
    return value


def until(probe: Callable[[], T | None], what: str | Callable[[], str], deadline_s: float = 60.0) -> T:
    """Return the first true value of `probe`; fail, saying what was waited for and what it last gave."""
    value = wait_until(probe, deadline_s)
    if value:
        return value
    said = what if isinstance(what, str) else what()
    raise AssertionError(f"not within {deadline_s} s: {said}; last: {value!r}")


def let_pass(seconds: float) -> None:
    """Let time pass, where that is the subject: another server's limit of replies a second."""
    Event().wait(max(seconds, 0.0))
