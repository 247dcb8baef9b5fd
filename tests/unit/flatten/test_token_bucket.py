from __future__ import annotations

from flatproxy.flatten.token_bucket import BURST_S, Allowance


def taken(allowance: Allowance, most: int = 1_000) -> int:
    return sum(allowance.take() for _ in range(most))


def test_so_many_a_second_are_allowed() -> None:
    allowance = Allowance(100.0)
    allowance.refill(0.0)
    taken(allowance)
    total = 0
    for tick in range(1, 21):
        allowance.refill(tick / 20)
        total += taken(allowance)
    assert total in (99, 100)


def test_a_long_pause_allows_no_flood() -> None:
    allowance = Allowance(100.0)
    allowance.refill(0.0)
    allowance.refill(3600.0)
    assert taken(allowance) == 100 * BURST_S


def test_a_slow_rate_comes_to_its_turn_as_well() -> None:
    allowance = Allowance(0.5)
    allowance.refill(0.0)
    assert taken(allowance) == 1
    allowance.refill(1.0)
    assert (allowance.holds, taken(allowance)) == (False, 0)
    allowance.refill(2.0)
    assert (allowance.holds, taken(allowance)) == (True, 1)
