from __future__ import annotations

from time import monotonic
from typing import Any, cast

import pytest
from attrs import define
from twisted.internet.task import Clock

from flatproxy.process.run import _feed_watchdog


@define
class Ticking:
    ticked_at: float


@define
class Counting:
    watchdog_s: float
    signs: int = 0

    def alive(self) -> None:
        self.signs += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _feed(notifier: Counting, app: Ticking, clock: Clock) -> None:
    _feed_watchdog(cast("Any", notifier), cast("Any", app), clock)


def test_a_sign_of_life_at_each_interval(clock: Clock) -> None:
    notifier = Counting(15.0)
    _feed(notifier, Ticking(monotonic()), clock)
    assert notifier.signs == 0, "systemd counts from READY=1"
    for expected in (1, 2, 3):
        clock.advance(15.0)
        assert notifier.signs == expected
    clock.advance(14.0)
    assert notifier.signs == 3


def test_none_for_as_long_as_the_periodic_tasks_stand_still(clock: Clock) -> None:
    """The loop alone proves little: without its tasks nothing is refreshed, swept or given up."""
    notifier, app = Counting(15.0), Ticking(monotonic() - 15.1)
    _feed(notifier, app, clock)
    clock.pump([15.0] * 4)
    assert notifier.signs == 0
    app.ticked_at = monotonic()
    clock.advance(15.0)
    assert notifier.signs == 1


def test_none_where_nobody_watches(clock: Clock) -> None:
    _feed(Counting(0.0), Ticking(monotonic()), clock)
    assert clock.getDelayedCalls() == []
