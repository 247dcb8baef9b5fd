from __future__ import annotations

from typing import Any

import pytest

from bench import tables
from bench.verdicts import Target, lost, ratio
from bench.works import DNSDIST, FLATPROXY


def rounds(*values: float, missed: int = 0) -> list[dict[str, Any]]:
    return [{"qps": value, "lost": missed} for value in values]


RESULT = {"works": {"forwarded UDP": {FLATPROXY: rounds(10, 40, 30), DNSDIST: rounds(20, 20, 60, missed=2)}}}
TARGET = Target(work="forwarded UDP", figure="qps", against=DNSDIST, bound=1.25)


def test_the_ratio_is_that_of_the_medians_and_its_spread_that_of_the_rounds() -> None:
    found = ratio(RESULT, TARGET)
    assert (found.value, found.least, found.most) == (1.5, 0.5, 2.0)


def test_a_target_is_met_at_its_bound() -> None:
    assert TARGET.met(1.25)
    assert not TARGET.met(1.24)
    less = Target(work="", figure="cpu_us", against=DNSDIST, bound=1.0, lower_is_better=True)
    assert less.met(1.0)
    assert not less.met(1.01)
    assert Target(work="", figure="qps", against=DNSDIST, bound=None).met(0.1) is None


def test_losses_are_added_up() -> None:
    assert lost(RESULT) == {DNSDIST: 6}


def test_only_what_stands_between_markers_is_replaced() -> None:
    document = "before\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nafter\n"
    filled = tables.filled(document, {"x": r"new \1"})
    assert filled == "before\n<!-- bench:x -->\nnew \\1\n<!-- /bench:x -->\nafter\n"
    with pytest.raises(ValueError, match="0 times"):
        tables.filled(document, {"y": "new"})
