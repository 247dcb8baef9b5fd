from __future__ import annotations

from typing import TYPE_CHECKING

from flatproxy.config.guarding import Guarding
from flatproxy.config.rules import Rule
from flatproxy.flatten.schedule import NEW_SHARE, Schedule
from flatproxy.table.agenda import NEVER
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table

if TYPE_CHECKING:
    from flatproxy.table.target import Target

FOUND = Resolution(rdatas=(b"\xc0\0\2\1",), ttl_s=60, names=("lb.test",), resolved_at=0.0)


def targets(table: Table, *texts: str) -> list[Target]:
    hosts = [bytes([len(text)]) + text.encode() + b"\0" for text in texts]
    return table.adopt({b"\1n" + host: Rule(target=host, types=frozenset({"A"})) for host in hosts}, 0.0, 1.8).new


def taken(schedule: Schedule, now: float, *, new: bool = True) -> list[str]:
    found = []
    while (target := schedule.next_due(now, new=new)) is not None:
        found.append(str(target))
    return found


def test_who_is_waited_for_comes_first_then_who_is_asked_for_then_who_is_known() -> None:
    table = Table()
    new, known, asked, wanted = targets(table, "new", "known", "asked", "wanted")
    schedule = Schedule(table.wanted)
    schedule.set(new, 1.0)
    schedule.set(wanted, 5.0)
    for target in (known, asked):
        target.settle(FOUND, "addresses", 0.0)
    schedule.set(known, 2.0)
    schedule.set(asked, 3.0, asked=True)
    assert table.targets[wanted.name, 1, Guarding()].wait(0.5, lambda: None)
    assert taken(schedule, 4.0) == ["wanted", "asked", "known", "new"]
    assert len(schedule) == 0


def test_nothing_comes_before_it_is_due_unless_a_query_waits() -> None:
    table = Table()
    (target,) = targets(table, "one")
    schedule = Schedule(table.wanted)
    schedule.set(target, 5.0)
    assert (taken(schedule, 4.9), schedule.soonest()) == ([], 5.0)
    assert target.wait(0.5, lambda: None)
    assert schedule.soonest() < 0.5
    assert taken(schedule, 4.9) == ["one"]


def test_new_ones_wait_for_their_own_rate_and_hold_up_nobody() -> None:
    table = Table()
    new, known = targets(table, "new", "known")
    schedule = Schedule(table.wanted)
    known.settle(FOUND, "addresses", 0.0)
    schedule.set(new, 1.0)
    schedule.set(known, 2.0)
    assert taken(schedule, 3.0, new=False) == ["known"]
    assert (schedule.soonest(new=False), schedule.soonest()) == (NEVER, 1.0)


def test_new_ones_have_a_share_where_too_much_is_due() -> None:
    table = Table()
    *known, new = targets(table, *(f"known{number}" for number in range(2 * NEW_SHARE)), "new")
    schedule = Schedule(table.wanted)
    schedule.set(new, 1.0)
    for target in known:
        target.settle(FOUND, "addresses", 0.0)
        schedule.set(target, 0.5, asked=True)
    assert "new" in taken(schedule, 2.0)[:NEW_SHARE]


def test_a_target_is_in_one_place_and_can_be_taken_out() -> None:
    table = Table()
    one, gone = targets(table, "one", "gone")
    schedule = Schedule(table.wanted)
    schedule.set(one, 1.0)
    schedule.set(one, 2.0, asked=True)
    schedule.set(gone, 1.0)
    assert gone.wait(0.5, lambda: None)
    schedule.drop(gone)
    assert taken(schedule, 1.9) == []
    assert taken(schedule, 2.0) == ["one"]
