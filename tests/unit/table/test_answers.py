from __future__ import annotations

from ipaddress import ip_address

import dns.edns
import dns.flags
import dns.message
import dns.rdatatype
import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.config.settings import Rule
from flatproxy.table import answers
from flatproxy.table.ladder import Resolution, Rung
from flatproxy.table.status import statuses
from flatproxy.wire import records
from flatproxy.wire.peek import TYPE_A, TYPE_AAAA, TYPE_ANY
from tests.unit.wire.messages import end_of, query

NAME = b"\7example\3com\0"
LB = b"\2lb\4test\0"
SOA = records.record(NAME, 6, 60, b"\2ns\0\4host\0" + bytes(20))
ADDRESSES = tuple(bytes([198, 51, 100, number]) for number in (1, 2, 3))


@define
class _Zones:
    known: bytes | None = SOA

    def soa(self, name: bytes) -> bytes | None:
        return self.known if name == NAME else None


def answer(rule: Rule, rdatas: tuple[bytes, ...] | None = ADDRESSES, *, zones: _Zones | None = None) -> answers.Answer:
    resolution = (
        rdatas if rdatas is None else Resolution(rdatas=rdatas, ttl_s=60, names=("lb.test",), resolved_at=100.0)
    )
    target = answers.Target(LB, TYPE_A, cold_until=0.0, resolution=resolution)
    return answers.Answer(target, rule, zones or _Zones(), NAME)


def reply(made: answers.Answer, now: float, message: bytes | None = None, *, udp: bool = True) -> dns.message.Message:
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
    made.target.resolution = Resolution(rdatas=(b"\xc0\0\2\7",), ttl_s=60, names=("lb.test",), resolved_at=100.1)
    assert reply(made, 100.1).answer[0][0].to_text() == "192.0.2.7"


def test_no_address_is_nodata_with_the_zones_soa() -> None:
    made = reply(answer(RULE, ()), 100.0)
    assert (made.answer, made.rcode(), made.flags & dns.flags.AA) == ([], 0, dns.flags.AA)
    assert [(rrset.rdtype, rrset.ttl) for rrset in made.authority] == [(dns.rdatatype.SOA, 60)]
    assert reply(answer(RULE, (), zones=_Zones(None)), 100.0).authority == []


def test_the_nameserver_answers_where_nothing_is_known() -> None:
    made = answer(RULE, None)
    assert made.reply(query(), end_of(query()), 100.0, udp=True) is None
    assert made.rrset(100.0) is None


def test_a_cold_target_is_waited_for_before_the_fallback_answers() -> None:
    made = answer(Rule(target=LB, fallback=(ip_address("192.0.2.10"),)), None)
    made.target.cold_until = 100.0
    assert made.reply(query(), end_of(query()), 99.9, udp=True) is None
    assert made.wait(99.9, lambda: None)
    assert reply(made, 100.0).answer[0][0].to_text() == "192.0.2.10"
    assert not made.wait(100.0, lambda: None)


def test_no_more_than_so_many_wait() -> None:
    made = answer(RULE, None)
    made.target.cold_until = 100.0
    waiting = [made.wait(99.0, lambda: None) for _ in range(answers.WAITERS + 1)]
    assert waiting == [True] * answers.WAITERS + [False]


def test_udp_is_cut_where_tcp_is_whole() -> None:
    made = answer(RULE, tuple(bytes([10, 0, number, 1]) for number in range(100)))
    assert reply(made, 100.0, query(use_edns=0, payload=4096)).flags & dns.flags.TC
    assert len(reply(made, 100.0, udp=False).answer[0]) == 100


def test_any_is_hinfo() -> None:
    made = answers.AnyAnswer(300).reply(query(rdtype="ANY"), end_of(query(rdtype="ANY")), 0.0, udp=True)
    assert made is not None
    parsed = dns.message.from_wire(made)
    assert [(rrset.rdtype, rrset.ttl, rrset[0].to_text()) for rrset in parsed.answer] == [
        (dns.rdatatype.HINFO, 300, '"RFC8482" ""')
    ]


class TestTable:
    def target_for(self, name: bytes, rdtype: int) -> answers.Target:
        return answers.Target(name, rdtype, cold_until=0.0)

    def test_equal_rules_share_an_answer(self) -> None:
        other = b"\4shop" + NAME
        table = answers.build({NAME: RULE, other: Rule(target=LB)}, self.target_for, _Zones())
        shared = table[answers.question(NAME, TYPE_A)]
        assert shared is table[answers.question(other, TYPE_A)]
        assert isinstance(shared, answers.Answer)
        assert (shared.names, shared.first_name) == (2, NAME)
        assert len(table) == 6

    def test_types_and_any_are_as_the_rule_says(self) -> None:
        rule = Rule(target=LB, types=frozenset({"AAAA"}), any="forward")
        assert set(answers.build({NAME: rule}, self.target_for, _Zones())) == {answers.question(NAME, TYPE_AAAA)}
        assert answers.question(NAME, TYPE_ANY) in answers.build({NAME: RULE}, self.target_for, _Zones())

    def test_no_other_question_has_an_answer(self) -> None:
        table = answers.build({NAME: Rule(target=LB, types=frozenset({"A"}))}, self.target_for, _Zones())
        key = answers.question(NAME, TYPE_A)
        others = [
            answers.question(NAME, TYPE_AAAA),
            answers.question(NAME, 15),
            answers.question(b"\4shop" + NAME, TYPE_A),
            key[:-2] + b"\0\3",
            key[1:],
            b"",
        ]
        assert key in table
        assert [other for other in others if other in table or table.get(other) is not None] == []
        assert table.get(b"", "nothing") == table.get(others[1], "nothing") == "nothing"
        with pytest.raises(KeyError):
            table[others[0]]

    def test_what_is_iterated_over_is_what_is_found(self) -> None:
        rules = {NAME: RULE, b"\4shop" + NAME: Rule(target=LB, types=frozenset({"AAAA"}), any="forward")}
        table = answers.build(rules, self.target_for, _Zones())
        assert len(list(table)) == len(table) == 4
        assert answers.question(b"\4shop" + NAME, TYPE_A) not in table
        assert {key: table.get(key) for key in table} == dict(table)

    def test_names_of_one_rule_cost_one_answer(self) -> None:
        made: list[tuple[bytes, int]] = []

        def target_for(name: bytes, rdtype: int) -> answers.Target:
            made.append((name, rdtype))
            return answers.Target(name, rdtype, cold_until=0.0)

        table = answers.build(dict.fromkeys((bytes([1, 97 + n]) + NAME for n in range(20)), RULE), target_for, _Zones())
        assert sorted(made) == [(LB, TYPE_A), (LB, TYPE_AAAA)]
        assert [answer.names for answer in table.answers] == [20, 20]

    def test_rungs_are_carried_over_a_reload(self) -> None:
        before = answers.build({NAME: RULE}, self.target_for, _Zones())
        for answer in before.answers:
            answer.rung = Rung.STALE
        shop = b"\4shop" + NAME
        after = answers.build({NAME: Rule(target=LB, max_ttl_s=7), shop: RULE}, self.target_for, _Zones())
        after.carry(before)
        found = {answer.first_name: answer.rung for answer in after.answers}
        assert found == {NAME: Rung.STALE, shop: None}


@pytest.mark.parametrize(
    ("now", "rung", "left", "addresses"),
    [(110.0, "fresh", 50.0, 3), (170.0, "stale", 0.0, 3), (100.0 + 60 + 86_400, "upstream", 0.0, 0)],
)
def test_the_status_says_what_is_answered(now: float, rung: str, left: float, addresses: int) -> None:
    made = answer(Rule(target=LB, types=frozenset({"A"})))
    (status,) = statuses({NAME: made.rule}, {answers.question(NAME, TYPE_A): made}, now)
    assert (status.name, status.rdtype, status.target, status.chain) == ("example.com", "A", "lb.test", ("lb.test",))
    assert (status.rung, status.ttl_left_s, len(status.addresses)) == (rung, left, addresses)
    assert (status.age_s, status.stale_left_s) == ((now - 100, 160 + 86_400 - now) if addresses else (None, None))


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
def test_a_reply_that_was_kept_is_the_one_that_would_be_made(count: int, asked: list[tuple[bytes, int, float]]) -> None:
    made = answer(RULE, tuple(bytes([198, 51, 100, number]) for number in range(count)))
    now = 100.0
    for form, message_id, passed in asked:
        now += passed
        message = message_id.to_bytes(2, "big") + form[2:]
        fresh = answer(RULE, made.target.resolution.rdatas if made.target.resolution else None)
        fresh._turn = made._turn
        wire = made.reply(message, end_of(message), now, udp=True)
        assert wire == fresh.reply(message, end_of(message), now, udp=True)
