from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from flatproxy.config.rules import Check, Checking, Rule
from flatproxy.observe.change_log import LINES_A_SECOND, ChangeLog
from flatproxy.table.changes import HealthChanged
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.table.target import Target

NAME = b"\7example\3com\0"
LB = b"\2lb\4test\0"


@implementer(ILogObserver)
class _Observer:
    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, event: dict[str, Any]) -> None:
        self.seen.append(event)


@pytest.fixture
def events() -> Iterator[list[dict[str, Any]]]:
    observer = _Observer()
    globalLogPublisher.addObserver(observer)
    yield observer.seen
    globalLogPublisher.removeObserver(observer)


@pytest.fixture
def table() -> Table:
    table = Table()
    table.feed.subscribe(ChangeLog())
    table.adopt({NAME: Rule(target=LB, types=frozenset({"A"}))}, 0.0, 1.8)
    return table


def target_of(table: Table) -> Target:
    (target,) = table.targets.values()
    return target


def settle(table: Table, *rdatas: bytes, at: float) -> None:
    resolution = Resolution(rdatas=rdatas, ttl_s=60, names=("lb.test",), resolved_at=at)
    target_of(table).settle(resolution, "addresses", 0.0)


def said(events: list[dict[str, Any]], event: str) -> list[tuple[Any, Any]]:
    return [(each.get("old"), each.get("new")) for each in events if each.get("event") == event]


def test_addresses_and_rungs_are_said_once(events: list[dict[str, Any]], table: Table) -> None:
    settle(table, b"\x09\x09\x09\x01", at=0.0)
    settle(table, b"\x09\x09\x09\x01", at=50.0)
    while table.advance(110.0):
        pass
    settle(table, b"\x09\x09\x09\x02", at=120.0)
    assert said(events, "address_change") == [([], ["9.9.9.1"]), (["9.9.9.1"], ["9.9.9.2"])]
    assert said(events, "rung_change") == [("fresh", "stale"), ("stale", "fresh")]


def test_of_failures_in_a_row_the_first_is_said(events: list[dict[str, Any]], table: Table) -> None:
    for now in (1.0, 2.0, 3.0):
        target_of(table).fail("timeout", "nobody answers", now)
    assert [event["reason"] for event in events if event.get("event") == "target_failed"] == ["nobody answers"]
    assert said(events, "rung_change") == [("none", "upstream")]


def test_refused_addresses_of_a_target_are_one_line(events: list[dict[str, Any]], table: Table) -> None:
    for third in (0, 1):
        target_of(table).refuse({bytes([10, 0, third, number]): "in 10.0.0.0/8 (private)" for number in range(50)})
    (line,) = [event for event in events if event.get("event") == "address_refused"]
    assert line["address"] == "10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3"
    said = line["log_format"].format(**line)
    assert said.startswith("lb.test has the address 10.0.0.0")
    assert said.endswith(" and 46 more, which is left out, being in 10.0.0.0/8 (private)")


def test_a_target_with_too_many_addresses_is_said_once(events: list[dict[str, Any]], table: Table) -> None:
    for second in (1, 2):
        rdatas = tuple(bytes([9, second, number >> 8, number & 255]) for number in range(2_000))
        found = Resolution(rdatas=rdatas, ttl_s=60, names=("lb.test",), resolved_at=float(second), left_out=1_000)
        target_of(table).settle(found, "addresses", 0.0)
    (line,) = [event for event in events if event.get("event") == "addresses_cut"]
    assert (line["target"], line["type"], line["found"], line["answered"]) == ("lb.test", "A", 3_000, 2_000)
    assert table.tally.left_out == 1_000
    settle(table, b"\x09\x09\x09\x01", at=3.0)
    assert table.tally.left_out == 0


def test_a_zone_that_is_signed_is_said(events: list[dict[str, Any]], table: Table) -> None:
    table.zones.found(NAME, b"")
    table.zones.judged(NAME, signed=True)
    table.zones.judged(NAME, signed=False)
    assert [event["zone"] for event in events if event.get("event") == "zone_signed"] == ["example.com"]


def test_a_flood_is_counted_and_not_written(events: list[dict[str, Any]]) -> None:
    now = [7.5]
    table = Table()
    table.feed.subscribe(ChangeLog(clock=lambda: now[0]))
    names = [b"\4" + f"{number:04}".encode() + NAME for number in range(3 * LINES_A_SECOND)]
    table.adopt({name: Rule(target=name, types=frozenset({"A"})) for name in names}, 0.0, 1.8)
    targets = list(table.targets.values())
    for target in targets[:-1]:
        target.fail("timeout", "no answer", 0.0)
    written = [each for each in events if each.get("event") in ("target_failed", "rung_change")]
    assert len(written) == LINES_A_SECOND
    now[0] = 8.0
    targets[-1].fail("timeout", "no answer", 0.0)
    (said_so,) = [each for each in events if each.get("event") == "changes_unwritten"]
    assert said_so["count"] == 2 * (len(targets) - 1) - LINES_A_SECOND


def test_another_target_and_the_health_of_addresses_have_a_line_each(events: list[dict[str, Any]]) -> None:
    eu, us = b"\2eu\4test\0", b"\2us\4test\0"
    check = Check(kind="https", port=443, host="example.com")
    rule = Rule(target=eu, targets=(eu, us), types=frozenset({"A"}), health=Checking(check=check))
    table = Table()
    table.feed.subscribe(ChangeLog())
    table.adopt({NAME: rule}, 0.0, 1.8)
    for target, number in zip(table.targets.values(), (1, 2), strict=True):
        found = Resolution(rdatas=(bytes([9, 9, 9, number]),), ttl_s=60, names=("lb.test",), resolved_at=1.0)
        target.settle(found, "addresses", 0.0)
    assert said(events, "target_change") == []
    assert said(events, "address_change") == [([], ["9.9.9.1"])]
    sick = {bytes([9, 9, 9, 1])}
    table.sick = lambda _check: sick
    (selection,) = table.selections
    table.feed.publish(HealthChanged(check, bytes([9, 9, 9, 1]), False, "status 500", (selection,)))
    selection.reconsider(2.0)
    sick.add(bytes([9, 9, 9, 2]))
    selection.reconsider(3.0)
    assert said(events, "target_change") == [("eu.test", "us.test"), ("us.test", "eu.test")]
    assert said(events, "address_change")[1:] == [(["9.9.9.1"], ["9.9.9.2"]), (["9.9.9.2"], ["9.9.9.1"])]
    told = [
        each["log_format"].format(**each) for each in events if each.get("event") in ("health_change", "target_change")
    ]
    assert told == [
        "9.9.9.1 https port 443 as example.com: sick (status 500), for example.com",
        "example.com: eu.test → us.test",
        "example.com: us.test → eu.test, all of its addresses, too few being well",
    ]
