from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flatproxy.config.settings import State
from flatproxy.diagnose.prospects import Earlier, OwnAnswer, answer_now, kept_in, limit_of, span_text
from flatproxy.diagnose.traces import Walk
from flatproxy.errors import ChainBroken, UpstreamTimeout
from flatproxy.flatten.chain import Found
from flatproxy.flatten.stores import sqlite as store
from flatproxy.flatten.stores.store import Row
from flatproxy.table.ladder import Resolution

from .replies import rule, wire

if TYPE_CHECKING:
    from pathlib import Path

    from flatproxy.diagnose.prospects import Prospect

A = 1
NOW = 1_000_000.0
OLD = bytes([192, 0, 2, 1])
NEW = bytes([192, 0, 2, 2])
FAILED = Walk(rdtype="A", error=UpstreamTimeout("slow"))
NOTHING = Earlier(lack="nothing is kept")


def found(*rdatas: bytes, ttl_s: int = 60, outcome: str = "addresses") -> Walk:
    return Walk(rdtype="A", found=Found(rdatas=rdatas, ttl_s=ttl_s, names=("lb.test",), outcome=outcome))


def earlier(age_s: float) -> Earlier:
    return Earlier(resolution=Resolution(rdatas=(OLD,), ttl_s=60, names=("lb.test",), resolved_at=NOW - age_s))


def answer(walk: Walk, kept: Earlier = NOTHING, **keys: Any) -> Prospect:
    return answer_now(walk, kept, rule(**{"special": "allow", **keys}), A, NOW)


def test_what_resolves_now_is_fresh_whatever_was_kept() -> None:
    now = answer(found(NEW), earlier(10))
    assert (now.rung, now.addresses, now.ttl_s, now.age_s) == ("fresh", ("192.0.2.2",), 60, 0)


@pytest.mark.parametrize("outcome", ["nodata", "nxdomain"])
def test_a_denial_is_fresh_and_no_reason_for_what_was_kept(outcome: str) -> None:
    now = answer(found(outcome=outcome), earlier(10), fallback=["192.0.2.10"])
    assert (now.rung, now.addresses) == ("fresh", ())


def test_the_ladder_below() -> None:
    now = answer(FAILED, earlier(10))
    assert (now.rung, now.addresses, now.ttl_s) == ("fresh", ("192.0.2.1",), 50)
    assert "10 s old" in now.why
    now = answer(FAILED, earlier(3600), stale_for="2h", stale_ttl="7s")
    assert (now.rung, now.addresses, now.ttl_s, now.age_s) == ("stale", ("192.0.2.1",), 7, 3600)
    assert "1 h old" in now.why
    assert "another 1 h" in now.why
    now = answer(FAILED, earlier(3600), stale_for="1m", fallback=["192.0.2.10", "2001:db8::10"])
    assert (now.rung, now.addresses, now.age_s) == ("fallback", ("192.0.2.10",), None)
    assert "too old" in now.why
    now = answer(FAILED, NOTHING)
    assert (now.rung, now.addresses, now.ttl_s) == ("upstream", (), None)
    assert "nothing is kept" in now.why
    assert "no fallback" in now.why


def test_the_last_rung_has_what_the_nameserver_says() -> None:
    last = answer(FAILED)
    own = OwnAnswer(rdtype="A", server="192.0.2.53:53", rcode="NOERROR", records=("example.com 300 A 192.0.2.1",))
    assert last.with_own(own).rung == "upstream"
    assert last.with_own(own).as_json()["nameserver"]["records"] == ["example.com 300 A 192.0.2.1"]
    silent = last.with_own(OwnAnswer(rdtype="A", error="no answer within 2 s"))
    assert silent.rung == "servfail"
    assert "no answer within 2 s" in silent.why


@pytest.mark.parametrize(
    ("chain_s", "keys", "ttl_s", "by"),
    [
        (60, {}, 60, "chain"),
        (300, {}, 300, "chain"),
        (3600, {}, 300, "max_ttl"),
        (5, {"min_ttl": "20s"}, 20, "min_ttl"),
        (0, {}, 0, "chain"),
    ],
)
def test_what_sets_the_ttl(chain_s: int, keys: dict[str, str], ttl_s: int, by: str) -> None:
    limit = limit_of(found(NEW, ttl_s=chain_s), rule(**keys))
    assert limit is not None
    assert (limit.ttl_s, limit.by) == (ttl_s, by)


def test_what_found_nothing_has_no_ttl() -> None:
    assert limit_of(Walk(rdtype="A", error=ChainBroken("broken")), rule()) is None


def test_what_the_state_file_keeps(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    store.write(path, [Row(wire("lb.test"), A, (OLD,), 60, ("lb.test",), 500.0)])
    kept = kept_in(State(path=path))
    known = kept.of(wire("lb.test"), A, NOW, 530.0).resolution
    assert known is not None
    assert (known.rdatas, known.resolved_at) == ((OLD,), NOW - 30)
    assert kept.of(wire("other.test"), A, NOW, 530.0).lack == "the state file has no answer for it"


def test_why_nothing_is_kept(tmp_path: Path) -> None:
    assert "without [state]" in kept_in(None).of(b"", A, NOW, 0).lack
    assert "has no answer" in kept_in(State(path=tmp_path / "missing.sqlite")).of(b"", A, NOW, 0).lack
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"this is no database" * 100)
    assert "cannot be read" in kept_in(State(path=damaged)).of(b"", A, NOW, 0).lack


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (90061, "1 d 1 h"), (86400, "1 d")],
)
def test_durations(seconds: float, text: str) -> None:
    assert span_text(seconds) == text
