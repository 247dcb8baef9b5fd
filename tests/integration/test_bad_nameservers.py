"""What a nameserver may not do to clients by lying, being late, or sending too much."""

from __future__ import annotations

import random
from itertools import pairwise
from time import monotonic
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rrset
import pytest

from tests.support import dnsio, packets, queries
from tests.support.configuration import configuration
from tests.support.exchange import over_udp
from tests.support.proxy import Proxy
from tests.support.scripted import TCP, UDP, Answer, Query, Scripted
from tests.support.waiting import until
from tests.support.zones import wire_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_TRUE, _FALSE = "192.0.2.10", "192.0.2.66"


def _answer(query: bytes, address: str) -> dns.message.Message:
    asked = dns.message.from_wire(query)
    reply = dns.message.make_response(asked)
    reply.flags |= dns.flags.AA
    reply.answer.append(dns.rrset.from_text(asked.question[0].name, 60, "IN", "A", address))
    return reply


def _wire(query: bytes, address: str = _TRUE) -> bytes:
    return _answer(query, address).to_wire()


def _other_id(query: bytes) -> bytes:
    wire = _wire(query, _FALSE)
    return bytes([wire[0] ^ 0x55, wire[1] ^ 0xAA]) + wire[2:]


def _other_question(query: bytes, name: str = "evil.example.com", rdtype: str = "A") -> bytes:
    made = dns.message.make_query(name, rdtype)
    made.id = int.from_bytes(query[:2], "big")
    return _wire(made.to_wire(), _FALSE)


def _other_class(query: bytes) -> bytes:
    wire = bytearray(_wire(query, _FALSE))
    wire[len(query) - 1] = 3
    return bytes(wire)


def _no_response(query: bytes) -> bytes:
    wire = bytearray(_wire(query, _FALSE))
    wire[2] &= 0x7F
    return bytes(wire)


_LIES: dict[str, Callable[[bytes], bytes]] = {
    "other id": _other_id,
    "other name": _other_question,
    "other type": lambda query: _other_question(query, "lie.example.com", "AAAA"),
    "other class": _other_class,
    "not a response": _no_response,
    "no question": lambda query: query[:2] + b"\x84\0\0\0\0\1\0\0\0\0" + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\x42",
    "one octet": lambda _query: b"\0",
    "half a header": lambda query: query[:2] + b"\x84\0\0\1",
    "garbage": lambda query: query[:2] + b"\xff" * 40,
    "noise": lambda _query: bytes(range(256)),
}


class _Liar:
    """Answers every name truly, but tells a lie first where it was told to, or nothing but the lie."""

    lie: Callable[[bytes], bytes] | None = None
    truth_after_s: float | None = 0.05

    def __call__(self, query: Query) -> Answer:
        wire = query.data
        if self.lie is None or b"\3lie" not in wire[:20]:
            return _wire(wire) if wire[4:6] == b"\0\1" else None
        if self.truth_after_s is not None:
            query.reply_later(_wire(wire), self.truth_after_s)
        return self.lie(wire)


@pytest.fixture(scope="module")
def liar() -> Iterator[Scripted]:
    with Scripted(_Liar()) as server:
        yield server


@pytest.fixture(scope="module")
def before_the_liar(liar: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    config = configuration(
        upstream=[liar.address],
        upstream_={"timeout": "1s"},
        flatten={"example.com": {"target": "lb.test", "fallback": ["203.0.113.1"]}},
    )
    with Proxy(tmp_path_factory.mktemp("proxy"), config) as running:
        yield running


def _good(proxy: Proxy) -> None:
    for tcp in (False, True):
        reply = proxy.ask(dns.message.make_query("good.example.com", "A"), tcp=tcp)
        assert reply.answer[0][0].to_text() == _TRUE


@pytest.mark.parametrize("lie", _LIES)
def test_only_the_truth_is_passed_on(liar: Scripted, before_the_liar: Proxy, lie: str) -> None:
    """A lie over UDP is thrown away and the truth behind it delivered: one reply, to the question."""
    script = liar.answer = _Liar()
    script.lie = _LIES[lie]
    mismatched = before_the_liar.metrics().value("upstream_mismatched_total")
    with dnsio.udp_socket(before_the_liar.address) as sock:
        for number in range(5):
            wire = number.to_bytes(2, "big") + queries.query(wire_name("lie.example.com"), 1)[2:]
            sock.send(wire)
            reply = sock.recv(4096)
            assert reply[:2] == wire[:2]
            assert dns.message.from_wire(reply).answer[0][0].to_text() == _TRUE
    assert before_the_liar.metrics().value("upstream_mismatched_total") >= mismatched + 5
    _good(before_the_liar)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("lie", _LIES)
def test_nothing_but_lies_is_servfail(liar: Scripted, before_the_liar: Proxy, lie: str, *, tcp: bool) -> None:
    """No answer is made of a lie; the client is told, and the server that also tells the truth stays in use."""
    script = liar.answer = _Liar()
    script.lie, script.truth_after_s = _LIES[lie], None
    wire = b"\x77\x88" + queries.query(wire_name("lie.example.com"), 1)[2:]
    reply = (dnsio.tcp if tcp else dnsio.udp)(before_the_liar.address, wire)
    if reply is None:
        assert tcp, "over UDP a query always gets an answer"
    else:
        assert reply[:2] == wire[:2]
        assert reply[3] & 0x0F == dns.rcode.SERVFAIL
        assert reply[6:8] == b"\0\0"
    _good(before_the_liar)


def test_one_query_one_reply(liar: Scripted, before_the_liar: Proxy) -> None:
    liar.answer = lambda query: [_wire(query.data)] * 3
    with dnsio.udp_socket(before_the_liar.address) as sock:
        sock.send(b"\1\2" + queries.query(wire_name("thrice.example.com"), 1)[2:])
        assert sock.recv(4096)[:2] == b"\1\2"
        sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            sock.recv(4096)
    liar.answer = _Liar()


def test_a_query_that_was_lost_is_sent_once_more(liar: Scripted, before_the_liar: Proxy) -> None:
    """Half of the timeout later, under the same ID: whichever reply comes counts, and one is passed on."""
    name = wire_name("lost.example.com")

    def lose_the_first(query: Query) -> Answer:
        return _wire(query.data) if len(liar.with_octets(name)) > 1 or name not in query.data else None

    liar.answer = lose_the_first
    with dnsio.udp_socket(before_the_liar.address) as sock:
        sock.send(b"\1\2" + queries.query(name, 1)[2:])
        reply = sock.recv(4096)
    assert (reply[:2], dns.message.from_wire(reply).rcode()) == (b"\1\2", dns.rcode.NOERROR)
    first, second = liar.with_octets(name)
    assert first.data == second.data
    liar.answer = _Liar()


def test_a_silent_server_is_asked_no_more_than_twice(liar: Scripted, before_the_liar: Proxy) -> None:
    name = wire_name("silence.example.com")
    liar.answer = lambda query: None if name in query.data else _wire(query.data)
    reply = dnsio.udp(before_the_liar.address, b"\1\2" + queries.query(name, 1)[2:])
    assert reply is not None
    assert reply[3] & 0x0F == dns.rcode.SERVFAIL
    assert len(liar.with_octets(name)) == 2
    liar.answer = _Liar()


@pytest.mark.parametrize("rcode", ["FORMERR", "SERVFAIL", "NOTIMP", "REFUSED", "NOTAUTH"])
def test_an_error_without_a_question_is_passed_on(liar: Scripted, before_the_liar: Proxy, rcode: str) -> None:
    """NSD and others send only a header where they do not understand a query."""
    number = dns.rcode.from_text(rcode)
    liar.answer = lambda query: query.data[:2] + bytes([0x80, number]) + bytes(8)
    for exchange in (dnsio.udp, dnsio.tcp):
        wire = b"\5\6" + queries.query(wire_name("header.example.com"), 1)[2:]
        assert exchange(before_the_liar.address, wire) == b"\5\6" + bytes([0x80, number]) + bytes(8)
    liar.answer = _Liar()


@pytest.mark.parametrize("rdtype", [1, 16], ids=["A", "TXT"])
def test_a_reply_that_is_cut_harms_nobody(liar: Scripted, before_the_liar: Proxy, rdtype: int) -> None:
    """It has the ID and the question, so it is passed on as it is, or SERVFAIL in its place, wherever it ends."""
    wire = b"\7\7" + queries.query(wire_name("cut.example.com"), rdtype)[2:]
    question = len(wire)
    whole = wire[:2] + b"\x84\0\0\1\0\2\0\0\0\0" + wire[12:] + b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\7\4away\xc0\x10"
    for cut in range(question, len(whole) + 1):
        liar.answer = lambda query, cut=cut: query.data[:2] + whole[2:cut]  # type: ignore[misc]
        for exchange in (dnsio.udp, dnsio.tcp):
            reply = exchange(before_the_liar.address, wire)
            assert reply is not None
            assert reply == whole[:cut] or reply[3] & 0x0F == dns.rcode.SERVFAIL
    liar.answer = _Liar()
    _good(before_the_liar)


def test_mangled_replies_that_may_land_on_a_flagged_name(liar: Scripted, before_the_liar: Proxy) -> None:
    """These are parsed: whatever is in them, each query has one reply, and nothing is logged as an exception."""
    chance = random.Random(21)
    asked = queries.query(wire_name("www.example.com"), 1, tail=packets.edns())
    made = _answer(asked, _FALSE)
    made.answer.insert(0, dns.rrset.from_text("www.example.com.", 60, "IN", "CNAME", "example.com."))
    made.answer[1].name = dns.name.from_text("example.com")
    made.authority.append(dns.rrset.from_text("example.com.", 60, "IN", "NS", "ns1.example.com."))
    good = made.to_wire()
    question = len(asked) - len(packets.edns())

    def script(query: Query) -> Answer:
        if b"\3www" not in query.data[:20]:
            return _Liar()(query)
        wire = bytearray(query.data[:2] + good[2:])
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(question, len(wire)) if chance.random() < 0.8 else chance.randrange(6, 12)
            if chance.random() < 0.7:
                wire[at] = chance.choice((0, 1, 0x0C, 0xC0, 0xFF, chance.randrange(256)))
            elif at > question:
                del wire[at : at + chance.randrange(1, 30)]
        return bytes(wire)

    liar.answer = script
    mark = before_the_liar.mark
    replies = over_udp(before_the_liar.address, [asked] * 1000, 4.0)
    assert all(reply is not None and reply[12:question] == asked[12:question] for reply in replies)
    assert sum(bytes([203, 0, 113, 1]) in (reply or b"") for reply in replies) > 100, "many did land"
    liar.answer = _Liar()
    assert not before_the_liar.since(mark, "exception")
    _good(before_the_liar)


def test_a_late_reply_goes_to_nobody(liar: Scripted, before_the_liar: Proxy) -> None:
    """The client was told SERVFAIL, asks for something else with the same ID, and gets that answer alone."""
    liar.answer = lambda query: (
        query.reply_later(_wire(query.data, _FALSE), 1.5) if b"late" in query.data else _Liar()(query)
    )
    with dnsio.udp_socket(before_the_liar.address) as sock:
        sock.send(b"\3\4" + queries.query(wire_name("late.example.com"), 1)[2:])
        assert sock.recv(4096)[3] & 0x0F == dns.rcode.SERVFAIL
        sock.send(b"\3\4" + queries.query(wire_name("soon.example.com"), 1)[2:])
        assert dns.message.from_wire(sock.recv(4096)).answer[0][0].to_text() == _TRUE
        until(lambda: [query for query in liar.with_octets(b"late") if monotonic() > query.at + 1.5], "the late reply")
        sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            sock.recv(4096)
    liar.answer = _Liar()


def test_udp_stays_udp_and_tcp_stays_tcp(liar: Scripted, before_the_liar: Proxy) -> None:
    """Also where the nameserver truncates: the client comes back over TCP by itself."""

    def script(query: Query) -> Answer:
        if b"large" not in query.data or query.transport == TCP:
            return _wire(query.data)
        made = dns.message.make_response(dns.message.from_wire(query.data))
        made.flags |= dns.flags.TC
        return made.to_wire()

    liar.answer = script
    query = dns.message.make_query("large.example.com", "A")
    with pytest.raises(dns.message.Truncated):
        dns.query.udp(query, "127.0.0.1", port=before_the_liar.address[1], timeout=10, raise_on_truncation=True)
    assert before_the_liar.ask(query, tcp=True).answer
    assert [query.transport for query in liar.with_octets(b"large")] == [UDP, TCP]
    liar.answer = _Liar()


def test_ids_towards_the_nameserver_are_random(liar: Scripted, before_the_liar: Proxy) -> None:
    """All clients use one ID: the nameserver sees hundreds (RFC 5452 section 9.2)."""
    liar.received.clear()
    with dnsio.udp_socket(before_the_liar.address) as sock:
        for number in range(200):
            sock.send(b"\0\1" + queries.query(wire_name(f"i{number}.example.com"), 1)[2:])
            assert sock.recv(4096)[:2] == b"\0\1"
    identities = [int.from_bytes(query.data[:2], "big") for query in liar.with_octets(b"\7example")]
    assert len(set(identities)) > 190
    assert max(identities) - min(identities) > 30_000
    steps = [(after - before) % 65536 for before, after in pairwise(identities)]
    assert max(steps.count(step) for step in set(steps)) < 20
