from __future__ import annotations

from flatproxy.flatten.token_bucket import BURST_S, TokenBucket


def taken(bucket: TokenBucket, most: int = 1_000) -> int:
    return sum(bucket.take() for _ in range(most))


def test_so_many_a_second_are_allowed() -> None:
    bucket = TokenBucket(100.0)
    bucket.refill(0.0)
    taken(bucket)
    total = 0
    for tick in range(1, 21):
        bucket.refill(tick / 20)
        total += taken(bucket)
    assert total in (99, 100)


def test_a_long_pause_allows_no_flood() -> None:
    bucket = TokenBucket(100.0)
    bucket.refill(0.0)
    bucket.refill(3600.0)
    assert taken(bucket) == 100 * BURST_S


def test_a_slow_rate_comes_to_its_turn_as_well() -> None:
    bucket = TokenBucket(0.5)
    bucket.refill(0.0)
    assert taken(bucket) == 1
    bucket.refill(1.0)
    assert (bucket.has_token, taken(bucket)) == (False, 0)
    bucket.refill(2.0)
    assert (bucket.has_token, taken(bucket)) == (True, 1)
