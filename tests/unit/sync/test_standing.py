from __future__ import annotations

import pytest

from flatproxy.sync.standing import CONFLICT_S, ZONE_LOOK_S, Standing, SyncedName, SyncState, pause_s

from .names import NAME, RULE


def test_pauses_double_to_ten_minutes() -> None:
    assert [pause_s(failures) for failures in (1, 2, 3, 8, 100)] == [5, 10, 20, 600, 600]


def test_failures_are_counted_in_a_row() -> None:
    name = SyncedName(NAME, RULE)
    failed = Standing(state=SyncState.FAILED)
    for _ in range(3):
        name.take(failed, 1000.0, 60.0)
    assert (name.failures, name.not_before, name.due) == (3, 1020.0, 1020.0)
    name.take(Standing(state=SyncState.IN_STEP), 1000.0, 60.0)
    assert (name.failures, name.not_before) == (0, 1000.0)
    assert 1000.0 < name.due <= 1000.0 + ZONE_LOOK_S


@pytest.mark.parametrize(("interval_s", "pause"), [(1.0, 1.0), (3600.0, CONFLICT_S)])
def test_a_conflict_is_looked_at_again_soon(interval_s: float, pause: float) -> None:
    name = SyncedName(NAME, RULE)
    name.take(Standing(state=SyncState.CONFLICT), 1000.0, interval_s)
    assert name.not_before == 1000.0 + pause


def test_what_was_written_is_in_step() -> None:
    name = SyncedName(NAME, RULE)
    assert name.state is None
    name.take(Standing(state=SyncState.WRITTEN), 1000.0, 60.0)
    assert name.state is SyncState.IN_STEP
