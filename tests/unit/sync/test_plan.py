from __future__ import annotations

from ipaddress import ip_address

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.sync.plan import Wanted, after, synced_types, wanted
from flatproxy.wire.types import TYPE_A, TYPE_AAAA

from .names import FOUR, NAME, PLACEHOLDER, RULE, SIX, sets, settle, table_of


def test_only_what_is_fresh_is_wanted() -> None:
    table = table_of()
    assert wanted(table, NAME, RULE, 1000.0, pinned=False).is_cold
    settle(table, TYPE_A, FOUR)
    settle(table, TYPE_AAAA, SIX)
    assert wanted(table, NAME, RULE, 1010.0, pinned=False) == Wanted(sets([FOUR], [SIX]))

    stale = wanted(table, NAME, RULE, 1061.0, pinned=False)
    assert (stale.sets, stale.why) == ({}, "A is stale, AAAA is stale")
    gone = wanted(table, NAME, RULE, 1200.0, pinned=False)
    assert (gone.sets, gone.why) == ({}, "A is not resolved, AAAA is not resolved")


def test_fallback_and_held_addresses_are_not_wanted() -> None:
    rule = evolve(RULE, fallback=(ip_address("192.0.2.10"),))
    table = table_of(rule)
    assert "fallback" in wanted(table, NAME, rule, 1300.0, pinned=True).why

    table = table_of()
    for rdatas in ((FOUR,), ()):
        settle(table, TYPE_A, *rdatas)
        settle(table, TYPE_AAAA)
    assert "A is held" in wanted(table, NAME, RULE, 1001.0, pinned=False).why


@pytest.mark.parametrize("pinned", [True, False])
def test_pinned_addresses_are_wanted_on_request(pinned: bool) -> None:
    rule = evolve(RULE, pin=(ip_address("203.0.113.1"),))
    found = wanted(table_of(rule), NAME, rule, 1000.0, pinned=pinned)
    assert found.sets == (sets([FOUR]) if pinned else {})


def test_only_the_types_that_are_flattened_are_kept_in_step() -> None:
    assert synced_types(evolve(RULE, types=frozenset({"A", "HTTPS"}))) == [TYPE_A]


def test_a_lost_family_goes_beside_a_living_one_only() -> None:
    both = sets([FOUR], [SIX])
    assert after(Wanted(sets([FOUR], [])), both) == sets([FOUR], [])
    assert after(Wanted(sets([], [])), both) == both
    assert after(Wanted({TYPE_A: frozenset()}, {TYPE_AAAA: "stale"}), both) == both
    assert Wanted(sets()).why == "the target has no address"


def test_a_type_that_is_withheld_stays() -> None:
    assert after(Wanted({TYPE_A: frozenset({FOUR})}, {TYPE_AAAA: "stale"}), sets([], [SIX])) == sets([FOUR], [SIX])


some = st.frozensets(st.sampled_from([FOUR, SIX]))


@given(st.dictionaries(st.sampled_from([TYPE_A, TYPE_AAAA]), some), some, some)
def test_addresses_are_never_all_removed_and_writing_comes_to_an_end(
    want: dict[int, frozenset[bytes]], four: frozenset[bytes], six: frozenset[bytes]
) -> None:
    current = sets(four, six)
    goal = after(Wanted(want), current)
    assert any(goal.values()) or not any(current.values())
    assert after(Wanted(want), goal) == goal
    assert goal.keys() == PLACEHOLDER.keys()
