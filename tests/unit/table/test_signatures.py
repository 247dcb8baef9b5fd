"""Answers with DO=1 in a signed zone: what is signed, with which original TTL, and what passes to the nameserver."""

from __future__ import annotations

from ipaddress import ip_address

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest
from attrs import evolve

from flatproxy.config.guarding import Guarding
from flatproxy.config.rules import Check, Checking, Rule
from flatproxy.signing import keys
from flatproxy.signing.rrsig import sign
from flatproxy.signing.zone import SignedSoa, ZoneSigning
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table, question
from flatproxy.wire.types import TYPE_A, TYPE_AAAA, TYPE_ANY
from tests.unit.wire.messages import end_of, query

ZONE = b"\7example\3com\0"
LB = b"\2lb\4test\0"
WALL = 1_800_000_000.0
KEY = keys.generate(ZONE, "ECDSAP256SHA256")
OTHER = keys.generate(ZONE, "ECDSAP256SHA256")
ADDRESSES = tuple(bytes([198, 51, 100, number]) for number in (1, 2, 3))
SOA_RDATA = b"\2ns\0\4host\0" + bytes(16) + (60).to_bytes(4, "big")
RULE = Rule(target=LB, fallback=(ip_address("192.0.2.9"),))
EVERYTHING = frozenset({TYPE_A, TYPE_AAAA, 15})


def signing(*, there: frozenset[int] = EVERYTHING, soa_left_s: float = 86_400.0) -> ZoneSigning:
    """Return what signs with an active key."""
    made = ZoneSigning.of(ZONE, (KEY,))
    for moment in (WALL - 200, WALL - 100):
        made.learn([KEY.rdata, OTHER.rdata], 60, moment)
    made.there[ZONE] = there
    theirs = sign((OTHER,), ZONE, 6, 300, (SOA_RDATA,), now=WALL)
    made.soa = SignedSoa(rdata=SOA_RDATA, rrsigs=theirs.rdatas, ttl_s=60, until=WALL + soa_left_s)
    return made


def table(made: ZoneSigning, rule: Rule = RULE, **rdatas: tuple[bytes, ...]) -> Table:
    """Return a table whose targets were resolved at 100.0."""
    of = Table(wall=lambda: WALL)
    of.zones.sign_with({ZONE: made})
    of.adopt({ZONE: rule}, 98.2, 1.8)
    for text, number in (("A", TYPE_A), ("AAAA", TYPE_AAAA)):
        found = rdatas.get(text, ADDRESSES if text == "A" else ())
        resolution = Resolution(rdatas=found, ttl_s=60, names=("lb.test",), resolved_at=100.0)
        of.targets[LB, number, Guarding()].settle(resolution, "addresses", 0.0)
    return of


def reply(
    of: Table,
    rdtype: str = "A",
    now: float = 110.0,
    *,
    want_dnssec: bool = True,
    udp: bool = True,
    view: str | None = None,
) -> dns.message.Message | None:
    number = {"A": TYPE_A, "AAAA": TYPE_AAAA, "ANY": TYPE_ANY}[rdtype]
    answer = of.get(question(ZONE, number), view)
    assert answer is not None
    asked = query(rdtype=rdtype, want_dnssec=want_dnssec)
    wire = answer.reply(asked, end_of(asked), now, udp=udp)
    return None if wire is None else dns.message.from_wire(wire)


def validate(rrset: dns.rrset.RRset, rrsig: dns.rrset.RRset) -> None:
    apex = dns.name.from_text("example.com")
    published = dns.rrset.from_rdata(apex, 60, KEY.dnskey)
    dns.dnssec.validate(rrset, rrsig, {apex: published}, now=WALL)


@pytest.mark.parametrize(("now", "ttl_s", "original_s"), [(110.0, 50, 60), (170.0, 30, 30), (90_000.0, 30, 30)])
def test_fresh_stale_and_fallback_are_signed_with_a_ttl_of_their_own(now: float, ttl_s: int, original_s: int) -> None:
    made = reply(table(signing()), now=now)
    assert made is not None
    rrset, rrsig = made.answer
    assert (rrset.ttl, rrsig.ttl, rrsig[0].original_ttl) == (ttl_s, ttl_s, original_s)
    validate(rrset, rrsig)


def test_each_turn_has_the_same_signature() -> None:
    of = table(signing())
    replies = [reply(of) for _ in range(4)]
    firsts = {made.answer[0][0].to_text() for made in replies if made is not None}
    signatures = {made.answer[1][0].to_wire() for made in replies if made is not None}
    assert (len(firsts), len(signatures)) == (3, 1)


def test_without_do_nothing_is_signed() -> None:
    made = reply(table(signing()), want_dnssec=False)
    assert made is not None
    assert [rrset.rdtype for rrset in made.answer] == [TYPE_A]


def test_a_type_that_is_absent_is_denied() -> None:
    made = reply(table(signing()), "AAAA")
    assert made is not None
    assert made.answer == []
    assert [(rrset.rdtype, rrset.ttl) for rrset in made.authority] == [(6, 60), (46, 60), (47, 60), (46, 60)]
    nsec = made.authority[2]
    assert nsec[0].to_text() == r"\000.example.com. A MX RRSIG NSEC"
    validate(nsec, made.authority[3])


def test_all_that_is_absent_is_denied_at_once() -> None:
    made = reply(table(signing(), A=()), "AAAA")
    assert made is not None
    assert made.authority[2][0].to_text() == r"\000.example.com. MX RRSIG NSEC"


def test_what_a_view_is_answered_is_signed_and_its_own_absence_denied() -> None:
    pinned = evolve(RULE, pin=(ip_address("203.0.113.9"),))
    of = table(signing(), evolve(RULE, views=(("inside", pinned),)), A=())
    made, denied = reply(of, view="inside"), reply(of, "AAAA", view="inside")
    assert made is not None
    assert (made.answer[0][0].to_text(), made.answer[0].ttl, made.answer[1][0].original_ttl) == ("203.0.113.9", 30, 30)
    validate(*made.answer)
    assert denied is not None
    assert denied.authority[2][0].to_text() == r"\000.example.com. A MX RRSIG NSEC"


def test_what_is_held_is_signed_with_the_ttl_that_it_has() -> None:
    of = table(signing())
    gone = Resolution(rdatas=(), ttl_s=60, names=("lb.test",), resolved_at=120.0)
    for number in (TYPE_A, TYPE_AAAA):
        of.targets[LB, number, Guarding()].settle(gone, "nxdomain", 0.0)
    made = reply(of, now=125.0)
    assert made is not None
    assert (made.answer[0].ttl, made.answer[1][0].original_ttl) == (30, 30)
    assert made.extended_errors()[0].code == 3
    validate(*made.answer)


def test_the_soa_is_not_sent_beyond_its_signature() -> None:
    made = reply(table(signing(soa_left_s=7.0)), "AAAA")
    assert made is not None
    assert {rrset.ttl for rrset in made.authority} == {7}
    assert reply(table(signing(soa_left_s=0.0)), "AAAA") is None


def test_any_is_signed() -> None:
    made = reply(table(signing()), "ANY")
    assert made is not None
    validate(made.answer[0], made.answer[1])


def test_without_a_placeholder_the_nameserver_answers_who_looks_at_signatures() -> None:
    of = table(signing(there=frozenset({TYPE_A})))
    assert reply(of, "AAAA") is None
    assert reply(of, "AAAA", want_dnssec=False) is not None
    assert (of.zones.can_sign(ZONE, TYPE_A), of.zones.can_sign(ZONE, TYPE_AAAA)) == (True, False)


def test_without_an_active_key_so_too() -> None:
    made = signing()
    of = table(made)
    assert reply(of) is not None
    made.learn([OTHER.rdata], 60, WALL)
    assert reply(of, now=111.5) is None
    assert not of.zones.can_sign(ZONE, TYPE_A)


def test_what_does_not_fit_goes_over_tcp() -> None:
    many = tuple(bytes([198, 51, 100, number]) for number in range(75))  # 1,200 octets without a signature
    of = table(signing(), A=many)
    over_udp, over_tcp = reply(of), reply(of, udp=False)
    assert over_udp is not None
    assert over_udp.flags & dns.flags.TC
    assert over_tcp is not None
    validate(over_tcp.answer[0], over_tcp.answer[1])


def test_a_zone_of_its_own_below_is_not_signed_with_this_key() -> None:
    of = table(signing())
    below = b"\3sub" + ZONE
    assert of.zones.signing_of(below) is not None
    of.zones.found(below, b"")
    assert of.zones.signing_of(below) is None


def test_a_zone_with_keys_passes_for_signed_until_the_nameserver_denies_it() -> None:
    of = table(signing())
    assert of.zones.is_signed(ZONE)
    of.zones.found(ZONE, b"")
    of.zones.judged(ZONE, signed=False)
    assert not of.zones.is_signed(ZONE)


def test_other_rules_are_other_original_ttls() -> None:
    made = reply(table(signing(), evolve(RULE, max_ttl_s=20)))
    assert made is not None
    assert (made.answer[0].ttl, made.answer[1][0].original_ttl) == (10, 20)


def test_the_addresses_that_are_chosen_are_signed() -> None:
    """A sick one is not among them, and the TTL that is signed is none that nobody is told."""
    rule = evolve(RULE, health=Checking(check=Check(kind="tcp", port=1, interval_s=10)))
    of = table(signing(), rule)
    whole = reply(of)
    of.sick = lambda _check: {ADDRESSES[1]}
    of.selections[0].reconsider(110.0)
    made = reply(of)
    assert whole is not None
    assert made is not None
    assert [len(each.answer[0]) for each in (whole, made)] == [3, 2]
    for each in (whole, made):
        rrset, rrsig = each.answer
        assert rrset.ttl <= rrsig[0].original_ttl
        validate(rrset, rrsig)
