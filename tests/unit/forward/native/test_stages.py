"""What the path in C is told to say is what the ladder says, at every moment."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from flatproxy.config.rules import Check, Checking, Rule
from flatproxy.forward.native.stages import NO_ERROR, SECOND, hinfo_stage, layout, stages_of, stages_of_choice
from flatproxy.table.answers import TargetAnswer
from flatproxy.table.ladder import Resolution, Rung, step
from flatproxy.table.table import Table, question
from flatproxy.wire import edns, records

if TYPE_CHECKING:
    from flatproxy.forward.native._core import Stage

NAME, TARGET = b"\7example\3com\0", b"\2lb\7example\3net\0"
RULE = Rule(target=TARGET, types=frozenset({"A"}), stale_for_s=60, stale_ttl_s=7)
FOUND = Resolution(rdatas=(bytes(4), b"\1\2\3\4"), ttl_s=20, names=(), resolved_at=100.0)
RULES = {
    "as it comes": RULE,
    "with a fallback": evolve(RULE, fallback=(ip_address("192.0.2.9"),)),
    "with another type's fallback": evolve(RULE, fallback=(ip_address("2001:db8::9"),)),
    "never stale": evolve(RULE, stale_for_s=0),
    "a TTL of zero": evolve(RULE, max_ttl_s=0),
    "pinned": evolve(RULE, pin=(ip_address("192.0.2.8"), ip_address("192.0.2.9"))),
    "pinned for another type": evolve(RULE, pin=(ip_address("2001:db8::9"),)),
}
MOMENTS = [100.0, 100.4, 101.0, 101.999, 102.5, 110.0, 119.4, 119.999, 120.5, 150.0, 179.0, 180.5, 500.0]


def _answer(rule: Rule, resolution: Resolution | None) -> TargetAnswer:
    table = Table()
    table.adopt({NAME: rule}, 50.0, 1.0)
    answer = table.get(question(NAME, 1))
    assert isinstance(answer, TargetAnswer)
    answer.target.resolution = resolution
    return answer


def _now(stages: tuple[Stage, ...], now: float) -> Stage | None:
    return next((stage for stage in stages if now * SECOND < stage[0]), None)


def _ttl(stage: Stage, now: float) -> int:
    """Work out the TTL as `ttl_at` of judge.c does."""
    _until, counts_to, least, *_rest = stage
    return max(int(counts_to - now * SECOND) // SECOND, least) if counts_to else least


@pytest.mark.parametrize("resolution", [FOUND, evolve(FOUND, rdatas=()), None], ids=["found", "NODATA", "nothing"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_each_stage_is_the_ladders_rung(rule: Rule, resolution: Resolution | None) -> None:
    stages = stages_of(_answer(rule, resolution))
    for now in MOMENTS:
        expected, said = step(resolution, rule, 1, now), _now(stages, now)
        if expected.rung is Rung.UPSTREAM:
            assert said is None, now
            continue
        assert said is not None, now
        assert (said[5], said[4]) == (layout(1, expected.rdatas), not expected.rdatas), now
        assert _ttl(said, now) == expected.ttl_s, now
        assert said[3] == (edns.EDE_STALE if expected.rung is Rung.STALE else NO_ERROR), now


OTHER = b"\5other\7example\3net\0"
SICK = b"\1\2\3\4"
SEVERAL = Rule(target=TARGET, targets=(TARGET, OTHER), types=frozenset({"A"}), stale_for_s=60)
CHECKED = evolve(SEVERAL, health=Checking(check=Check(kind="tcp", port=1, interval_s=5), minimum=0.1))


@pytest.mark.parametrize("rule", [SEVERAL, evolve(SEVERAL, use="all"), CHECKED], ids=["first", "all", "health"])
@pytest.mark.parametrize("first", [FOUND, evolve(FOUND, rdatas=()), None], ids=["found", "NODATA", "nothing"])
def test_what_is_chosen_is_said_while_it_is_fresh_and_never_longer(rule: Rule, first: Resolution | None) -> None:
    table = Table(sick=lambda _check: {SICK})
    table.adopt({NAME: rule}, 50.0, 1.0)
    answer = table.get(question(NAME, 1))
    assert isinstance(answer, TargetAnswer)
    (one, other) = table.targets.values()
    if first is not None:
        one.settle(first, "addresses", 0.0)
    else:
        one.fail("timeout", "silence", 100.0)
    other.settle(evolve(FOUND, rdatas=(b"\5\6\7\x08",), ttl_s=15), "addresses", 0.0)
    (selection,) = table.selections
    stages = stages_of_choice(selection, 1, 100.0)
    assert stages
    for now in MOMENTS:
        said = _now(stages, now)
        if said is None:
            assert now >= 115.0
            continue
        expected = answer.step(now)
        assert (said[5], said[4]) == (layout(1, expected.rdatas), not expected.rdatas), now
        assert (_ttl(said, now), expected.rung) == (expected.ttl_s, Rung.FRESH), now


def test_nothing_is_said_of_what_is_cold_or_not_fresh() -> None:
    table = Table()
    table.adopt({NAME: SEVERAL}, 100.0, 1.0)
    (selection,) = table.selections
    assert stages_of_choice(selection, 1, 100.5) == ()
    for target in table.targets.values():
        target.fail("timeout", "silence", 100.5)
    assert stages_of_choice(selection, 1, 100.5) == ()


def test_records_of_one_size_rotate_and_others_keep_their_order() -> None:
    assert layout(1, [bytes(4)] * 3)[1:] == (3, 0, 3, 16)
    assert layout(64, [bytes(4), bytes(9)])[1:] == (2, 0, 0, 0)
    assert layout(1, [])[0] == b""


def test_any_is_answered_with_one_record() -> None:
    assert hinfo_stage(300)[5] == (records.hinfo(300), 1, 0, 0, 0)
