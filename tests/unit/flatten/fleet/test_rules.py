"""Who resolves when, and which of two results stands: the rules alone, with a time that is passed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flatproxy.flatten.fleet.ranks import Ranks
from flatproxy.flatten.fleet.rules import (
    COLD_S,
    EntryJudgement,
    NextStep,
    Shared,
    claim_again_at,
    judge,
    lease_s,
    next_step,
)

A, B = frozenset({b"\x01\x01\x01\x01"}), frozenset({b"\x02\x02\x02\x02"})
chances = st.floats(0, 1, exclude_max=True)


def steps(
    shared: Shared, now: float, fresh_until: float | None, chance: float, *, first: bool
) -> list[tuple[float, NextStep]]:
    """Give each step until the target is resolved, with its time; nobody answers anything."""
    taken = []
    while True:
        step, again = next_step(shared, now=now, first=first, fresh_until=fresh_until, chance=chance)
        taken.append((now, step))
        if step is NextStep.RESOLVE:
            return taken
        assert again > now
        now = again


@given(st.floats(0.1, 400), chances, st.booleans())
def test_nobody_waits_until_it_is_stale(left_s: float, chance: float, first: bool) -> None:
    taken = steps(Shared(), 100.0, 100.0 + left_s, chance, first=first)
    at, last = taken[-1]
    assert last is NextStep.RESOLVE
    assert at < 100.0 + left_s
    assert len(taken) < 6


@given(st.floats(1, 400), chances)
def test_the_first_one_claims_at_once_and_others_read_before_they_claim(left_s: float, chance: float) -> None:
    first = [step for _, step in steps(Shared(), 0.0, left_s, chance, first=True)]
    other = [step for _, step in steps(Shared(), 0.0, left_s, chance, first=False)]
    assert first == [NextStep.CLAIM, NextStep.RESOLVE]
    assert other == [NextStep.WAIT, NextStep.READ, NextStep.CLAIM, NextStep.RESOLVE]


@given(chances, st.booleans())
def test_what_nothing_is_known_of_waits_a_moment_for_another(chance: float, first: bool) -> None:
    assert steps(Shared(), 5.0, None, chance, first=first) == [(5.0, NextStep.CLAIM), (5.0 + COLD_S, NextStep.RESOLVE)]


def test_who_has_the_lease_resolves() -> None:
    shared = Shared(granted_until=10.0)
    assert next_step(shared, now=9.9, first=False, fresh_until=20.0, chance=0.5)[0] is NextStep.RESOLVE
    assert next_step(shared, now=10.0, first=False, fresh_until=20.0, chance=0.5)[0] is not NextStep.RESOLVE


def test_a_lease_that_is_not_fulfilled_passes_on() -> None:
    assert lease_s(1.8) == 1.8 + 0.5
    assert 102.3 <= claim_again_at(100.0, 2.3, 150.0, 0.9) <= 102.4
    assert claim_again_at(100.0, 2.3, 101.0, 0.9) == 101.0


def test_the_higher_version_is_taken() -> None:
    shared = Shared(version=5)
    assert judge(shared, 6, 100.0, A, (90.0, B)) is EntryJudgement.TAKE
    assert shared.version == 6
    assert judge(shared, 6, 100.0, A, (100.0, A)) is EntryJudgement.KNOWN


def test_a_version_of_before_is_none() -> None:
    """Whatever it says, and however new it says that it is."""
    shared = Shared(version=5)
    assert judge(shared, 4, 1e9, A, (90.0, B)) is EntryJudgement.OLD
    assert judge(shared, 4, 1e9, A, None) is EntryJudgement.OLD
    assert shared.version == 5


def test_what_was_found_here_later_is_not_given_up() -> None:
    assert judge(Shared(), 9, 100.0, A, (101.0, A)) is EntryJudgement.KEEP
    assert judge(Shared(), 9, 100.0, A, (101.0, B)) is EntryJudgement.PUBLISH


@given(st.integers(0, 2**50), st.floats(0, 2e9))
def test_versions_only_grow(version: int, store_now: float) -> None:
    following = Shared(version=version).next_version(store_now)
    assert following > version
    assert following >= int(store_now * 1000)


@given(st.sets(st.text("abc123", min_size=1, max_size=6), min_size=2, max_size=12), st.text(min_size=1, max_size=20))
def test_every_place_has_one_first_node_and_all_agree(names: set[str], place: str) -> None:
    ranks = []
    for name in names:
        own = Ranks(name)
        own.see(names)
        ranks.append(own.rank(place))
    assert sorted(ranks) == list(range(len(names)))


def test_a_node_that_goes_changes_only_what_it_was_first_for() -> None:
    names, places = [f"ns{number}" for number in range(8)], [f"t{number}/A" for number in range(200)]
    before, after = Ranks("ns0"), Ranks("ns0")
    before.see(names)
    after.see(names[:-1])
    was_first = {place for place in places if before.rank(place) == 0}
    assert was_first <= {place for place in places if after.rank(place) == 0}
    assert 0 < len(was_first) < 100
