from __future__ import annotations

from typing import Any

import pytest

from bench import tables
from bench.verdicts import BEFORE_TARGETS, Target, lost, ratio
from bench.works import BEFORE, DNSDIST, EVERYWHERE, FLATPROXY, FRESH, PYTHON, RELAY, WORKS, beside_before


def rounds(*values: float, missed: int = 0) -> list[dict[str, Any]]:
    return [{"qps": value, "lost": missed} for value in values]


RESULT = {"works": {"forwarded UDP": {FLATPROXY: rounds(10, 40, 30), DNSDIST: rounds(20, 20, 60, missed=2)}}}
TARGET = Target("forwarded UDP", "qps", DNSDIST, 1.25)


def test_the_ratio_is_that_of_the_medians_and_its_spread_that_of_the_rounds() -> None:
    found = ratio(RESULT, TARGET)
    assert found is not None
    assert (found.value, found.least, found.most) == (1.5, 0.5, 2.0)


def test_a_target_is_met_at_its_bound() -> None:
    assert TARGET.met(1.25)
    assert not TARGET.met(1.24)
    less = Target("", "cpu_us", DNSDIST, 1.0)
    assert less.met(1.0)
    assert not less.met(1.01)
    assert Target("", "qps", DNSDIST, None).met(0.1) is None


def test_what_was_not_measured_is_said_so() -> None:
    absent = Target("forwarded UDP", "cpu_us", RELAY, 1.1)
    assert ratio(RESULT, absent) is None
    assert [row[4:] for row in tables.judged(RESULT, [absent, TARGET])] == [
        ("not measured", "", ""),
        (f"1.50 {tables.TIMES}", "0.50 to 2.00", "met"),
    ]


def test_before_stands_beside_each_flatproxy_that_is_configured_alike() -> None:
    for work in beside_before(WORKS):
        pairs = list(zip(work.servers[::2], work.servers[1::2], strict=True))
        assert pairs
        assert all(before == now.replace(PYTHON, BEFORE) != now for now, before in pairs)
    assert {target.against for target in BEFORE_TARGETS} >= {BEFORE, BEFORE + EVERYWHERE, BEFORE + FRESH}


def test_losses_are_added_up() -> None:
    assert lost(RESULT) == {DNSDIST: 6}


def test_only_what_stands_between_markers_is_replaced() -> None:
    document = "before\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nafter\n"
    filled = tables.filled(document, {"x": r"new \1"})
    assert filled == "before\n<!-- bench:x -->\nnew \\1\n<!-- /bench:x -->\nafter\n"
    with pytest.raises(ValueError, match="0 times"):
        tables.filled(document, {"y": "new"})
