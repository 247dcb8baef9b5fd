"""Lines of name and target that are read in C mean what they mean in Python, where each is looked at by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatproxy.config.flagged import Flagged
from flatproxy.config.include import Included
from flatproxy.config.rules import Rule, Rules
from flatproxy.forward.native import _core
from flatproxy.wire.names import ROOT
from tests.unit.config.test_plain_lines import ZONES, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flatproxy.config.plain_lines import Quick
    from flatproxy.errors import Problem

ROOM = 253
"""Octets of the longest name that is plain, as it is written."""
octets = st.text(st.characters(max_codepoint=0x2FF), max_size=40)
long = st.integers(120, 126).map(lambda count: f"{'a.' * count}example.com lb.test")


def read(
    files: Sequence[Sequence[str]],
    before: Rules | None = None,
    zones: tuple[bytes, ...] = ZONES,
    quick: Quick | None = _core.take_lines,
) -> tuple[Rules, list[Problem]]:
    flagged = Flagged.after(before if before is not None else Rules(), lambda: None, quick)
    flagged.read_names({"wrong.example.com": {"target": 1}, "right.example.com": {"target": "lb.test"}}, zones)
    for number, lines in enumerate(files):
        flagged.read_included(Included(f"{number}.txt", "\n".join(lines)), zones)
    return flagged.rules, flagged.problems


listed = st.lists(
    st.one_of(
        line,
        long,
        octets,
        octets.map(lambda text: f"{text}.example.com lb.test"),
        octets.map(lambda text: f"a.example.com {text}"),
        st.sampled_from(("Wrong.example.com lb.test", "right.example.com. lb.test", "example.com lb.test")),
    ),
    max_size=30,
)


@given(st.lists(listed, max_size=3))
@settings(deadline=None)
def test_the_same_names_rules_and_problems(files: list[list[str]]) -> None:
    # Whatever the file, lines and problems are the same; names and rules matter where there is no problem.
    quickly, problems = read(files)
    slowly, told = read(files, quick=None)
    assert problems == told
    assert list(quickly) == list(slowly)
    if len(problems) == 1:  # the one name that is wrong in every case
        assert list(quickly.items()) == list(slowly.items())


def test_every_plain_line_is_taken_in_c() -> None:
    """A case for each kind: without this, all could be left to Python and nobody would see it."""
    rule = Rule(target=b"\2lb\4test\0")
    rules: dict[bytes, Rule] = {}
    text = (
        "a.example.com lb.test\nB.Example.COM.\tlb.test  \r\n x-1._y.sub.example.net   lb.test\nsub.example.net lb.test"
    )
    assert _core.take_lines(text, 0, frozenset(ZONES), {"lb.test": rule}, {}, {}, rules) == len(text)
    assert list(rules) == [
        b"\1a\7example\3com\0",
        b"\1b\7example\3com\0",
        b"\3x-1\2_y\3sub\7example\3net\0",
        b"\3sub\7example\3net\0",
    ]
    assert all(each is rule for each in rules.values())


@pytest.mark.parametrize(
    "left",
    [
        "",
        "# a",
        "b.example.com",
        "b.example.com lb.test more",
        "b.example.com lb.test # so",
        "b.example.com other.test",
        "b.example.net lb.test",
        "b..example.com lb.test",
        ".example.com lb.test",
        "*.example.com lb.test",
        "192.0.2.1 lb.test",
        "a.example.com lb.test",
        "wrong.example.com lb.test",
        "lb.example.com lb.example.com",
        "n" * 64 + ".example.com lb.test",
        "b.example.com\vlb.test",
    ],
)
def test_what_is_not_plain_new_and_right_is_left(left: str) -> None:
    lines = f"a.example.com lb.test\n{left}\nc.example.com lb.test"
    targets = {"lb.test": Rule(target=b"\2lb\4test\0"), "lb.example.com": Rule(target=b"\2lb\7example\3com\0")}
    wrong = {b"\5wrong\7example\3com\0": "names.txt"}
    rules: dict[bytes, Rule] = {}
    at = _core.take_lines(lines, 0, frozenset(ZONES), targets, {}, wrong, rules)
    assert lines[at:].startswith(f"{left}\nc.")
    assert list(rules) == [b"\1a\7example\3com\0"]


def test_the_longest_name() -> None:
    longest = "a." * ((ROOM - len("example.com")) // 2) + "example.com"
    assert len(longest) == ROOM
    names, problems = read([["x.example.com lb.test", f"{longest} lb.test"]])
    assert (len(names), len(problems)) == (3, 1)
    assert max(map(len, names)) == ROOM + 2


def test_names_are_the_same_objects_as_before() -> None:
    lines = [f"n{number}.example.com lb.test" for number in range(100)]
    before, _problems = read([lines])
    after, _problems = read([[*reversed(lines), "new.example.com lb.test"]], before)
    assert len(after) == len(before) + 1
    known = {name: name for name in before}
    assert all(name is known[name] for name in after if name in known)


def test_the_root_serves_every_name() -> None:
    names, problems = read(
        [["a.test lb.test", "b.example.org lb.test", "192.0.2.1 lb.test", "test lb.test"]], zones=(ROOT,)
    )
    assert (len(names), len(problems)) == (4, 2), "an address is no name"


def test_what_is_no_ascii_or_no_place_is_an_error() -> None:
    for text, at in (("\xe4.example.com lb.test", 0), ("a.example.com lb.test", -1)):
        with pytest.raises(ValueError, match="ASCII is needed"):
            _core.take_lines(text, at, frozenset(ZONES), {}, {}, {}, {})
