from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.table.choice import Addresses, Have, Pick, pick

if TYPE_CHECKING:
    from collections.abc import Mapping

A, AAAA = 1, 28
Offer = dict[int, Addresses]


def v4(*numbers: int) -> tuple[bytes, ...]:
    return tuple(bytes((192, 0, 2, number)) for number in numbers)


def v6(*numbers: int) -> tuple[bytes, ...]:
    return tuple(bytes((0x20, 1, *bytes(13), number)) for number in numbers)


def offer(have: Have = Have.FRESH, a: tuple[bytes, ...] = (), aaaa: tuple[bytes, ...] = ()) -> Offer:
    return {rdtype: Addresses(have, rdatas) for rdtype, rdatas in ((A, a), (AAAA, aaaa)) if rdatas}


def the_first(*offers: Offer, sick: tuple[bytes, ...] = (), minimum: float = 0.5) -> Pick | None:
    return pick(offers, "first", sick, minimum)


def every_one(*offers: Offer, sick: tuple[bytes, ...] = (), minimum: float = 0.5) -> Pick | None:
    return pick(offers, "all", sick, minimum)


def choice(*targets: int, left_out: bool = False, failing_open: bool = False, **by_type: tuple[bytes, ...]) -> Pick:
    rdatas: Mapping[int, tuple[bytes, ...]] = {{"a": A, "aaaa": AAAA}[name]: found for name, found in by_type.items()}
    return Pick(targets=targets, rdatas=rdatas, left_out=left_out, failing_open=failing_open)


EU, US = offer(a=v4(1, 2), aaaa=v6(1)), offer(a=v4(11, 12))
NONE = offer()


def test_the_first_that_resolves_is_answered() -> None:
    assert the_first(EU, US) == choice(0, a=v4(1, 2), aaaa=v6(1))
    assert the_first(NONE, US) == choice(1, a=v4(11, 12))


@pytest.mark.parametrize("have", [Have.HELD, Have.STALE])
def test_one_whose_ttl_is_over_or_that_says_nothing_is_passed_over(have: Have) -> None:
    assert the_first(offer(have, a=v4(1)), US) == choice(1, a=v4(11, 12))


def test_one_type_that_is_fresh_is_enough_and_the_others_come_along() -> None:
    mixed = {A: Addresses(Have.FRESH, v4(1)), AAAA: Addresses(Have.STALE, v6(1))}
    assert the_first(mixed, US) == choice(0, a=v4(1), aaaa=v6(1))


def test_sick_addresses_are_left_out() -> None:
    assert the_first(EU, US, sick=v4(1)) == choice(0, a=v4(2), aaaa=v6(1), left_out=True)


def test_a_type_with_nothing_well_is_nodata_while_enough_is_well() -> None:
    assert the_first(EU, sick=v6(1)) == choice(0, a=v4(1, 2), left_out=True)


def test_one_below_the_minimum_is_passed_over_until_it_is_well_again() -> None:
    assert the_first(EU, US, sick=v4(1, 2)) == choice(1, a=v4(11, 12), left_out=True)
    assert the_first(EU, US, sick=v4(1)) == choice(0, a=v4(2), aaaa=v6(1), left_out=True)


@pytest.mark.parametrize(("minimum", "is_below"), [(0.55, False), (0.551, True), (0.0, False), (1.0, True)])
def test_the_minimum_itself_is_enough(minimum: float, is_below: bool) -> None:
    made = the_first(offer(a=v4(*range(20))), sick=v4(*range(9)), minimum=minimum)
    assert made is not None
    assert made.failing_open is is_below


def test_nothing_well_is_below_every_minimum() -> None:
    assert the_first(US, sick=v4(11, 12), minimum=0.0) == choice(0, a=v4(11, 12), failing_open=True)


def test_where_all_are_below_the_first_is_answered_whole() -> None:
    assert the_first(NONE, EU, US, sick=v4(1, 2, 11, 12)) == choice(1, a=v4(1, 2), aaaa=v6(1), failing_open=True)


def test_where_none_resolves_held_comes_before_stale() -> None:
    stale, held = offer(Have.STALE, a=v4(1)), offer(Have.HELD, a=v4(2))
    assert the_first(stale, held) == choice(1, a=v4(2))
    assert every_one(stale, held) == choice(1, a=v4(2))
    assert the_first(NONE, stale, offer(Have.STALE, a=v4(3))) == choice(1, a=v4(1))


def test_health_counts_for_what_is_held_too() -> None:
    held = offer(Have.HELD, a=v4(1, 2))
    assert the_first(held, sick=v4(1)) == choice(0, a=v4(2), left_out=True)
    assert the_first(held, sick=v4(1, 2)) == choice(0, a=v4(1, 2), failing_open=True)


def test_nothing_comes_of_nothing() -> None:
    assert the_first() is None
    assert every_one(NONE, NONE) is None


def test_all_are_answered_together() -> None:
    assert every_one(EU, NONE, US, offer(Have.STALE, a=v4(99))) == choice(0, 2, a=v4(1, 2, 11, 12), aaaa=v6(1))
    assert every_one(US, offer(a=v4(12, 13))) == choice(0, 1, a=v4(11, 12, 13))


def test_the_minimum_is_over_all_of_them() -> None:
    assert every_one(EU, US, sick=v4(1, 2)) == choice(0, 1, a=v4(11, 12), aaaa=v6(1), left_out=True)
    assert every_one(EU, US, sick=v4(1, 2, 11)) == choice(0, 1, a=v4(1, 2, 11, 12), aaaa=v6(1), failing_open=True)


def _offer(a: tuple[Have, frozenset[int]], aaaa: tuple[Have, frozenset[int]]) -> Offer:
    return {
        rdtype: Addresses(have, make(*sorted(numbers)))
        for rdtype, (have, numbers), make in ((A, a, v4), (AAAA, aaaa, v6))
        if numbers
    }


SETS = st.tuples(st.sampled_from(Have), st.frozensets(st.integers(0, 5), max_size=3))
OFFERS = st.lists(st.builds(_offer, SETS, SETS), max_size=3)
USES: st.SearchStrategy[Literal["first", "all"]] = st.sampled_from(["first", "all"])


@given(OFFERS, USES, st.frozensets(st.integers(0, 5)), st.floats(0, 1))
def test_what_holds_of_every_choice(
    offers: list[Offer], use: Literal["first", "all"], numbers: frozenset[int], minimum: float
) -> None:
    sick = {*v4(*numbers), *v6(*numbers)}
    made = pick(offers, use, sick, minimum)
    if not any(offers):
        assert made is None
        return
    assert made is not None
    assert made.rdatas
    assert all(made.rdatas.values())
    answered = {rdata for rdatas in made.rdatas.values() for rdata in rdatas}
    had = {rdata for place in made.targets for addresses in offers[place].values() for rdata in addresses.rdatas}
    if made.failing_open:
        assert answered == had
        assert len(had - sick) / len(had) < minimum or not had - sick
    else:
        assert answered == had - sick
        assert len(answered) / len(had) >= minimum
    fresh = [place for place, one in enumerate(offers) if any(each.have is Have.FRESH for each in one.values())]
    assert set(made.targets) <= set(fresh) if fresh else len(made.targets) == 1
