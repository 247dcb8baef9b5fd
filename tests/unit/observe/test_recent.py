from __future__ import annotations

import pytest

from flatproxy.counts import LATENCY_BOUNDS_S, BucketTable
from flatproxy.observe.recent import SPAN_S, STEP_S, Recent, quantile

from .world import FakeCounted


def quantiles(*seconds: float) -> list[float | None]:
    table = BucketTable()
    for each in seconds:
        table.add(each)
    return [quantile(table, table.counts, share) for share in (0.5, 0.99)]


def test_quantiles_are_within_their_bucket() -> None:
    assert quantiles() == [None, None]
    assert quantiles(60.0) == [LATENCY_BOUNDS_S[-1], LATENCY_BOUNDS_S[-1]]
    half, nearly_all = quantiles(*[0.002] * 98, 0.2, 0.2)
    assert half == pytest.approx(0.001 + 0.0015 * 50 / 98)
    assert nearly_all == pytest.approx(0.1 + 0.15 / 2)


def test_only_the_last_five_minutes_count() -> None:
    recent, server = Recent(), FakeCounted()
    recent.look([server], 0.0, 0.0)
    for number in range(100):
        server.replies.add(2 if number == 0 else 0, 0.002)
    server.timeouts = 25
    for now in range(0, int(SPAN_S), int(STEP_S)):
        recent.look([server], float(now), 0.0)
        (lately,) = recent.lately([server], float(now))
        assert (lately.replies, lately.timeouts, lately.failures) == (100, 25, 26 / 125)
        assert lately.p50_s == pytest.approx(0.00175)
    for now in range(int(SPAN_S), int(SPAN_S + 3 * STEP_S), int(STEP_S)):
        recent.look([server], float(now), 0.0)
    (lately,) = recent.lately([server], SPAN_S + 2 * STEP_S)
    assert (lately.replies, lately.timeouts, lately.failures, lately.p99_s) == (0, 0, None, None)


def test_a_state_has_the_time_at_which_it_began() -> None:
    recent, server = Recent(), FakeCounted()
    seen = []
    for now, state in enumerate(("up", "up", "down", "down", "up")):
        server.state = state
        recent.look([server], float(now), 100.0 + now)
        seen += [(each.state, each.since) for each in recent.lately([server], float(now))]
    assert seen == [("up", 100.0), ("up", 100.0), ("down", 102.0), ("down", 102.0), ("up", 104.0)]


def test_a_server_that_counts_from_0_again_has_no_past() -> None:
    recent, server = Recent(), FakeCounted(timeouts=50)
    recent.look([server], 0.0, 0.0)
    new = FakeCounted(timeouts=3)
    recent.look([new], 5.0, 0.0)
    new.timeouts = 4
    (lately,) = recent.lately([new], 6.0)
    assert lately.timeouts == 1


def test_a_server_that_was_never_looked_at_is_not_told_of() -> None:
    assert Recent().lately([FakeCounted()], 0.0) == []
