from __future__ import annotations

from collections import Counter
from itertools import groupby, pairwise

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.config.rules import Check
from flatproxy.flatten.health.states import UNDER_WAY, ProbeSchedule, Watched

CHECK = Check(kind="tcp", port=80)
ONE, TWO = b"\xc0\0\2\1", b"\xc0\0\2\2"


def results(text: str, check: Check = CHECK) -> str:
    """Give a word for the state after each result: `x` for a failure, `.` for a success."""
    watched = Watched(check, ONE)
    states = ""
    for letter in text:
        watched.note(success=letter == ".")
        states += "w" if watched.is_well else "s"
    return states


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("xxx", "wws"),
        ("xx.xx.xxx", "wwwwwwwws"),
        ("xxx.", "wwss"),
        ("xxx..", "wwssw"),
        ("xxx.x..", "wwssssw"),
        ("xxx..xxx", "wwsswwws"),
    ],
)
def test_an_address_is_sick_after_fall_failures_and_well_after_rise_successes(text: str, states: str) -> None:
    assert results(text) == states


def test_one_result_may_be_enough() -> None:
    assert results("x.x", evolve(CHECK, fall=1, rise=1)) == "sws"


@given(st.text("x.", max_size=40), st.integers(1, 5), st.integers(1, 5))
def test_each_change_has_its_run_behind_it(text: str, fall: int, rise: int) -> None:
    watched = Watched(evolve(CHECK, fall=fall, rise=rise), ONE)
    changes = 0
    run = ""
    for letter in text:
        run = run + letter if run.endswith(letter) else letter
        needed = fall if watched.is_well else rise
        against = letter == ("x" if watched.is_well else ".")
        was = watched.is_well
        changed = watched.note(success=letter == ".")
        changes += changed
        assert changed is (against and len(run) >= needed)
        assert (watched.is_well is not was) is changed
    assert watched.flaps == changes


def begin(schedule: ProbeSchedule, now: float) -> list[bytes]:
    return [watched.address for watched in schedule.begin(now)]


def play(schedule: ProbeSchedule, until: float, *, sick: bytes = b"", step: float = 0.25) -> list[tuple[float, bytes]]:
    """Let time pass, each probe ending at once; give when each was begun."""
    began = []
    for number in range(int(until / step) + 1):
        now = number * step
        for watched in list(schedule.begin(now)):
            began.append((now, watched.address))
            schedule.end(watched, now, success=watched.address != sick)
    return began


def test_an_address_is_probed_once_an_interval_whoever_uses_it() -> None:
    schedule = ProbeSchedule()
    schedule.watch("a", CHECK, [ONE], 0.0)
    schedule.watch("b", CHECK, [ONE, TWO], 0.0)
    began = play(schedule, 100.0)
    for address in (ONE, TWO):
        times = [now for now, probed in began if probed == address]
        assert times[0] <= 10.25
        assert all(8.75 <= later - earlier <= 11.25 for earlier, later in pairwise(times))
        assert 9 <= len(times) <= 11


def test_another_check_of_the_same_address_is_another_probe() -> None:
    schedule = ProbeSchedule()
    schedule.watch("a", CHECK, [ONE], 0.0)
    schedule.watch("b", evolve(CHECK, port=81), [ONE], 0.0)
    assert begin(schedule, 10.0) == [ONE, ONE]


def test_a_sick_address_is_known_in_time() -> None:
    """`fall` intervals at their longest, and what a tick is late."""
    for _ in range(50):
        schedule = ProbeSchedule()
        schedule.watch("a", CHECK, [ONE, TWO], 0.0)
        play(schedule, 3 * 10.0 * 1.1 + 0.25, sick=ONE)
        assert schedule.sick(CHECK) == {ONE}


def test_many_that_come_at_once_are_spread_out() -> None:
    schedule = ProbeSchedule()
    schedule.watch("a", CHECK, [number.to_bytes(4, "big") for number in range(2_000)], 0.0)
    for interval in range(5):
        seconds = Counter(int(now) for now, _address in play_from(schedule, interval * 10.0))
        assert len(seconds) >= 10
        assert max(seconds.values()) < 300


def play_from(schedule: ProbeSchedule, start: float) -> list[tuple[float, bytes]]:
    began = []
    for number in range(100):
        now = start + number / 10
        for watched in list(schedule.begin(now)):
            began.append((now, watched.address))
            schedule.end(watched, now, success=True)
    return began


def test_no_more_than_512_are_under_way() -> None:
    schedule = ProbeSchedule()
    schedule.watch("a", CHECK, [number.to_bytes(4, "big") for number in range(600)], 0.0)
    first = list(schedule.begin(10.0))
    assert len(first) == UNDER_WAY
    assert begin(schedule, 10.0) == []
    schedule.end(first[0], 10.0, success=True)
    assert len(begin(schedule, 10.0)) == 1


def test_one_that_begins_late_is_counted() -> None:
    schedule = ProbeSchedule()
    schedule.watch("a", evolve(CHECK, interval_s=10.0), [ONE], 0.0)
    (watched,) = schedule.watched
    assert begin(schedule, watched.due + 0.9) == [ONE]
    assert schedule.late == 0
    schedule.end(watched, watched.due, success=True)
    assert begin(schedule, watched.due + 1.1) == [ONE]
    assert schedule.late == 1


def test_being_late_once_is_not_being_late_always() -> None:
    schedule = ProbeSchedule()
    schedule.watch("a", CHECK, [ONE], 0.0)
    (watched,) = schedule.begin(10.0)
    due = watched.due
    schedule.end(watched, 12.0, success=True)
    assert max(due + 9.0, 12.0) <= watched.due <= max(due + 11.0, 12.0)


def test_what_nobody_uses_is_not_probed_and_is_forgotten() -> None:
    schedule = ProbeSchedule()
    schedule.watch("a", CHECK, [ONE, TWO], 0.0)
    schedule.watch("b", CHECK, [ONE], 0.0)
    play(schedule, 40.0, sick=TWO)
    assert schedule.sick(CHECK) == {TWO}
    (gone,) = schedule.watch("a", CHECK, [ONE], 40.0)
    assert gone.address == TWO
    assert schedule.sick(CHECK) == frozenset()
    assert schedule.forget("b") == []
    assert [watched.address for watched in schedule.forget("a")] == [ONE]
    assert begin(schedule, 100.0) == []
    assert schedule.forget("a") == []
    assert list(schedule.watched) == []


def test_another_check_for_the_same_user_ends_the_first() -> None:
    schedule = ProbeSchedule()
    schedule.watch("a", CHECK, [ONE], 0.0)
    (gone,) = schedule.watch("a", evolve(CHECK, port=81), [ONE], 0.0)
    assert gone.check == CHECK
    assert begin(schedule, 10.0) == [ONE]


def test_who_stays_over_a_reload_keeps_its_state() -> None:
    schedule = ProbeSchedule()
    schedule.watch("old", CHECK, [ONE], 0.0)
    play(schedule, 40.0, sick=ONE)
    schedule.watch("new", CHECK, [ONE], 40.0)
    schedule.forget("old")
    assert schedule.sick(CHECK) == {ONE}


def test_a_probe_that_ends_after_its_address_went_says_nothing() -> None:
    schedule = ProbeSchedule()
    schedule.watch("a", evolve(CHECK, fall=1), [ONE], 0.0)
    (watched,) = schedule.begin(10.0)
    schedule.forget("a")
    assert not schedule.end(watched, 10.0, success=False)
    assert schedule.sick(watched.check) == frozenset()
    assert begin(schedule, 100.0) == []


def test_one_that_says_nothing_changes_nothing_and_one_that_was_ended_is_made_again() -> None:
    schedule = ProbeSchedule()
    schedule.watch("a", evolve(CHECK, fall=1), [ONE], 0.0)
    (watched,) = schedule.begin(10.0)
    assert not schedule.end(watched, 10.0, success=None)
    (watched,) = schedule.begin(30.0)
    schedule.cancel(watched)
    assert begin(schedule, 50.0) == [ONE]
    assert watched.is_well


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([80, 81]), st.frozensets(st.integers(1, 5), max_size=4)),
        max_size=20,
    )
)
def test_what_is_watched_is_what_somebody_wants(steps: list[tuple[str, int, frozenset[int]]]) -> None:
    schedule = ProbeSchedule()
    wanted: dict[str, tuple[int, frozenset[int]]] = {}
    for user, port, numbers in steps:
        before = {(watched.check.port, watched.address[0]) for watched in schedule.watched}
        gone = schedule.watch(user, evolve(CHECK, port=port), [bytes((number,)) * 4 for number in numbers], 0.0)
        wanted[user] = port, numbers
        after = {(port, number) for port, numbers in wanted.values() for number in numbers}
        assert {(watched.check.port, watched.address[0]) for watched in schedule.watched} == after
        assert {(watched.check.port, watched.address[0]) for watched in gone} == before - after
    probed = sorted((watched.check.port, watched.address) for watched in schedule.begin(10.0))
    assert all(len(list(same)) == 1 for _, same in groupby(probed))
    assert len(probed) == len(schedule.watched)
