from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import dns.edns
import dns.flags
import dns.message
import dns.rdatatype
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.config.rules import Rule
from flatproxy.table.answers import TargetAnswer
from flatproxy.table.any_answers import AnyAnswer
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table, question
from flatproxy.table.target import WAITERS
from flatproxy.wire import records
from flatproxy.wire.types import TYPE_A
from tests.unit.wire.messages import end_of, query

if TYPE_CHECKING:
    from flatproxy.table.answers import Answer

NAME = b"\7example\3com\0"
LB = b"\2lb\4test\0"
SOA = records.record(NAME, 6, 60, b"\2ns\0\4host\0" + bytes(20))
ADDRESSES = tuple(bytes([198, 51, 100, number]) for number in (1, 2, 3))


def answer(rule: Rule, rdatas: tuple[bytes, ...] | None = ADDRESSES, *, soa: bytes | None = SOA) -> TargetAnswer:
    """Return the answer of a target that was resolved at 100.0, or not at all; it is cold until 100.0."""
    table = Table()
    if soa is not None:
        table.zones.found(NAME, soa)
    table.adopt({NAME: evolve(rule, types=frozenset({"A"}))}, 98.2, 1.8)
    made = table.get(question(NAME, TYPE_A))
    assert isinstance(made, TargetAnswer)
    if rdatas is not None:
        made.target.settle(found(*rdatas), "addresses", 0.0)
    return made


def found(*rdatas: bytes, ttl_s: int = 60, at: float = 100.0) -> Resolution:
    return Resolution(rdatas=rdatas, ttl_s=ttl_s, names=("lb.test",), resolved_at=at)


def reply(made: Answer, now: float, message: bytes | None = None, *, udp: bool = True) -> dns.message.Message:
    asked = message or query()
    wire = made.reply(asked, end_of(asked), now, udp=udp)
    assert wire is not None
    return dns.message.from_wire(wire)


RULE = Rule(target=LB)


def test_the_remaining_time_is_served() -> None:
    made = answer(RULE)
    assert [reply(made, now).answer[0].ttl for now in (100.0, 100.9, 101.0, 130.5)] == [60, 59, 59, 29]


def test_addresses_take_turns_in_front() -> None:
    made = answer(RULE)
    firsts = [reply(made, 100.0).answer[0][0].to_text() for _ in range(6)]
    assert firsts[:3] == firsts[3:]
    assert len(set(firsts)) == 3


def test_a_stale_answer_says_so_where_there_is_room_for_it() -> None:
    made = answer(RULE)
    assert reply(made, 110.0, query(use_edns=0)).options == ()
    stale = reply(made, 170.0, query(use_edns=0))
    option = stale.options[0]
    assert isinstance(option, dns.edns.EDEOption)
    assert (option.code, stale.answer[0].ttl) == (3, 30)
    assert reply(made, 170.0).opt is None


def test_a_new_resolution_is_seen_at_once() -> None:
    made = answer(RULE)
    reply(made, 100.0)
    made.target.settle(found(b"\xc0\0\2\7", at=100.1), "addresses", 0.0)
    assert reply(made, 100.1).answer[0][0].to_text() == "192.0.2.7"


def test_no_address_is_nodata_with_the_zones_soa() -> None:
    made = reply(answer(RULE, ()), 100.0)
    assert (made.answer, made.rcode(), made.flags & dns.flags.AA) == ([], 0, dns.flags.AA)
    assert [(rrset.rdtype, rrset.ttl) for rrset in made.authority] == [(dns.rdatatype.SOA, 60)]
    assert reply(answer(RULE, (), soa=None), 100.0).authority == []


def test_the_nameserver_answers_where_nothing_is_known() -> None:
    made = answer(RULE, None)
    assert made.reply(query(), end_of(query()), 100.0, udp=True) is None
    assert made.rrset(100.0) is None


def test_a_cold_target_is_waited_for_before_the_fallback_answers() -> None:
    made = answer(Rule(target=LB, fallback=(ip_address("192.0.2.10"),)), None)
    assert made.reply(query(), end_of(query()), 99.9, udp=True) is None
    assert made.wait(99.9, lambda: None)
    assert reply(made, 100.0).answer[0][0].to_text() == "192.0.2.10"
    assert not made.wait(100.0, lambda: None)


def test_no_more_than_so_many_wait() -> None:
    made = answer(RULE, None)
    waiting = [made.wait(99.0, lambda: None) for _ in range(WAITERS + 1)]
    assert waiting == [True] * WAITERS + [False]
    assert made.target.table.tally.waiting == WAITERS


def test_udp_is_cut_where_tcp_is_whole() -> None:
    made = answer(RULE, tuple(bytes([10, 0, number, 1]) for number in range(100)))
    assert reply(made, 100.0, query(use_edns=0, payload=4096)).flags & dns.flags.TC
    assert len(reply(made, 100.0, udp=False).answer[0]) == 100


def test_any_is_hinfo() -> None:
    made = AnyAnswer(300, Table()).reply(query(rdtype="ANY"), end_of(query(rdtype="ANY")), 0.0, udp=True)
    assert made is not None
    parsed = dns.message.from_wire(made)
    assert [(rrset.rdtype, rrset.ttl, rrset[0].to_text()) for rrset in parsed.answer] == [
        (dns.rdatatype.HINFO, 300, '"RFC8482" ""')
    ]


FORMS = [
    query(),
    query("EXAMPLE.com"),
    query(use_edns=0),
    query(use_edns=0, payload=512, want_dnssec=True),
    query(use_edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType(10), b"12345678")]),
    query(use_edns=1),
]


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.sampled_from(FORMS), st.integers(0, 65_535), st.sampled_from([0.0, 0.0, 0.4, 1.0, 59.0]))),
)
def test_what_was_rendered_is_what_would_be_rendered_now(count: int, asked: list[tuple[bytes, int, float]]) -> None:
    known = tuple(bytes([198, 51, 100, number]) for number in range(count))
    made = answer(RULE, known)
    now = 100.0
    for form, message_id, passed in asked:
        now += passed
        message = message_id.to_bytes(2, "big") + form[2:]
        fresh = answer(RULE, known)
        fresh._turn = made._turn
        wire = made.reply(message, end_of(message), now, udp=True)
        assert wire == fresh.reply(message, end_of(message), now, udp=True)
