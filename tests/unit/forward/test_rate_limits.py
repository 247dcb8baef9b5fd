"""Token buckets: what one client or network may have in a second."""

from __future__ import annotations

import pytest

from flatproxy.forward import rate_limits as rates
from flatproxy.forward.rate_limits import DROPPED, SLIP, RateLimits, TokenBuckets, network_of
from flatproxy.forward.socket_addresses import octets_of


def test_a_second_s_worth_at_once_then_none() -> None:
    buckets = TokenBuckets(5)
    assert [buckets.take(b"a", 10.0) for _ in range(8)] == [0, 0, 0, 0, 0, 1, 2, 3]


def test_tokens_come_back_with_time_up_to_a_second_s_worth() -> None:
    buckets = TokenBuckets(4)
    assert [buckets.take(b"a", 10.0) for _ in range(5)] == [0, 0, 0, 0, 1]
    assert [buckets.take(b"a", 10.25), buckets.take(b"a", 10.25)] == [0, 1], "a quarter of a second is worth one"
    assert [buckets.take(b"a", 1000.0) for _ in range(5)] == [0, 0, 0, 0, 1], (
        "a long pause is worth no more than a second"
    )


def test_being_refused_costs_nothing() -> None:
    buckets = TokenBuckets(1)
    assert buckets.take(b"a", 0.0) == 0
    assert [buckets.take(b"a", moment / 10) for moment in range(1, 10)] == list(range(1, 10))
    assert buckets.take(b"a", 1.01) == 0, "the average is kept, however hard the client tries"
    assert buckets.take(b"a", 1.02) == 1, "and the row of refusals begins anew"


def test_keys_are_apart() -> None:
    buckets = TokenBuckets(1)
    assert [buckets.take(b"a", 0.0), buckets.take(b"a", 0.0), buckets.take(b"b", 0.0)] == [0, 1, 0]


def test_a_full_table_forgets_who_is_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_BUCKETS", 10)
    buckets = TokenBuckets(1)
    for _ in range(3):
        buckets.take(b"greedy", 5.0)
    for number in range(9):
        buckets.take(b"early %d" % number, 4.0)
    assert buckets.take(b"new", 5.01) == 0
    assert set(buckets._buckets) == {b"greedy", b"new"}
    assert buckets.take(b"greedy", 5.02) == 3


def test_a_table_full_of_greed_is_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look through a table that has little to forget for each new client would cost more than it saves."""
    monkeypatch.setattr(rates, "MAX_BUCKETS", 10)
    buckets = TokenBuckets(1)
    for number in range(9):
        buckets.take(b"greedy %d" % number, 5.0)
    buckets.take(b"early", 4.0)
    buckets.take(b"new", 5.01)
    assert set(buckets._buckets) == {b"new"}


@pytest.mark.parametrize("size", [1, 100, 3000])
def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(rates, "MAX_BUCKETS", size)
    buckets = TokenBuckets(2)
    for number in range(5000):
        buckets.take(number.to_bytes(4, "big"), number / 1000)
        assert len(buckets._buckets) <= size


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.254", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("2001:db8:0:100::1", "2001:db8:0:1ff:ffff::1", True),
        ("2001:db8:0:100::1", "2001:db8:0:200::1", False),
        ("fe80::1%lo", "fe80::1", True),
        ("0.0.0.1", "::1", False),
    ],
)
def test_networks(one: str, other: str, *, same: bool) -> None:
    assert (network_of(octets_of(one)) == network_of(octets_of(other))) is same


def _excess(limits: RateLimits, host: str, *, own: bool, times: int) -> list[int]:
    return [limits.excess(octets_of(host), 1.0, own=own) for _ in range(times)]


def test_no_rate_is_no_limit() -> None:
    assert not any(_excess(RateLimits(), "192.0.2.1", own=True, times=1000))
    assert not any(_excess(RateLimits(), "192.0.2.1", own=False, times=1000))


@pytest.mark.parametrize(
    ("slip", "expected"),
    [
        (0, [DROPPED] * 6),
        (1, [SLIP] * 6),
        (2, [DROPPED, SLIP] * 3),
        (3, [DROPPED, DROPPED, SLIP] * 2),
    ],
)
def test_every_slip_th_response_is_cut_short(slip: int, expected: list[int]) -> None:
    limits = RateLimits(responses=TokenBuckets(1), slip=slip)
    assert _excess(limits, "192.0.2.1", own=True, times=7) == [0, *expected]


def test_responses_are_counted_by_network_and_forwards_by_client() -> None:
    limits = RateLimits(responses=TokenBuckets(1), queries=TokenBuckets(1), slip=0)
    assert _excess(limits, "192.0.2.1", own=True, times=1) == [0]
    assert _excess(limits, "192.0.2.2", own=True, times=1) == [DROPPED]
    assert _excess(limits, "198.51.100.1", own=True, times=1) == [0]
    assert _excess(limits, "192.0.2.1", own=False, times=2) == [0, DROPPED]
    assert _excess(limits, "192.0.2.2", own=False, times=1) == [0]


def test_forwards_never_slip() -> None:
    limits = RateLimits(queries=TokenBuckets(1), slip=1)
    assert _excess(limits, "192.0.2.1", own=False, times=4) == [0, DROPPED, DROPPED, DROPPED]
