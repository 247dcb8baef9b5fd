"""HTTPS answers: records that hold at the flagged name, whatever becomes of its addresses meanwhile."""

from __future__ import annotations

import dns.message
import dns.rdata
import pytest
from attrs import evolve

from flatproxy.config.guarding import NO_GUARDING, Guarding
from flatproxy.config.rules import Check, Checking, Rule
from flatproxy.table.ladder import Resolution, Rung
from flatproxy.table.services import ServiceAnswer
from flatproxy.table.table import Table, question
from flatproxy.wire.types import TYPE_A, TYPE_AAAA, TYPE_HTTPS
from tests.unit.wire.messages import end_of, query

NAME = b"\7example\3com\0"
LB, US = b"\2lb\4test\0", b"\2us\4test\0"
RULE = Rule(target=LB, types=frozenset({"A", "AAAA", "HTTPS"}))
ONE, OTHER = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])


def https(text: str) -> bytes:
    return dns.rdata.from_text("IN", "HTTPS", text).to_wire() or b""


def table(rule: Rule = RULE) -> Table:
    made = Table()
    made.adopt({NAME: rule}, 98.2, 1.8)
    return made


def settle(
    made: Table,
    rdtype: int,
    *rdatas: bytes,
    ttl_s: int = 60,
    at: float = 100.0,
    end: str = "lb.test",
    name: bytes = LB,
) -> None:
    resolution = Resolution(
        rdatas=rdatas, ttl_s=ttl_s, names=("lb.test", end)[: 1 + (end != "lb.test")], resolved_at=at
    )
    made.targets[name, rdtype, NO_GUARDING if rdtype == TYPE_HTTPS else Guarding()].settle(resolution, "addresses", 0.0)


def told(made: Table, now: float = 100.0) -> list[str]:
    answer = made.get(question(NAME, TYPE_HTTPS))
    assert answer is not None
    asked = query(rdtype="HTTPS")
    wire = answer.reply(asked, end_of(asked), now, udp=True)
    assert wire is not None
    return [rdata.to_text() for rrset in dns.message.from_wire(wire).answer for rdata in rrset]


def test_hints_stay_where_they_are_answered() -> None:
    made = table()
    settle(made, TYPE_A, ONE, OTHER)
    settle(made, TYPE_HTTPS, https('1 . alpn="h2" ipv4hint="192.0.2.1"'))
    assert told(made) == ['1 . alpn="h2" ipv4hint="192.0.2.1"']


def test_hints_go_as_soon_as_the_addresses_have_moved() -> None:
    made = table()
    settle(made, TYPE_A, ONE)
    settle(made, TYPE_HTTPS, https('1 . alpn="h2" ipv4hint="192.0.2.1"'))
    assert told(made) == ['1 . alpn="h2" ipv4hint="192.0.2.1"']
    settle(made, TYPE_A, OTHER)
    assert told(made) == ['1 . alpn="h2"']
    settle(made, TYPE_A, ONE)
    assert told(made) == ['1 . alpn="h2" ipv4hint="192.0.2.1"']


def test_a_hint_at_a_sick_address_goes() -> None:
    sick: set[bytes] = set()
    made = table(evolve(RULE, health=Checking(check=Check(kind="tcp", port=1))))
    made.sick = lambda _check: sick
    settle(made, TYPE_A, ONE, OTHER)
    settle(made, TYPE_AAAA)
    settle(made, TYPE_HTTPS, https('1 . alpn="h2" ipv4hint="192.0.2.1"'))
    assert told(made) == ['1 . alpn="h2" ipv4hint="192.0.2.1"']
    sick.add(ONE)
    made.selections[0].reconsider(100.0)
    assert told(made) == ['1 . alpn="h2"']


def test_records_of_the_target_that_is_answered_and_of_no_other() -> None:
    made = table(evolve(RULE, targets=(LB, US)))
    for name, address in ((LB, ONE), (US, OTHER)):
        settle(made, TYPE_A, address, name=name)
        settle(made, TYPE_AAAA, name=name)
    settle(made, TYPE_HTTPS, https('1 . alpn="h2"'))
    settle(made, TYPE_HTTPS, https('1 . alpn="h3"'), name=US)
    assert told(made) == ['1 . alpn="h2"']
    settle(made, TYPE_A)
    assert told(made) == ['1 . alpn="h3"']
    together = table(evolve(RULE, targets=(LB, US), use="all"))
    for name, address in ((LB, ONE), (US, OTHER)):
        settle(together, TYPE_A, address, name=name)
        settle(together, TYPE_AAAA, name=name)
        settle(together, TYPE_HTTPS, https('1 . alpn="h2"'), name=name)
    assert told(together) == []
    settle(together, TYPE_A)
    assert told(together) == ['1 . alpn="h2"']


@pytest.mark.parametrize(("end", "target"), [("lb.test", "."), ("node.test", "lb.test.")])
def test_the_owner_that_was_meant(end: str, target: str) -> None:
    """The records were found at lb.test: where the addresses are another name's, it is named."""
    made = table()
    settle(made, TYPE_A, ONE, end=end)
    settle(made, TYPE_HTTPS, https('1 . alpn="h2"'), https('2 other.test. alpn="h3"'))
    assert sorted(told(made)) == [f'1 {target} alpn="h2"', '2 other.test. alpn="h3"']


def test_a_target_without_is_nodata_and_so_is_one_that_fails() -> None:
    made = table()
    settle(made, TYPE_HTTPS)
    assert told(made) == []
    failing = table()
    failing.targets[LB, TYPE_HTTPS, NO_GUARDING].fail("timeout", "silence", 100.0)
    assert told(failing) == []
    answer = failing.get(question(NAME, TYPE_HTTPS))
    assert isinstance(answer, ServiceAnswer)
    assert answer.rung is Rung.FALLBACK


def test_a_stale_one_is_answered_and_then_none() -> None:
    made = table()
    settle(made, TYPE_A, ONE)
    settle(made, TYPE_HTTPS, https('1 . alpn="h2"'))
    assert told(made, 161.0) == ['1 . alpn="h2"']
    assert told(made, 162.0 + RULE.stale_for_s) == []


def test_without_addresses_of_its_own_no_hint_is_kept() -> None:
    made = table(Rule(target=LB, types=frozenset({"HTTPS"})))
    settle(made, TYPE_HTTPS, https('1 . alpn="h2" ipv4hint="192.0.2.1"'))
    assert told(made) == ['1 lb.test. alpn="h2"']
    assert [key[1] for key in made.targets] == [TYPE_HTTPS]
