"""Lines that are read quickly mean what they mean when they are read one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flatproxy.config import plain_lines
from flatproxy.config.flagged import Flagged
from flatproxy.config.include import Included

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flatproxy.errors import Problem

ZONES = (b"\7example\3com\0", b"\3sub\7example\3net\0")
LABELS = ("a", "B", "-", "_x", "0", "n" * 63, "n" * 64, "", "*", "@", "\\065", "\xe4", "a:b", "1.2")
SUFFIXES = ("example.com", "Example.COM.", "sub.example.net", "example.net", "1", "", "a" * 63 + ".example.com", ".com")
TARGETS = ("lb.test", "LB.test.", "a.example.com", "*.test", "192.0.2.1", "lb.test#", "")
line = st.one_of(
    st.tuples(
        st.sampled_from(LABELS),
        st.sampled_from(SUFFIXES),
        st.sampled_from((" ", "\t", "  #", "")),
        st.sampled_from(TARGETS),
    ).map(lambda parts: f"{parts[0]}.{parts[1]}{parts[2]}{parts[3]}"),
    st.sampled_from(("", "# a.example.com lb.test", "a.example.com lb.test # so", "a.example.com lb.test more", "\r")),
)


def read(lines: Sequence[str]) -> tuple[list[tuple[bytes, bytes]], list[Problem]]:
    flagged = Flagged(lambda: None)
    flagged.read_included(Included("names.txt", "\n".join(lines)), ZONES)
    return [(name, rule.target) for name, rule in flagged.rules.items()], flagged.problems


@given(st.lists(line, max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_quickly_and_one_by_one_are_the_same(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    quickly = read(lines)
    with monkeypatch.context() as patch:
        patch.setattr(plain_lines, "_MOST_SUFFIXES", 0)
        assert read(lines) == quickly


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
@pytest.mark.parametrize("count", [0, 1, 2_000])
def test_each_line_has_its_number(count: int, end: str) -> None:
    lines = [f"n{number}.example.com lb.test" for number in range(count)]
    content = "\n".join(lines) + end
    told = list(Included("names.txt", content).lines())
    assert told == list(enumerate(content.split("\n")[: -1 if content.endswith("\n") or not content else None], 1))
