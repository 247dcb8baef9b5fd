from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.table.held import GRACE_S, Belief, History, Rdatas, held_until, retry_s

HOUR = 3600.0
V4: Rdatas = (b"\xc0\0\2\1",)
V6: Rdatas = (b"\x20\1\x0d\xb8" + bytes(11) + b"\1",)
ADDRESSES = {"A": V4, "AAAA": V6}


def held(known: History, others: list[History], hold_s: float, now: float) -> Rdatas:
    """The addresses to answer in place of none."""
    until = held_until(known, others, hold_s)
    return known.addresses if until is not None and now < until else ()


def family(*found: tuple[float, Rdatas]) -> History:
    known = History()
    for now, rdatas in found:
        known = known.after(rdatas, now)
    return known


def test_addresses_are_held_from_the_resolution_that_found_none() -> None:
    gone = family((0.0, V4), (100.0, ()), (160.0, ()), (3000.0, ()))
    assert held_until(gone, [], HOUR) == 3700.0
    assert held(gone, [], HOUR, 3699.9) == V4
    assert held(gone, [], HOUR, 3700.0) == ()


def test_the_last_addresses_are_held() -> None:
    newer = (b"\xc0\0\2\2",)
    assert held(family((0.0, V4), (60.0, newer), (120.0, ())), [], HOUR, 120.0) == newer


def test_addresses_end_it_and_the_count_begins_anew() -> None:
    back = family((0.0, V4), (100.0, ()), (200.0, V4))
    assert back.is_present
    assert held_until(back, [], HOUR) is None
    assert held_until(back.after((), 300.0), [], HOUR) == 300.0 + HOUR


def test_who_never_had_addresses_is_not_held() -> None:
    assert held_until(family((0.0, ()), (60.0, ())), [], HOUR) is None
    assert held(History(), [], HOUR, 0.0) == ()


def test_0_switches_it_off() -> None:
    assert held(family((0.0, V4), (100.0, ())), [], 0.0, 100.0) == ()


def test_a_family_withdrawn_beside_a_living_one_is_not_held() -> None:
    v4, v6 = family((0.0, V4), (100.0, ())), family((0.0, V6), (100.5, V6))
    assert held(v4, [v6], HOUR, 100.5) == ()


def test_it_is_held_until_the_other_one_was_asked_but_not_for_long() -> None:
    v4, v6 = family((0.0, V4), (100.0, ())), family((0.0, V6))
    assert held(v4, [v6], HOUR, 100.4) == V4
    assert held_until(v4, [v6], HOUR) == 100.0 + GRACE_S
    assert held_until(v4, [v6], 1.0) == 101.0


def test_nor_when_the_living_one_goes_later() -> None:
    v4, v6 = family((0.0, V4), (100.0, ())), family((0.0, V6), (130.0, V6), (190.0, ()))
    assert held(v4, [v6], HOUR, 200.0) == ()
    assert held(v6, [v4], HOUR, 200.0) == V6


def test_both_are_held_where_both_went_in_one_go() -> None:
    """The second is noticed later, when its TTL is over."""
    v4, v6 = family((0.0, V4), (100.0, ())), family((70.0, V6), (130.0, ()))
    assert held(v4, [v6], HOUR, 140.0) == V4
    assert held(v6, [v4], HOUR, 140.0) == V6


def test_a_family_that_never_was_does_not_matter() -> None:
    assert held(family((0.0, V4), (100.0, ())), [family((0.0, ()))], HOUR, 100.0) == V4


@pytest.mark.parametrize(("ttl_s", "pause_s"), [(0, 5), (5, 5), (30, 30), (60, 60), (900, 60)])
def test_it_is_asked_again_by_the_negative_ttl(ttl_s: float, pause_s: float) -> None:
    assert retry_s(ttl_s) == pause_s


Event = tuple[str, bool]
"""A family, and whether its resolution found addresses."""


def _should_hold(events: list[Event], which: str, now: int, hold_s: int) -> bool:
    """Say it once more, over the whole history: event i happens at second i."""
    mine = [(at, found) for at, (family_, found) in enumerate(events) if family_ == which]
    others = [(at, found) for at, (family_, found) in enumerate(events) if family_ != which]
    seen = [at for at, found in mine if found]
    if not seen or mine[-1][1]:
        return False
    since = min(at for at, found in mine if at > seen[-1])
    if others and others[-1][1]:
        hold_s = min(hold_s, int(GRACE_S))
    return now < since + hold_s and not any(found for at, found in others if at > since)


def test_every_short_history_of_two_families() -> None:
    kinds: list[Event] = [("A", True), ("A", False), ("AAAA", True), ("AAAA", False)]
    seen_held = 0
    for length in range(1, 7):
        for history in product(kinds, repeat=length):
            known = {"A": History(), "AAAA": History()}
            for at, (which, found) in enumerate(history):
                known[which] = known[which].after(ADDRESSES[which] if found else (), float(at))
            for which, other in (("A", "AAAA"), ("AAAA", "A")):
                for hold_s, now in ((2, length), (100, length)):
                    wanted = _should_hold(list(history), which, now, hold_s)
                    kept = held(known[which], [known[other]], float(hold_s), float(now))
                    assert kept == (ADDRESSES[which] if wanted else ()), history
                    seen_held += wanted
    assert seen_held > 1000


OLD, MIXED, NEW, OTHER = (b"aaaa",), (b"aaaa", b"bbbb"), (b"bbbb", b"cccc"), (b"dddd",)


def change(*found: tuple[float, Rdatas], hold_s: float = 60.0) -> Belief:
    known = Belief()
    for now, rdatas in found:
        known = known.after(rdatas, now, hold_s)
    return known


def test_a_wholly_different_set_is_taken_when_it_was_seen_twice() -> None:
    once = change((0.0, OLD), (100.0, NEW))
    assert (once.current, once.due(60.0)) == (OLD, 160.0)
    assert once.after(NEW, 159.9, 60.0).current == OLD
    taken = once.after(NEW, 160.0, 60.0)
    assert (taken.current, taken.due(60.0)) == (NEW, None)


def test_a_set_that_shares_an_address_is_taken_at_once() -> None:
    assert change((0.0, OLD), (1.0, MIXED)).current == MIXED
    assert change((0.0, OLD), (1.0, MIXED), (2.0, NEW)).current == NEW


def test_the_old_set_in_between_starts_the_count_again() -> None:
    again = change((0.0, OLD), (100.0, NEW), (130.0, OLD), (160.0, NEW))
    assert (again.current, again.due(60.0)) == (OLD, 220.0)


def test_so_does_a_third_one_and_so_does_none() -> None:
    assert change((0.0, OLD), (100.0, NEW), (130.0, OTHER)).due(60.0) == 190.0
    assert change((0.0, OLD), (100.0, NEW), (130.0, ()), (170.0, NEW)).due(60.0) == 230.0


def test_a_set_that_turns_while_it_waits_is_the_same_one() -> None:
    turning = change((0.0, OLD), (100.0, (b"bbbb",)), (130.0, NEW), (160.0, (b"cccc",)))
    assert turning.current == (b"cccc",)


def test_the_first_set_is_taken_at_once_and_0_switches_it_off() -> None:
    assert change((0.0, NEW)).current == NEW
    assert change((0.0, OLD), (1.0, NEW), hold_s=0.0).current == NEW


@given(
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from([OLD, MIXED, NEW, OTHER, ()])), max_size=12),
    st.integers(0, 90),
)
def test_a_set_apart_from_the_one_before_was_seen_that_long(steps: list[tuple[int, Rdatas]], hold_s: int) -> None:
    known, now = Belief(), 0
    since: int | None = None
    for pause, found in steps:
        now += pause
        before, known = known, known.after(found, float(now), float(hold_s))
        assert known.current in {before.current, found}
        if known.current != before.current and before.current and set(found).isdisjoint(before.current) and hold_s:
            assert since is not None
            assert now - since >= hold_s
        if not known.waiting:
            since = None
        elif not before.waiting or known.seen_at != before.seen_at:
            since = now
