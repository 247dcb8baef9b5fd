"""Flagged questions: what is answered from the tables, and what is forwarded or handed over instead."""

from __future__ import annotations

import struct
from time import monotonic_ns
from typing import TYPE_CHECKING

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from flatproxy.forward.native import _core
from flatproxy.wire import edns, records, reply
from tests.unit.forward.native.standing import (
    ADDRESSES,
    HOUR,
    NO_RECORDS,
    SOA_RECORD,
    fresh,
    layout,
    saying,
    wire,
)
from tests.unit.wire.messages import end_of, query, response

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.forward.native._core import Stage
    from tests.unit.forward.native.standing import Standing

    Stand = Callable[..., Standing]

QUERY = query(id=5)
WITH_OPT = query(id=5, payload=4096)


def fixed(ttl: int, *, extended: int = -1, said: tuple[bytes, int, int, int, int] | None = None) -> Stage:
    return monotonic_ns() + HOUR, 0, ttl, extended, False, said or layout(), None


def denying() -> Stage:
    return monotonic_ns() + HOUR, 0, 0, -1, True, NO_RECORDS, None


def flagged(*stages: Stage, then_forward: bool = False) -> dict[str, object]:
    return {"flagged": {"example.com": {1: saying(*stages, then_forward=then_forward)}}}


def rotations(message: bytes, ttl: int, options: bytes = b"", limit: int = 512) -> list[bytes]:
    """Return the replies that the Python path may give."""
    made = records.record_set(1, ttl, ADDRESSES)
    return [
        reply.answer(message, end_of(message), made.counts, made.rotated(turn), limit=limit, options=options)
        for turn in range(len(ADDRESSES))
    ]


@pytest.mark.parametrize(
    "message",
    [
        QUERY,
        WITH_OPT,
        query("eXaMple.com", id=6),
        query(flags=0, id=6),
        query(use_edns=0, payload=512, want_dnssec=True, id=6),
        query(flags=dns.flags.RD | dns.flags.CD | dns.flags.AD, id=6),
    ],
)
def test_an_answer_is_made_as_the_python_path_makes_it(stand: Stand, message: bytes) -> None:
    standing = stand(**flagged(fixed(30)))
    seen = {standing.ask(message) for _ in range(60)}
    assert seen == set(rotations(message, 30)), "every rotation, and nothing else"
    assert standing.count("udp_flattened") == 60


def test_the_ttl_counts_down_and_keeps_above_its_least(stand: Stand) -> None:
    standing = stand(**flagged(fresh(for_ns=1000 * 10**9)))
    ttl = dns.message.from_wire(standing.ask(QUERY)).answer[0].ttl
    assert 900 < ttl < 1000
    until = monotonic_ns() + HOUR
    standing = stand(**flagged((until, 1, 1, -1, False, layout(), None)))
    assert dns.message.from_wire(standing.ask(QUERY)).answer[0].ttl == 1


def test_stages_follow_one_another(stand: Stand) -> None:
    past = monotonic_ns() - 1
    over: Stage = (past, past, 1, -1, False, layout(ADDRESSES[:1]), None)
    standing = stand(**flagged(over, fixed(30, extended=edns.EDE_STALE)))
    assert standing.ask(QUERY) in rotations(QUERY, 30)
    assert standing.ask(WITH_OPT) in rotations(WITH_OPT, 30, edns.error_option(edns.EDE_STALE))


def test_after_the_last_stage_a_query_is_forwarded_or_handed_over(stand: Stand) -> None:
    past = monotonic_ns() - 1
    over: Stage = (past, past, 1, -1, False, layout(), None)
    standing = stand(**flagged(over, then_forward=True))
    client = standing.client()
    client.send(QUERY)
    assert standing.forwarded()[0][2:] == QUERY[2:]
    assert standing.count("udp_flattened") == 1
    standing = stand(**flagged(over))
    standing.client().send(QUERY)
    handed = standing.handed()
    assert (handed.kind, handed.message, handed.tcp) == (_core.HANDED_COLD, QUERY, False)


def test_a_new_form_is_in_force_at_once_for_every_table(stand: Stand) -> None:
    answer = _core.Answer()
    standing = stand(flagged={"example.com": {1: answer}, "www.example.com": {1: answer}})
    client = standing.client()
    client.send(QUERY)
    assert standing.handed().kind == _core.HANDED_COLD
    answer.say((fixed(40),), False)
    assert standing.ask(QUERY) in rotations(QUERY, 40)
    www = query("www.example.com", id=6)
    assert standing.ask(www) in rotations(www, 40)
    standing.publish()
    assert standing.ask(QUERY) in rotations(QUERY, 40)
    answer.unsay()
    client.send(QUERY)
    assert standing.handed().kind == _core.HANDED_COLD


def test_a_denial_has_the_deepest_known_zones_soa(stand: Stand) -> None:
    standing = stand(flagged={"a.b.example.com": {1: saying(denying())}})
    message = query("a.b.example.com", id=6)
    assert standing.ask(message) == reply.answer(message, end_of(message), bytes(4), b"", limit=512)
    zones = standing.say_zones({"com": (_core.DNSSEC_NONE, b"x"), "example.com": (_core.DNSSEC_NONE, SOA_RECORD)})
    one = b"\0\0\0\1"
    assert standing.ask(message) == reply.answer(message, end_of(message), one, SOA_RECORD, limit=512)
    other = SOA_RECORD[:-1] + b"\xff"
    zones.say(1, (_core.DNSSEC_NONE, other))
    assert standing.ask(message) == reply.answer(message, end_of(message), one, other, limit=512)


def test_do_goes_to_the_nameserver_of_a_signed_zone(stand: Stand) -> None:
    standing = stand(**flagged(fixed(30)))
    standing.say_zones({"example.com": (_core.DNSSEC_FORWARD, SOA_RECORD)})
    wants = query(want_dnssec=True, id=6)
    standing.client().send(wants)
    assert standing.forwarded()[0][2:] == wants[2:]
    assert standing.ask(QUERY) in rotations(QUERY, 30)


def test_do_gets_signed_records_where_there_are_some(stand: Stand) -> None:
    signature = records.record(records.QNAME, 46, 0, b"signature")
    octets, *_counts = layout()
    signed = (octets + signature, 4, 0, 3, 16)
    until = monotonic_ns() + HOUR
    answer = saying((until, 0, 30, -1, False, layout(), signed))
    standing = stand(flagged={"example.com": {1: answer}})
    standing.say_zones({"example.com": (_core.DNSSEC_SIGN, SOA_RECORD)})
    wants = query(want_dnssec=True, id=6)
    expected = records.record(records.QNAME, 46, 30, b"signature")
    made = records.record_set(1, 30, ADDRESSES)
    assert standing.ask(wants) in [
        reply.answer(wants, end_of(wants), b"\0\4\0\0", made.rotated(turn) + expected, limit=1232) for turn in range(3)
    ]
    assert standing.ask(QUERY) in rotations(QUERY, 30)
    answer.say((fixed(30),), False)
    standing.client().send(wants)
    assert standing.handed().kind == _core.HANDED_COLD


def test_what_does_not_fit_is_cut_short(stand: Stand) -> None:
    many = [bytes((198, 51, 100, number)) for number in range(80)]
    standing = stand(**flagged(fixed(30, said=layout(many))))
    for message in (QUERY, query(payload=1232, id=6)):
        got = dns.message.from_wire(standing.ask(message))
        assert got.flags & dns.flags.TC
        assert not got.answer


def test_a_later_edns_is_told_the_version(stand: Stand) -> None:
    standing = stand(**flagged(fixed(30)))
    message = query(use_edns=1, id=6)
    assert standing.ask(message) == reply.bad_version(message, end_of(message))
    assert standing.count("udp_flattened") == 1
    assert standing.path.counts()["rcodes"][dns.rcode.BADVERS] == 1


def odd_edns() -> dict[str, bytes]:
    end = end_of(QUERY)
    opt = b"\0\0\x29\4\xd0\0\0\0\0"
    one = QUERY[:11] + b"\1" + QUERY[12:end]
    return {
        "a cookie of 7 octets": one + opt + struct.pack("!HHH7x", 11, 10, 7),
        "an option too long": one + opt + struct.pack("!HHH", 4, 10, 9),
        "octets behind it": one + opt + b"\0\0junk",
        "octets behind the question": QUERY + b"junk",
        "half of it": one + opt[:5],
    }


@pytest.mark.parametrize("kind", odd_edns())
def test_odd_edns_is_the_nameservers_to_answer(stand: Stand, kind: str) -> None:
    standing = stand(**flagged(fixed(30)))
    message = odd_edns()[kind]
    standing.client().send(message)
    assert standing.forwarded()[0][2:] == message[2:]


@pytest.mark.parametrize(
    "message",
    [
        query(rdtype="AAAA", id=6),
        query("www.example.com", id=6),
        query("xexample.com.example.com", id=6),
        query(rdclass="CH", id=6),
    ],
)
def test_other_questions_are_forwarded(stand: Stand, message: bytes) -> None:
    standing = stand(**flagged(fixed(30)))
    standing.client().send(message)
    assert standing.forwarded()[0][2:] == message[2:]


def test_any_and_other_types_are_data(stand: Stand) -> None:
    hinfo = records.hinfo(60)
    standing = stand(flagged={"example.com": {255: saying(fixed(60, said=(hinfo, 1, 0, 0, 0)))}})
    message = query(rdtype="ANY", id=6)
    assert standing.ask(message) == reply.answer(message, end_of(message), b"\0\1\0\0", hinfo, limit=512)


def test_without_nameservers_flagged_names_are_still_answered(stand: Stand) -> None:
    standing = stand(timeout_s=0.2, **flagged(fixed(30)))
    standing.upstream.order((), ())
    assert standing.ask(QUERY) in rotations(QUERY, 30)
    standing = stand(**flagged((1, 1, 1, -1, False, layout(), None), then_forward=True))
    standing.upstream.order((), ())
    assert standing.ask(WITH_OPT) == reply.error_reply(WITH_OPT, reply.SERVFAIL, edns.EDE_NO_REACHABLE_AUTHORITY)


@pytest.mark.parametrize(
    "message",
    [
        query(rdtype="AXFR", id=6),
        query(rdtype="IXFR", id=6),
        query("key.example.net", "TKEY", id=6),
        QUERY[:2] + b"\x28" + QUERY[3:],
        QUERY[:4] + b"\0\2" + QUERY[6:],
        QUERY[:4] + b"\0\0" + QUERY[6:12],
        QUERY[:12] + b"\xc0\x0c\0\1\0\1",
        QUERY[:20],
        QUERY[:11] + b"\1" + QUERY[12:] + b"\1k\0\0\xfa\0\xff\0\0\0\0\0\0",
        QUERY[:7] + b"\1" + QUERY[8:] + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\1\2\3\4",
    ],
)
def test_what_is_not_plain_is_handed_over_and_replied_to_by_hand(stand: Stand, message: bytes) -> None:
    standing = stand(**flagged(fixed(30)))
    client = standing.client()
    client.send(message)
    handed = standing.handed()
    assert (handed.kind, handed.message, handed.came) == (_core.HANDED_QUERY, message, b"")
    assert (handed.host, handed.port) == (bytes((127, 0, 0, 1)), client.getsockname()[1])
    assert 0 < handed.arrived_s * 10**9 < monotonic_ns()
    made = reply.error_reply(message, reply.REFUSED)
    handed.reply(made)
    assert client.recv(65535) == made
    assert standing.path.counts()["rcodes"][reply.REFUSED] == 1
    with pytest.raises(RuntimeError):
        handed.reply(made)


def test_what_was_handed_over_can_be_forwarded(stand: Stand) -> None:
    standing = stand(flagged={"example.com": {1: _core.Answer()}})
    client = standing.client()
    client.send(QUERY)
    standing.handed().forward()
    sent, peer = standing.forwarded()
    assert sent[2:] == QUERY[2:]
    standing.nameservers[0].sendto(response(sent), peer)
    assert client.recv(65535)[:2] == QUERY[:2]
    client.send(QUERY[:12])
    odd = standing.handed()
    with pytest.raises(ValueError, match="plain"):
        odd.forward()


def test_a_rule_may_have_everything_handed_over(stand: Stand) -> None:
    answer = saying(fixed(30))
    standing = stand(flagged={"example.com": {1: answer}})
    standing.publish(rules=((True, ((1, answer),)),))
    standing.client().send(QUERY)
    assert standing.handed().kind == _core.HANDED_QUERY


def test_a_rule_may_have_queries_with_a_client_subnet_handed_over(stand: Stand) -> None:
    answer = saying(fixed(30))
    standing = stand(flagged={"example.com": {1: answer}})
    standing.publish(rules=((_core.HAND_SUBNETS, ((1, answer),)),))
    cookie, subnet = dns.edns.CookieOption(bytes(8), b""), dns.edns.ECSOption("198.51.100.0", 24)
    plain: list[list[dns.edns.Option]] = [[], [cookie]]
    for options in plain:
        assert standing.ask(query(options=options))[3] == 0
    told: list[list[dns.edns.Option]] = [[subnet], [cookie, subnet], [subnet, cookie]]
    for options in told:
        standing.client().send(query(options=options))
        assert standing.handed().kind == _core.HANDED_QUERY


def test_without_room_for_what_is_handed_over_servfail_comes(stand: Stand) -> None:
    standing = stand(flagged={"example.com": {1: _core.Answer()}}, limits={"handed": 1})
    client = standing.client()
    client.send(QUERY)
    kept = standing.handed()
    assert standing.ask(QUERY) == reply.error_reply(QUERY, reply.SERVFAIL)
    assert (standing.count("not_handed_over"), standing.count("overloaded")) == (1, 1)
    kept.reply(reply.error_reply(QUERY, reply.REFUSED))
    assert client.recv(65535) == reply.error_reply(QUERY, reply.REFUSED)
    client.send(QUERY)
    assert standing.handed().message == QUERY


def landing(to: bytes, target: str = "example.com") -> bytes:
    return response(to, [f"www.example.com. 60 IN CNAME {target}.", f"{target}. 60 IN A 192.0.2.99"])


@pytest.mark.parametrize(("target", "lands"), [("example.com", True), ("other.example.com", False)])
def test_a_reply_that_lands_on_a_flagged_name_is_handed_over(stand: Stand, target: str, lands: bool) -> None:
    standing = stand(**flagged(fixed(30)))
    client = standing.client()
    message = query("www.example.com", id=77)
    client.send(message)
    sent, peer = standing.forwarded()
    came = landing(sent, target)
    standing.nameservers[0].sendto(came, peer)
    as_client = message[:2] + came[2:]
    if lands:
        handed = standing.handed()
        assert (handed.kind, handed.message, handed.came) == (_core.HANDED_LANDING, message, as_client)
        handed.reply(as_client)
    assert client.recv(65535) == as_client


def test_landings_of_another_type_and_cut_replies_pass(stand: Stand) -> None:
    standing = stand(**flagged(fixed(30)))
    client = standing.client()
    for rdtype, cut in (("AAAA", False), ("A", True)):
        client.send(query("www.example.com", rdtype, id=77))
        sent, peer = standing.forwarded()
        came = bytearray(landing(sent))
        came[2] |= 0x02 if cut else 0
        standing.nameservers[0].sendto(came, peer)
        assert client.recv(65535)[2:] == bytes(came[2:])


@pytest.mark.parametrize(
    "broken",
    [
        {"names": b"\3com"},
        {"names": b"\3COM\0"},
        {"names": wire("com") + wire("net")},
        {"zones": b"\x40"},
        {"zones": wire("com") + wire("com")},
        {"ipv4": bytes(7)},
        {"ipv4": bytes((9, 0, 0, 0)) + bytes(4)},
        {"ipv4": bytes(8) + bytes(8)},
        {"rules": ()},
    ],
)
def test_a_broken_table_is_no_table(stand: Stand, broken: dict[str, object]) -> None:
    standing = stand(flagged={"com": {1: saying(fixed(30))}})
    with pytest.raises(ValueError, match="whole"):
        standing.publish(**broken)
    message = query("com", id=6)
    assert standing.ask(message) in rotations(message, 30)


@pytest.mark.parametrize(
    "said",
    [
        (b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\1\2\3", 1, 0, 1, 16),
        (b"\0\0\0\1\0\1\0\0\0\0\0\4\1\2\3\4", 1, 0, 1, 16),
        (layout()[0], 4, 0, 3, 16),
        (layout()[0], 3, 0, 3, 15),
        (layout()[0], 2, 0, 3, 16),
        (layout()[0], 0, 0, 0, 0),
    ],
)
def test_records_that_do_not_add_up_are_no_answer(said: tuple[bytes, int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="add up"):
        saying(fixed(30, said=said))


def test_many_names_share_one_answer(stand: Stand) -> None:
    texts = [f"n{number}.example.com" for number in range(5000)]
    answer = saying(fixed(30))
    standing = stand(flagged={text: {1: answer} for text in texts})
    client = standing.client()
    for text in texts[::50]:
        message = query(text, id=6)
        client.send(message)
        assert client.recv(65535) in rotations(message, 30)


def test_an_answer_knows_that_it_was_asked(stand: Stand) -> None:
    answer = saying()
    standing = stand(flagged={"example.com": {1: answer}})
    assert not answer.was_asked()
    standing.ask(query("example.com"))
    assert answer.was_asked()
    assert not answer.was_asked()
