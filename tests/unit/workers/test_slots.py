from __future__ import annotations

from typing import Any, cast

from flatproxy.workers.slots import MAX_PAUSE_S, Slot, pause_s


def test_pauses_grow_from_the_third_early_end_on() -> None:
    assert [pause_s(early) for early in range(7)] == [0.0, 0.0, 0.0, 0.5, 1.0, 2.0, 4.0]
    assert pause_s(9) == MAX_PAUSE_S
    assert pause_s(10_000) == MAX_PAUSE_S


def test_who_worked_for_a_while_is_replaced_at_once() -> None:
    slot = Slot(1)
    for _ in range(10):
        slot.vacate(100.0, early=False)
        assert slot.is_due(100.0)


def test_who_ends_again_and_again_is_waited_for() -> None:
    slot = Slot(1)
    for _ in range(4):
        slot.vacate(100.0, early=True)
    assert not slot.is_due(100.9)
    assert slot.is_due(101.0)
    slot.fill(cast("Any", object()))
    assert not slot.is_due(1e9), "somebody is there"
    slot.vacate(200.0, early=False)
    assert slot.is_due(200.0)
    slot.vacate(200.0, early=True)
    assert slot.is_due(200.0), "it begins anew after one that worked"
