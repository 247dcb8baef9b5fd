"""Servers that lie, falter or exaggerate: nothing false is passed on, and targets are answered as the table says."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rrset
import pytest

from .harness import queries, raw
from .harness.configuration import configuration
from .harness.exchange import over_udp
from .harness.internet import FakeInternet, Mood
from .harness.proxy import Proxy
from .harness.standin import TCP, UDP, Reply, StandIn
from .harness.waiting import until
from .harness.zones import wire_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .harness.nsd import Nsd

Start = Callable[..., Proxy]

_TRUE, _FALSE = "192.0.2.10", "192.0.2.66"


# A nameserver that lies


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

    def __call__(self, query: bytes, _transport: str) -> Sequence[Reply]:
        if self.lie is None or b"\3lie" not in query[:20]:
            return [Reply(_wire(query))] if query[4:6] == b"\0\1" else []
        lies = [Reply(self.lie(query))]
        return lies if self.truth_after_s is None else [*lies, Reply(_wire(query), self.truth_after_s)]


@pytest.fixture(scope="module")
def liar() -> Iterator[StandIn]:
    server = StandIn(_Liar())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def before_the_liar(liar: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    config = configuration(
        upstream=[liar.address],
        upstream_={"timeout": "400ms"},
        flatten={"example.com": {"target": "lb.test", "fallback": ["203.0.113.1"]}},
    )
    running = Proxy(tmp_path_factory.mktemp("proxy"), config)
    running.start()
    yield running
    running.stop()


def _good(proxy: Proxy) -> None:
    for tcp in (False, True):
        reply = proxy.ask(dns.message.make_query("good.example.com", "A"), tcp=tcp)
        assert reply.answer[0][0].to_text() == _TRUE


@pytest.mark.parametrize("lie", _LIES)
def test_only_the_truth_is_passed_on(liar: StandIn, before_the_liar: Proxy, lie: str) -> None:
    """A lie over UDP is thrown away and the truth behind it delivered: one reply, to the question."""
    script = liar.script = _Liar()
    script.lie = _LIES[lie]
    mismatched = before_the_liar.metrics().value("upstream_mismatched_total")
    with raw.udp_socket(before_the_liar.address) as sock:
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
def test_nothing_but_lies_is_servfail(liar: StandIn, before_the_liar: Proxy, lie: str, *, tcp: bool) -> None:
    """No answer is made of a lie; the client is told, and the server that also tells the truth stays in use."""
    script = liar.script = _Liar()
    script.lie, script.truth_after_s = _LIES[lie], None
    wire = b"\x77\x88" + queries.query(wire_name("lie.example.com"), 1)[2:]
    reply = (raw.tcp if tcp else raw.udp)(before_the_liar.address, wire)
    if reply is None:
        assert tcp, "over UDP a query always gets an answer"
    else:
        assert reply[:2] == wire[:2]
        assert reply[3] & 0x0F == dns.rcode.SERVFAIL
        assert reply[6:8] == b"\0\0"
    _good(before_the_liar)


def test_one_query_one_reply(liar: StandIn, before_the_liar: Proxy) -> None:
    liar.script = lambda query, _transport: [Reply(_wire(query))] * 3
    with raw.udp_socket(before_the_liar.address, 0.5) as sock:
        sock.send(b"\1\2" + queries.query(wire_name("thrice.example.com"), 1)[2:])
        assert sock.recv(4096)[:2] == b"\1\2"
        with pytest.raises(TimeoutError):
            sock.recv(4096)
    liar.script = _Liar()


def test_a_query_that_was_lost_is_sent_once_more(liar: StandIn, before_the_liar: Proxy) -> None:
    """Half of the timeout later, under the same ID: whichever reply comes counts, and one is passed on."""
    name = wire_name("lost.example.com")

    def lose_the_first(query: bytes, _transport: str) -> Sequence[Reply]:
        seen = [wire for _, wire in liar.received if name in wire]
        return [Reply(_wire(query))] if len(seen) > 1 or name not in query else []

    liar.script = lose_the_first
    with raw.udp_socket(before_the_liar.address) as sock:
        sock.send(b"\1\2" + queries.query(name, 1)[2:])
        reply = sock.recv(4096)
    assert (reply[:2], dns.message.from_wire(reply).rcode()) == (b"\1\2", dns.rcode.NOERROR)
    first, second = (wire for _, wire in liar.received if name in wire)
    assert first == second
    liar.script = _Liar()


def test_a_silent_server_is_asked_no_more_than_twice(liar: StandIn, before_the_liar: Proxy) -> None:
    name = wire_name("silence.example.com")
    liar.script = lambda query, _transport: [] if name in query else [Reply(_wire(query))]
    reply = raw.udp(before_the_liar.address, b"\1\2" + queries.query(name, 1)[2:])
    assert reply is not None
    assert reply[3] & 0x0F == dns.rcode.SERVFAIL
    assert len([wire for _, wire in liar.received if name in wire]) == 2
    liar.script = _Liar()


@pytest.mark.parametrize("rcode", ["FORMERR", "SERVFAIL", "NOTIMP", "REFUSED", "NOTAUTH"])
def test_an_error_without_a_question_is_passed_on(liar: StandIn, before_the_liar: Proxy, rcode: str) -> None:
    """NSD and others send only a header where they do not understand a query."""
    number = dns.rcode.from_text(rcode)
    liar.script = lambda query, _transport: [Reply(query[:2] + bytes([0x80, number]) + bytes(8))]
    for exchange in (raw.udp, raw.tcp):
        wire = b"\5\6" + queries.query(wire_name("header.example.com"), 1)[2:]
        assert exchange(before_the_liar.address, wire) == b"\5\6" + bytes([0x80, number]) + bytes(8)
    liar.script = _Liar()


@pytest.mark.parametrize("rdtype", [1, 16], ids=["A", "TXT"])
def test_a_reply_that_is_cut_harms_nobody(liar: StandIn, before_the_liar: Proxy, rdtype: int) -> None:
    """It has the ID and the question, so it is passed on as it is, or SERVFAIL in its place, wherever it ends."""
    wire = b"\7\7" + queries.query(wire_name("cut.example.com"), rdtype)[2:]
    question = len(wire)
    whole = wire[:2] + b"\x84\0\0\1\0\2\0\0\0\0" + wire[12:] + b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\7\4away\xc0\x10"
    for cut in range(question, len(whole) + 1):
        liar.script = lambda query, _transport, cut=cut: [Reply(query[:2] + whole[2:cut])]  # type: ignore[misc]
        for exchange in (raw.udp, raw.tcp):
            reply = exchange(before_the_liar.address, wire)
            assert reply is not None
            assert reply == whole[:cut] or reply[3] & 0x0F == dns.rcode.SERVFAIL
    liar.script = _Liar()
    _good(before_the_liar)


def test_mangled_replies_that_may_land_on_a_flagged_name(liar: StandIn, before_the_liar: Proxy) -> None:
    """These are parsed: whatever is in them, each query has one reply, and nothing is logged as an exception."""
    chance = random.Random(21)
    asked = queries.query(wire_name("www.example.com"), 1, tail=queries.opt())
    made = _answer(asked, _FALSE)
    made.answer.insert(0, dns.rrset.from_text("www.example.com.", 60, "IN", "CNAME", "example.com."))
    made.answer[1].name = dns.name.from_text("example.com")
    made.authority.append(dns.rrset.from_text("example.com.", 60, "IN", "NS", "ns1.example.com."))
    good = made.to_wire()
    question = len(asked) - len(queries.opt())

    def script(query: bytes, transport: str) -> Sequence[Reply]:
        if b"\3www" not in query[:20]:
            return _Liar()(query, transport)
        wire = bytearray(query[:2] + good[2:])
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(question, len(wire)) if chance.random() < 0.8 else chance.randrange(6, 12)
            if chance.random() < 0.7:
                wire[at] = chance.choice((0, 1, 0x0C, 0xC0, 0xFF, chance.randrange(256)))
            elif at > question:
                del wire[at : at + chance.randrange(1, 30)]
        return [Reply(bytes(wire))]

    liar.script = script
    mark = before_the_liar.mark
    replies = over_udp(before_the_liar.address, [asked] * 1000, 1.0)
    assert all(reply is not None and reply[12:question] == asked[12:question] for reply in replies)
    assert sum(bytes([203, 0, 113, 1]) in (reply or b"") for reply in replies) > 100, "many did land"
    liar.script = _Liar()
    assert not before_the_liar.since(mark, "exception")
    _good(before_the_liar)


def test_a_late_reply_goes_to_nobody(liar: StandIn, before_the_liar: Proxy) -> None:
    """The client was told SERVFAIL, asks for something else with the same ID, and gets that answer alone."""
    liar.script = lambda query, transport: (
        [Reply(_wire(query, _FALSE), 0.6)] if b"late" in query else _Liar()(query, transport)
    )
    with raw.udp_socket(before_the_liar.address, 1.0) as sock:
        sock.send(b"\3\4" + queries.query(wire_name("late.example.com"), 1)[2:])
        assert sock.recv(4096)[3] & 0x0F == dns.rcode.SERVFAIL
        sock.send(b"\3\4" + queries.query(wire_name("soon.example.com"), 1)[2:])
        assert dns.message.from_wire(sock.recv(4096)).answer[0][0].to_text() == _TRUE
        with pytest.raises(TimeoutError):
            sock.recv(4096)
    liar.script = _Liar()


def test_udp_stays_udp_and_tcp_stays_tcp(liar: StandIn, before_the_liar: Proxy) -> None:
    """Also where the nameserver truncates: the client comes back over TCP by itself."""

    def script(query: bytes, transport: str) -> Sequence[Reply]:
        if b"large" not in query or transport == TCP:
            return [Reply(_wire(query))]
        made = dns.message.make_response(dns.message.from_wire(query))
        made.flags |= dns.flags.TC
        return [Reply(made.to_wire())]

    liar.script = script
    query = dns.message.make_query("large.example.com", "A")
    with pytest.raises(dns.message.Truncated):
        dns.query.udp(query, "127.0.0.1", port=before_the_liar.address[1], timeout=2, raise_on_truncation=True)
    assert before_the_liar.ask(query, tcp=True).answer
    assert [transport for transport, wire in liar.received if b"large" in wire] == [UDP, TCP]
    liar.script = _Liar()


def test_ids_towards_the_nameserver_are_random(liar: StandIn, before_the_liar: Proxy) -> None:
    """All clients use one ID: the nameserver sees hundreds (RFC 5452 section 9.2)."""
    liar.received.clear()
    with raw.udp_socket(before_the_liar.address) as sock:
        for number in range(200):
            sock.send(b"\0\1" + queries.query(wire_name(f"i{number}.example.com"), 1)[2:])
            assert sock.recv(4096)[:2] == b"\0\1"
    identities = [int.from_bytes(wire[:2], "big") for _, wire in liar.received if b"\7example" in wire]
    assert len(set(identities)) > 190
    assert max(identities) - min(identities) > 30_000
    steps = [(after - before) % 65536 for before, after in pairwise(identities)]
    assert max(steps.count(step) for step in set(steps)) < 20


# Resolvers with strange answers


def _hops(internet: FakeInternet, count: int, prefix: str, ttl: int = 60) -> None:
    """Make a chain of so many CNAMEs with an address at its end."""
    for hop in range(count):
        internet.cname(f"{prefix}{hop}.test", f"{prefix}{hop + 1}.test", ttl)
    internet.set(f"{prefix}{count}.test", "A", ["203.0.113.50"], ttl)


@pytest.fixture(scope="module", params=[True, False], ids=["whole chains", "single hops"])
def strange(request: pytest.FixtureRequest) -> Iterator[FakeInternet]:
    """Targets of every strange kind, told as one reply or hop by hop."""
    internet = FakeInternet(whole_chains=request.param)
    _hops(internet, 16, "s")
    _hops(internet, 17, "t")
    internet.cname("ring1.test", "ring2.test")
    internet.cname("ring2.test", "ring1.test")
    internet.cname("self.test", "self.test")
    internet.set("huge.test", "A", [f"198.18.{third}.{last}" for third in range(6) for last in range(250)])
    internet.set("vast.test", "A", [f"198.19.{third}.{last}" for third in range(12) for last in range(250)])
    internet.set("private.test", "A", ["10.1.2.3", "192.168.0.9"], 1)
    internet.set("zero.test", "A", ["203.0.113.60"], 0)
    internet.set("overflow.test", "A", ["203.0.113.61"], 2**31)
    internet.set("longest.test", "A", ["203.0.113.62"], 2**31 - 1)
    internet.cname("half.test", "missing.test")
    internet.cname("lost.test", "dead.test")
    internet.moods["dead.test"] = Mood.SILENT if not request.param else Mood.HONEST
    internet.set("truncated.test", "A", ["203.0.113.63"])
    internet.moods["truncated.test"] = Mood.TRUNCATED
    internet.cname("back.test", "flat.example.net")
    internet.start()
    yield internet
    internet.stop()


_TARGETS = (
    "s0", "t0", "ring1", "self", "huge", "vast", "private", "zero", "overflow", "longest", "half", "lost", "truncated",
    "back",
)  # fmt: skip
_PLACEHOLDER = "192.0.2.99"  # the wildcard of the zone


@pytest.fixture(scope="module")
def flattening(strange: FakeInternet, nsd: Nsd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    flatten: dict[str, dict[str, object]] = {
        f"{name}.example.com": {"target": f"{name}.test", "types": ["A"]} for name in _TARGETS
    }
    flatten["flat.example.net"] = {"target": "s16.test", "types": ["A"]}
    config = configuration(
        upstream=[nsd.address], resolver=[strange.address], resolver_={"timeout": "2s"}, flatten=flatten
    )
    running = Proxy(tmp_path_factory.mktemp("proxy"), config)
    running.start()
    yield running
    running.stop()


def _flattened(proxy: Proxy, name: str, *, tcp: bool = False) -> dns.message.Message:
    return proxy.ask(dns.message.make_query(f"{name}.example.com", "A"), tcp=tcp)


def _addresses(reply: dns.message.Message) -> list[str]:
    return [rdata.to_text() for rrset in reply.answer for rdata in rrset]


def _outcomes(proxy: Proxy, name: str) -> set[str]:
    samples = proxy.metrics().samples("resolutions_total", name=f"{name}.example.com", type="A")
    return {labels["outcome"] for labels, value in samples if value}


def test_a_chain_of_16_is_followed(flattening: Proxy) -> None:
    assert _addresses(_flattened(flattening, "s0")) == ["203.0.113.50"]
    assert flattening.metrics().value("chain_length", name="s0.example.com", type="A") == 17


def test_a_chain_of_17_is_not(flattening: Proxy) -> None:
    assert _addresses(_flattened(flattening, "t0")) == [_PLACEHOLDER]
    assert _outcomes(flattening, "t0") == {"too_long"}
    assert flattening.metrics().rung("t0.example.com") == "upstream"


@pytest.mark.parametrize("name", ["ring1", "self"])
def test_a_loop_ends(flattening: Proxy, strange: FakeInternet, name: str) -> None:
    assert _addresses(_flattened(flattening, name)) == [_PLACEHOLDER]
    assert _outcomes(flattening, name) == {"loop"}
    assert strange.asked[f"{name}.test", "A"] <= 3


def test_a_chain_that_breaks(flattening: Proxy) -> None:
    """To a name that does not exist: NODATA, for that is an answer."""
    reply = _flattened(flattening, "half")
    assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])
    assert _outcomes(flattening, "half") == {"nxdomain"}


def test_a_huge_set_is_truncated_over_udp_and_whole_over_tcp(flattening: Proxy) -> None:
    """1,500 addresses are 24,000 octets."""
    wire = raw.udp(flattening.address, queries.query(wire_name("huge.example.com"), 1, tail=queries.opt(65535)))
    assert wire is not None
    assert len(wire) <= 1232
    assert wire[2] & 0x02
    whole = _flattened(flattening, "huge", tcp=True)
    assert not whole.flags & dns.flags.TC
    assert len(set(_addresses(whole))) == 1500
    shown = list(flattening.metrics().samples("address_info", name="huge.example.com"))
    assert 0 < len(shown) < 100, "a huge set does not fill a scrape"


def test_a_vast_set_is_bounded(flattening: Proxy) -> None:
    """3,000 addresses: what is answered fits a message, all of it is true, and it takes no time to speak of."""
    reply = _flattened(flattening, "vast", tcp=True)
    assert reply.rcode() == dns.rcode.NOERROR
    addresses = _addresses(reply)
    assert 1000 <= len(set(addresses)) == len(addresses) <= 3000
    assert all(address.startswith("198.19.") for address in addresses)


def test_a_private_address_is_answered_and_said_once(flattening: Proxy, strange: FakeInternet) -> None:
    assert sorted(_addresses(_flattened(flattening, "private"))) == ["10.1.2.3", "192.168.0.9"]
    asked = strange.asked["private.test", "A"]
    until(lambda: strange.asked["private.test", "A"] > asked + 1, "two more resolutions")
    said = flattening.since(0, "private_address", target="private.test")
    assert [event["address"] for event in said] == ["10.1.2.3, 192.168.0.9"], "one line for all of them"
    assert {event["level"] for event in said} == {"warn"}


def test_a_ttl_of_zero_is_passed_on(flattening: Proxy, strange: FakeInternet) -> None:
    """Not to be cached by anybody; the resolver is still not asked once a query."""
    for _ in range(50):
        reply = _flattened(flattening, "zero")
        assert _addresses(reply) == ["203.0.113.60"]
        assert reply.answer[0].ttl == 0
    assert strange.asked["zero.test", "A"] < 25
    assert flattening.metrics().rung("zero.example.com") == "fresh"


def test_a_ttl_with_the_top_bit_set_counts_as_zero(flattening: Proxy) -> None:
    """RFC 2181 section 8."""
    reply = _flattened(flattening, "overflow")
    assert _addresses(reply) == ["203.0.113.61"]
    assert reply.answer[0].ttl == 0


def test_the_longest_ttl_is_capped(flattening: Proxy) -> None:
    reply = _flattened(flattening, "longest")
    assert _addresses(reply) == ["203.0.113.62"]
    assert reply.answer[0].ttl <= 300


def test_a_truncated_reply_is_asked_for_again_over_tcp(flattening: Proxy) -> None:
    assert _addresses(_flattened(flattening, "truncated")) == ["203.0.113.63"]


def test_a_chain_that_reaches_a_flagged_name_goes_on_with_its_target(flattening: Proxy) -> None:
    assert _addresses(_flattened(flattening, "back")) == ["203.0.113.50"]


def test_what_is_lost_is_down_the_ladder(flattening: Proxy, strange: FakeInternet) -> None:
    if strange.whole_chains:
        assert _flattened(flattening, "lost").answer == []
    else:
        assert _addresses(_flattened(flattening, "lost")) == [_PLACEHOLDER]
        assert _outcomes(flattening, "lost") == {"timeout"}
