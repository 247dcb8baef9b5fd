from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flatproxy.flatten.health.room import FEWEST, LATE_S, MORE, Room


def test_it_shrinks_while_probes_are_late_and_comes_back() -> None:
    room = Room(512)
    for places in (256, 128, 64, 64):
        room.note(0.0)
        room.note(3 * LATE_S)
        room.tick()
        assert room.places == places
    room.note(LATE_S / 2)
    room.tick()
    assert room.places == FEWEST + MORE
    for _ in range(100):
        room.tick()
    assert room.places == 512


@given(st.integers(1, 512), st.lists(st.lists(st.floats(0, 1), max_size=3), max_size=30))
def test_there_is_always_some_and_never_too_much(most: int, ticks: list[list[float]]) -> None:
    room = Room(most)
    for notes in ticks:
        for late_s in notes:
            room.note(late_s)
        room.tick()
        assert min(FEWEST, most) <= room.places <= most
