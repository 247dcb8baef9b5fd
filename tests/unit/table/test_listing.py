from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.config.rules import NAMES_KEPT, Rule, Rules
from flatproxy.table.ladder import Resolution
from flatproxy.table.listing import NAMES_A_PIECE, Page, matching, worst_first
from flatproxy.table.table import Table
from flatproxy.wire import names
from flatproxy.wire.types import TYPE_A, TYPE_AAAA

if TYPE_CHECKING:
    from collections.abc import Iterable

GUARDING = Rule(target=b"").guarding
ONE = b"\xc0\0\2\1"


def wire(text: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in text.split(".")) + b"\0"


def listed(table: Table, query: str = "") -> list[str]:
    pieces = worst_first(table, matching(query)) if query else worst_first(table)
    return [names.to_text(name) for name in chain.from_iterable(pieces)]


def table_of(*texts: str, types: Iterable[str] = ("A", "AAAA")) -> Table:
    """Each name has a target of its own."""
    table = Table()
    rules = {wire(text): Rule(target=wire(f"lb.{text}"), types=frozenset(types), stale_for_s=100) for text in texts}
    table.adopt(rules, 0.0, 1.0)
    return table


def settle(table: Table, text: str, rdtype: int, at: float = 0.0) -> None:
    known = Resolution(rdatas=(ONE,), ttl_s=60, names=(), resolved_at=at)
    table.targets[wire(f"lb.{text}"), rdtype, GUARDING].settle(known, "addresses", 0.0)


def pass_time(table: Table, now: float) -> None:
    while table.advance(now):
        pass


def test_the_worst_come_first_and_each_name_once() -> None:
    table = table_of("fresh.test", "half.test", "stale.test", "never.test", "other.test")
    for text in ("fresh.test", "other.test"):
        for rdtype in (TYPE_A, TYPE_AAAA):
            settle(table, text, rdtype, 90.0)
    settle(table, "half.test", TYPE_A, 90.0)
    for rdtype in (TYPE_A, TYPE_AAAA):
        settle(table, "stale.test", rdtype)
    pass_time(table, 100.0)
    assert listed(table) == ["half.test", "never.test", "stale.test", "fresh.test", "other.test"]


def test_names_that_share_a_rule_are_all_there_however_many() -> None:
    for count in (1, 2, NAMES_KEPT + 1, NAMES_KEPT + 2, NAMES_A_PIECE + 10):
        rule = Rule(target=wire("lb.test"), types=frozenset({"A"}))
        table = Table()
        table.adopt(Rules({wire(f"n{number}.test"): rule for number in range(count)}), 0.0, 1.0)
        assert sorted(listed(table)) == sorted(f"n{number}.test" for number in range(count))
        table.targets[wire("lb.test"), TYPE_A, GUARDING].settle(
            Resolution(rdatas=(ONE,), ttl_s=60, names=(), resolved_at=0.0), "addresses", 0.0
        )
        assert listed(table) == [f"n{number}.test" for number in range(count)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("shop", ["shop.test", "myshop.test"]),
        ("SHOP", ["shop.test", "myshop.test"]),
        ("shop.test", ["shop.test", "myshop.test"]),
        ("y", ["myshop.test"]),
        (".test", ["shop.test", "myshop.test", "x1.test"]),
        ("x1", ["x1.test"]),
        ("x1.te", ["x1.test"]),
        ("shop1", []),
        ("p.x", []),
        ("-", []),
        ("4", []),
    ],
)
def test_a_text_is_found_in_names(query: str, found: list[str]) -> None:
    assert listed(table_of("shop.test", "myshop.test", "x1.test"), query) == found


_LABELS = st.text("ab1-*_", min_size=1, max_size=60)
_NAMES = st.lists(_LABELS, min_size=1, max_size=4).map(".".join)


@given(name=_NAMES, query=st.text("ab1-*_.", min_size=1, max_size=8))
def test_it_is_found_where_it_is_in_the_text_of_the_name(name: str, query: str) -> None:
    """But for the dots at both ends, which a short name has and its text has not, and for what stands in for a dot."""
    text = names.to_text(wire(name))
    inner = query.strip(".")
    if inner and "*" not in query and inner == query:
        assert bool(matching(query)([wire(name)])) == (query in text)


def test_a_page_is_cut_out_of_the_pieces() -> None:
    letters = [bytes((letter,)) for letter in b"abcdefgh"]
    for first in range(9):
        page = Page(first, 3)
        for piece in ([], letters[:2], letters[2:3], letters[3:]):
            if page.take(piece):
                break
        assert page.found == letters[first : first + 3]


def test_what_changes_while_it_is_gone_through_breaks_nothing() -> None:
    table = table_of(*(f"n{number}.test" for number in range(20)), types=("A",))
    pieces = worst_first(table)
    next(pieces)
    for number in range(20):
        settle(table, f"n{number}.test", TYPE_A)
    assert list(chain.from_iterable(pieces)) == []
