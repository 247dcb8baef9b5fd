from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from attrs import evolve, field, frozen

from flatproxy.demo.view import Changes, age_text, picture
from flatproxy.observe.sources import RUNGS

if TYPE_CHECKING:
    from collections.abc import Mapping

WALL = 1_700_000_000.0


@frozen(kw_only=True)
class Status:
    name: str = "example.com"
    rdtype: str = "A"
    target: str = "shop-lb.cdn.example.net"
    rung: str = "fresh"
    absent: bool = False
    ttl_left_s: float = 4.0
    age_s: float | None = 1.0
    stale_left_s: float | None = 86_400.0
    rdatas: tuple[str, ...] = ("198.51.100.1", "203.0.113.1")
    changed_at: float | None = WALL - 12.9
    chain: tuple[str, ...] = ("shop-lb.cdn.example.net", "edge.cdn.example.net", "lb-1.cdn.example.net")
    outcomes: Mapping[str, int] = field(factory=dict)


A = Status()
AAAA = Status(rdtype="AAAA", rdatas=("2001:db8:1::80", "2001:db8:1::81"))
ADDRESSES = "        198.51.100.1 203.0.113.1"


def _plain(line: str) -> str:
    return re.sub(r"\x1b\[\d*m", "", line)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-3, "0 s"), (0.9, "0 s"), (59.9, "59 s"), (60, "1 min"), (3_599, "59 min"), (86_399, "23 h"), (200_000, "2 d")],
)
def test_durations(seconds: float, said: str) -> None:
    assert age_text(seconds) == said


def test_a_name_with_both_types() -> None:
    assert picture([A, AAAA], WALL, 80) == [
        "example.com",
        "  chain shop-lb.cdn.example.net → edge.cdn.example.net → lb-1.cdn.example.net",
        "  A     fresh     TTL 4 s     changed 12 s ago",
        ADDRESSES,
        "  AAAA  fresh     TTL 4 s     changed 12 s ago",
        "        2001:db8:1::80 2001:db8:1::81",
    ]


def test_types_with_different_chains_show_both() -> None:
    lines = picture([A, evolve(AAAA, chain=("shop-lb.cdn.example.net",))], WALL, 80)
    assert [line for line in lines if line.startswith("  chain")] == [
        "  chain shop-lb.cdn.example.net → edge.cdn.example.net → lb-1.cdn.example.net",
        "  chain shop-lb.cdn.example.net",
    ]


def test_names_stand_apart() -> None:
    lines = picture([A, AAAA, evolve(A, name="shop.example.com")], WALL, 80)
    assert lines[6:8] == ["", "shop.example.com"]


def test_no_name_is_no_line() -> None:
    assert picture([], WALL, 80) == []


@pytest.mark.parametrize(
    ("status", "rows"),
    [
        (evolve(A, changed_at=None), ["  A     fresh     TTL 4 s", ADDRESSES]),
        (
            evolve(A, rung="stale", ttl_left_s=0.0, age_s=190.0, stale_left_s=7_300.0),
            ["  A     stale     resolved 3 min ago  ends in 2 h  changed 12 s ago", ADDRESSES],
        ),
        (
            evolve(A, rung="fallback", age_s=None, stale_left_s=None, rdatas=("192.0.2.10",), changed_at=None),
            ["  A     fallback", "        192.0.2.10"],
        ),
        (
            evolve(A, rung="upstream", age_s=None, stale_left_s=None, rdatas=(), changed_at=None),
            ["  A     upstream", "        the nameserver's own answer"],
        ),
        (
            evolve(AAAA, absent=True, rdatas=(), changed_at=None),
            ["  AAAA  fresh     TTL 4 s", "        no address of this type"],
        ),
    ],
)
def test_each_rung(status: Status, rows: list[str]) -> None:
    assert picture([status], WALL, 80)[2:] == rows


@pytest.mark.parametrize("width", [10, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    many = evolve(
        AAAA, name=f"{'n' * 63}.example.com", rdatas=tuple(f"2001:db8:{number:x}::80" for number in range(20))
    )
    long = evolve(A, chain=(f"{'x' * 63}.{'y' * 63}.example.net", *A.chain))
    lines = picture([long, many], WALL, width)
    assert max(map(len, lines)) <= max(width, 40)
    assert sum(line.count("2001:db8:") for line in lines) == 20
    cut = f"{'x' * 63}.{'y' * 63}.example.net" not in "\n".join(lines)
    assert cut == (width < 200)
    assert ("…" in "\n".join(lines)) == cut


@pytest.mark.parametrize("rung", RUNGS)
def test_colours_change_nothing_but_colours(rung: str) -> None:
    statuses = [evolve(A, rung=rung), AAAA]
    coloured = picture(statuses, WALL, 80, coloured=True)
    assert [_plain(line) for line in coloured] == picture(statuses, WALL, 80)
    assert "\x1b[1mexample.com\x1b[0m" in coloured
    assert any(f"m{rung}\x1b[0m" in line for line in coloured)


def test_everything_is_a_change_at_first_then_only_changes_are() -> None:
    changes = Changes()
    first = changes.since([A, AAAA], WALL)
    chain = "shop-lb.cdn.example.net → edge.cdn.example.net → lb-1.cdn.example.net"
    assert [line.split("  ", 1)[1] for line in first] == [
        f"example.com A    198.51.100.1 203.0.113.1; fresh, TTL 4 s; {chain}",
        f"example.com AAAA 2001:db8:1::80 2001:db8:1::81; fresh, TTL 4 s; {chain}",
    ]
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in first)
    assert changes.since([evolve(A, ttl_left_s=1.0, age_s=4.0), AAAA], WALL) == []
    rotated = evolve(A, rdatas=A.rdatas[::-1])
    assert changes.since([rotated, AAAA], WALL) == []
    (moved,) = changes.since([evolve(A, rdatas=("198.51.100.2",)), AAAA], WALL)
    assert "example.com A    198.51.100.2; fresh" in moved
    (fell,) = changes.since([evolve(A, rdatas=("198.51.100.2",), rung="stale"), AAAA], WALL)
    assert "198.51.100.2; stale; shop-lb" in fell


def test_a_brief_change_leaves_the_chain_out() -> None:
    (line,) = Changes(briefly=True).since([A], WALL)
    assert line.endswith("example.com A    198.51.100.1 203.0.113.1; fresh, TTL 4 s")
