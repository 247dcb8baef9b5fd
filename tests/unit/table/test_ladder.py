from __future__ import annotations

from ipaddress import ip_address

import pytest

from flatproxy.config.rules import Rule
from flatproxy.table.ladder import Resolution, Rung, lifetime_s, step

TARGET = b"\2lb\4test\0"
OLD = (b"\xc6\x33\x64\1",)
RULE = Rule(target=TARGET, stale_for_s=100)
FALLBACK = Rule(target=TARGET, stale_for_s=100, fallback=(ip_address("192.0.2.10"),))


def resolution(ttl_s: int = 60, rdatas: tuple[bytes, ...] = OLD) -> Resolution:
    return Resolution(rdatas=rdatas, ttl_s=ttl_s, names=("lb.test",), resolved_at=1000.0)


@pytest.mark.parametrize(
    ("now", "rung", "ttl_s"),
    [
        (1000.0, Rung.FRESH, 60),
        (1000.5, Rung.FRESH, 59),
        (1001.0, Rung.FRESH, 59),
        (1059.5, Rung.FRESH, 1),
        (1060.0, Rung.STALE, 30),
        (1159.9, Rung.STALE, 30),
        (1160.0, Rung.UPSTREAM, 0),
    ],
)
def test_a_resolution_goes_down_the_ladder(now: float, rung: Rung, ttl_s: int) -> None:
    current = step(resolution(), RULE, 1, now)
    assert (current.rung, current.ttl_s) == (rung, ttl_s)
    assert current.rdatas == (OLD if rung < Rung.FALLBACK else ())


def test_the_fallback_comes_before_the_nameserver() -> None:
    current = step(resolution(), FALLBACK, 1, 1160.0)
    assert (current.rung, current.rdatas, current.ttl_s) == (Rung.FALLBACK, (b"\xc0\0\2\x0a",), 30)
    assert step(None, FALLBACK, 1, 0.0).rung is Rung.FALLBACK


def test_a_family_that_the_fallback_lacks_is_nodata() -> None:
    current = step(None, FALLBACK, 28, 0.0)
    assert (current.rung, current.rdatas) == (Rung.FALLBACK, ())


@pytest.mark.parametrize(
    ("ttl_s", "max_ttl_s", "min_ttl_s", "lifetime"),
    [(60, 300, 0, 60), (900, 300, 0, 300), (5, 300, 20, 20), (0, 300, 0, 0)],
)
def test_the_lifetime_is_within_the_rules_bounds(ttl_s: int, max_ttl_s: int, min_ttl_s: int, lifetime: int) -> None:
    assert lifetime_s(ttl_s, Rule(target=TARGET, max_ttl_s=max_ttl_s, min_ttl_s=min_ttl_s)) == lifetime


def test_a_ttl_of_0_is_sent_as_such_and_kept_for_a_moment() -> None:
    assert (step(resolution(0), RULE, 1, 1001.9).rung, step(resolution(0), RULE, 1, 1001.9).ttl_s) == (Rung.FRESH, 0)
    assert step(resolution(0), RULE, 1, 1002.0).rung is Rung.STALE


def test_an_answer_holds_until_its_ttl_moves_on() -> None:
    assert step(resolution(), RULE, 1, 1000.25).until == pytest.approx(1001.0)
    assert step(resolution(), RULE, 1, 1060.0).until == 1160.0


def test_a_denial_is_an_answer_on_the_fresh_rung() -> None:
    assert step(resolution(rdatas=()), RULE, 1, 1000.0).rung is Rung.FRESH
