from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flatproxy.table.agenda import NEVER, Agenda

times = st.integers(0, 20).map(float)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(times, st.just(NEVER))), max_size=40), times)
def test_what_is_due_comes_out_once_in_its_order(moves: list[tuple[str, float]], now: float) -> None:
    agenda: Agenda[str] = Agenda()
    wanted: dict[str, float] = {}
    for item, due in moves:
        agenda.set(item, due)
        wanted[item] = due
    found = []
    while (out := agenda.next_due(now)) is not None:
        found.append(out)
    assert sorted(found) == sorted(item for item, due in wanted.items() if due <= now)
    assert len(agenda) == sum(now < due < NEVER for due in wanted.values())
    assert agenda.soonest > now


def test_the_earliest_comes_first() -> None:
    agenda: Agenda[str] = Agenda()
    for item, due in (("late", 3.0), ("early", 1.0), ("between", 2.0), ("early", 1.5)):
        agenda.set(item, due)
    assert [agenda.next_due(5.0) for _ in range(4)] == ["early", "between", "late", None]


def test_a_dropped_item_does_not_come() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.set("a", 1.0)
    agenda.drop("a")
    assert agenda.next_due(2.0) is None
    agenda.set("a", 3.0)
    assert agenda.next_due(2.0) is None
    assert agenda.next_due(3.0) == "a"


def test_dropped_items_are_not_kept_until_their_time() -> None:
    agenda: Agenda[int] = Agenda()
    for number in range(1_000):
        agenda.set(number, 1e9 - number)
    for number in range(1, 1_000):
        agenda.drop(number)
    assert len(agenda._heap) <= 100
    assert (agenda.next_due(1e9 - 1), agenda.next_due(1e9)) == (None, 0)


def test_moving_to_later_does_not_fill_the_heap() -> None:
    agenda: Agenda[str] = Agenda()
    for due in range(1_000):
        agenda.set("a", float(due))
    assert len(agenda._heap) == 1
