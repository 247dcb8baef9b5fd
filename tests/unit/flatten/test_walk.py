"""The two ways of a resolution, beside each other: a walk told replies as they come, and dnspython's with a task."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.config.guarding import Guarding
from flatproxy.config.rules import Rule
from flatproxy.config.settings import Endpoint
from flatproxy.errors import ChainBroken, FlatproxyError, UpstreamTimeout
from flatproxy.flatten.chain import Chain
from flatproxy.flatten.driving import drive
from flatproxy.flatten.reply_memo import _records
from flatproxy.flatten.resolvers.servers import Servers
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.flatten.walk import TargetWalk
from flatproxy.table.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flatproxy.flatten.chain import Found, Scope
    from flatproxy.flatten.reply_memo import Memo
    from flatproxy.flatten.resolvers.datagrams import Inquiry
    from flatproxy.table.target import Target

FIRST, SECOND, BEHIND = Endpoint("192.0.2.1", 53), Endpoint("192.0.2.2", 53), Endpoint("192.0.2.3", 53)
RESOLVERS = Servers((FIRST, SECOND), 1.8, recursion=True)
UPSTREAM = Servers((BEHIND,), 1.8, recursion=False)
TARGET = b"\1a\4test\0"
QUESTION = TARGET + b"\0\1\0\1"
SCOPE = ConfiguredScope({b"\1f\4test\0": Rule(target=b"\1d\4test\0")}, frozenset({b"\6served\4test\0"}))
SOA = "ns.test. hostmaster.test. 1 2 3 4 "

Script = "Callable[[Endpoint, dns.message.Message], bytes | FlatproxyError]"
"""What a server says to a query."""


def target_of(name: bytes = TARGET, rdtype: int = 1) -> Target:
    table = Table()
    table.adopt({b"\1n\0": Rule(target=name, types=frozenset({"A", "AAAA"}), any="forward")}, 0.0, 1.8)
    return table.targets[name, rdtype, Guarding()]


@define
class Client:
    """Stands for the sockets: what was asked waits for the test to say what comes."""

    asked: deque[Inquiry] = field(factory=deque)
    back: list[Inquiry] = field(factory=list)

    def send(self, query: Inquiry, now: float) -> None:  # noqa: ARG002 - as the real one
        query.message_id = b"\x12\x34"
        self.asked.append(query)

    def put_back(self, query: Inquiry) -> None:
        self.back.append(query)


def quick(memo: Memo | None = None, scope: Scope = SCOPE) -> TargetWalk:
    resolvers = Servers(RESOLVERS.endpoints, RESOLVERS.timeout_s, recursion=True)  # nobody is preferred yet
    return TargetWalk(target_of(), 0.0, memo, resolvers, UPSTREAM, scope, Client(), lambda: None)


def walked(walk: TargetWalk, script: Callable[..., bytes | FlatproxyError]) -> Found | str | None:
    """Return what a walk found, an error's text, or None where it is cut or waits for ever."""
    client = walk._client
    assert isinstance(client, Client)
    try:
        walk.begin(0.0)
        while client.asked:
            query = client.asked.popleft()
            message = dns.message.from_wire(query.message_id + query.message)
            found = walk.hear(query, script(query.endpoint, message), 0.0)
            if found is not None:
                assert not client.asked
                return found
    except FlatproxyError as error:
        return f"{type(error).__name__}: {error}"
    return None


@define
class Scripted:
    """`Servers` on the same script: its `ask` without sockets, in the words of the real one."""

    servers: Servers
    script: Callable[..., bytes | FlatproxyError]

    async def ask(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
        other, failures = None, []
        for endpoint in self.servers.endpoints:
            query = dns.message.make_query(name, rdtype, use_edns=0, payload=1232, id=0x1234)
            said = self.script(endpoint, query)
            if isinstance(said, FlatproxyError):
                failures.append(said)
                continue
            response = dns.message.from_wire(said, ignore_trailing=True)
            if response.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                return response
            other = response
        return self.servers.last_resort(name, rdtype, other, failures)


def by_dnspython(script: Callable[..., bytes | FlatproxyError], scope: Scope = SCOPE) -> Found | str:
    chain = Chain.to(dns.name.from_wire(TARGET, 0)[0], dns.rdatatype.A, scope)
    try:
        return asyncio.run(drive(chain, Scripted(RESOLVERS, script), Scripted(UPSTREAM, script), lambda: None))
    except FlatproxyError as error:
        return f"{type(error).__name__}: {error}"


def says(*lines: str, rcode: str = "NOERROR", authority: str = "", edns: bool = True) -> Callable[..., bytes]:
    """Return a script in which everybody says the same to everything."""

    def script(_endpoint: Endpoint, query: dns.message.Message) -> bytes:
        return wire(query, list(lines), authority.split("|") if authority else [], rcode, edns=edns)

    return script


def wire(query: dns.message.Message, answer: list[str], authority: list[str], rcode: str, *, edns: bool) -> bytes:
    made = dns.message.make_response(query)
    made.set_rcode(dns.rcode.from_text(rcode))
    if not edns:
        made.use_edns(-1)
    for section, lines in ((made.answer, answer), (made.authority, authority)):
        for line in lines:
            owner, ttl, rdtype, rdata = line.split(" ", 3)
            # One RRset for each record, so that they stay in this order and keep their own TTLs.
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", rdtype, rdata))
    return made.to_wire(max_size=65535)


GOOD = says("a.test. 300 CNAME b.test.", "b.test. 60 A 192.0.2.1", "b.test. 60 A 192.0.2.2")


def learned(script: Callable[..., bytes | FlatproxyError]) -> Memo:
    walk = quick()
    assert walked(walk, script) is not None
    assert walk.memo is not None
    return walk.memo


TTLS = st.one_of(st.integers(0, 600), st.integers(2**31 - 2, 2**31 + 2), st.just(2**32 - 1))
NAMES = st.sampled_from(["a.test.", "b.test.", "c.test.", "f.test.", "x.served.test.", "A.test."])
RECORDS = st.one_of(
    st.tuples(NAMES, st.just("CNAME"), NAMES),
    st.tuples(NAMES, st.just("A"), st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.3"])),
    st.tuples(NAMES, st.just("AAAA"), st.just("2001:db8::1")),
    st.tuples(NAMES, st.just("TXT"), st.just('"x"')),
)
AUTHORITY = st.one_of(
    st.tuples(NAMES, st.just("SOA"), st.integers(0, 100).map(lambda least: f"{SOA}{least}")),
    st.tuples(NAMES, st.just("NS"), NAMES),
)


@define(frozen=True)
class Reply:
    """A reply but for its TTLs."""

    rcode: str
    answer: tuple[tuple[str, str, str], ...]
    authority: tuple[tuple[str, str, str], ...]
    edns: bool

    def wire(self, query: dns.message.Message, ttls: list[int], order: list[int]) -> bytes:
        answer = sorted(enumerate(self.answer), key=lambda each: order[each[0]])
        lines = [f"{owner} 0 {rdtype} {rdata}" for _number, (owner, rdtype, rdata) in answer]
        authority = [f"{owner} 0 {rdtype} {rdata}" for owner, rdtype, rdata in self.authority]
        made = bytearray(wire(query, lines, authority, self.rcode, edns=self.edns))
        for record, ttl in zip(_records(bytes(made)), ttls, strict=False):
            if record.rdtype != dns.rdatatype.OPT:
                made[record.ttl_at : record.ttl_at + 4] = ttl.to_bytes(4, "big")
        return bytes(made)


REPLIES = st.builds(
    Reply,
    rcode=st.sampled_from(["NOERROR", "NOERROR", "NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED"]),
    answer=st.lists(RECORDS, max_size=5).map(tuple),
    authority=st.lists(AUTHORITY, max_size=2).map(tuple),
    edns=st.booleans(),
)
WORLDS = st.fixed_dictionaries({}, optional=dict.fromkeys(("a.test.", "b.test.", "c.test.", "d.test."), REPLIES))
VARIATIONS = st.tuples(st.lists(TTLS, min_size=7, max_size=7), st.permutations(range(5)))


def script_of(
    world: Mapping[str, Reply], ttls: list[int], order: list[int], silent: set[Endpoint]
) -> Callable[..., bytes | FlatproxyError]:
    def script(endpoint: Endpoint, query: dns.message.Message) -> bytes | FlatproxyError:
        reply = world.get(query.question[0].name.to_text().lower())
        if endpoint in silent or reply is None:
            return UpstreamTimeout(f"{endpoint}: no answer")
        return reply.wire(query, ttls, order)

    return script


@given(
    worlds=st.lists(WORLDS, min_size=1, max_size=2),
    variations=st.lists(VARIATIONS, min_size=2, max_size=4),
    silent=st.sets(st.sampled_from([FIRST, SECOND])),
)
def test_both_ways_find_the_same_whatever_is_replied(
    worlds: list[dict[str, Reply]], variations: list[tuple[list[int], list[int]]], silent: set[Endpoint]
) -> None:
    """Again and again, with other TTLs and orders, and with what the last reply taught."""
    memo = None
    for number, (ttls, order) in enumerate(variations):
        script = script_of(worlds[number % len(worlds)], ttls, order, silent)
        walk = quick(memo)
        assert walked(walk, script) == by_dnspython(script)
        memo = walk.memo


@given(first=VARIATIONS, second=VARIATIONS, at=st.data())
def test_whatever_octets_change_both_ways_find_the_same(
    first: tuple[list[int], list[int]], second: tuple[list[int], list[int]], at: st.DataObject
) -> None:
    """Any octet behind the question may be another: a memo notices, or it does not matter."""
    answer = (("a.test.", "CNAME", "b.test."), ("b.test.", "A", "192.0.2.1"), ("b.test.", "A", "192.0.2.2"))
    reply = Reply("NOERROR", answer, (), edns=True)
    memo = learned(script_of({"a.test.": reply}, *first, set()))

    def changed(_endpoint: Endpoint, query: dns.message.Message) -> bytes:
        octets = bytearray(reply.wire(query, *second))
        place = at.draw(st.integers(12 + 12, len(octets) - 1))
        octets[place] = at.draw(st.integers(0, 255))
        return bytes(octets)

    octets = changed(FIRST, dns.message.make_query("a.test", "A", use_edns=0, payload=1232, id=0x1234))
    found = memo.found(octets, QUESTION)
    if found is not None:
        assert found == by_dnspython(lambda _endpoint, _query: octets)


def test_an_equal_reply_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    memo = learned(GOOD)
    again = says("a.test. 20 CNAME b.test.", "b.test. 30 A 192.0.2.2", "b.test. 30 A 192.0.2.1")
    expected = by_dnspython(again)
    walk = quick(memo)
    walk.begin(0.0)
    client = walk._client
    assert isinstance(client, Client)
    query = client.asked.popleft()
    reply = again(FIRST, dns.message.from_wire(query.message_id + query.message))
    monkeypatch.setattr(dns.message, "from_wire", _never)
    found = walk.hear(query, reply, 0.0)
    assert found == expected
    assert found is not None
    assert (found.ttl_s, walk._chain) == (20, None)


def _never(*_arguments: object, **_options: object) -> None:
    raise AssertionError("parsed")


@pytest.mark.parametrize(
    "other",
    [
        says("a.test. 300 CNAME b.test.", "b.test. 60 A 192.0.2.1", "b.test. 60 A 192.0.2.3"),
        says("a.test. 300 CNAME c.test.", "c.test. 60 A 192.0.2.1", "c.test. 60 A 192.0.2.2"),
        says("a.test. 300 CNAME b.test.", "b.test. 60 A 192.0.2.1"),
        says(rcode="NXDOMAIN", authority=f"test. 300 SOA {SOA}60"),
    ],
    ids=["address", "name", "fewer", "gone"],
)
def test_another_reply_is_walked_and_takes_the_place_of_the_first(other: Callable[..., bytes]) -> None:
    walk = quick(learned(GOOD))
    assert walked(walk, other) == by_dnspython(other)
    assert walk.memo is not None
    query = dns.message.make_query("a.test", "A", use_edns=0, payload=1232, id=7)
    assert walk.memo.found(other(FIRST, query), QUESTION) == by_dnspython(other)


@pytest.mark.parametrize(
    "scope",
    [
        ConfiguredScope({b"\1b\4test\0": Rule(target=b"\1d\4test\0")}, frozenset()),
        ConfiguredScope({TARGET: Rule(target=b"\1d\4test\0")}, frozenset()),
        ConfiguredScope({}, frozenset({b"\1b\4test\0"})),
        ConfiguredScope({}, frozenset({b"\4test\0"})),
    ],
    ids=["a name on the way is flagged", "the target is", "a name on the way is served", "all are"],
)
def test_what_was_learned_does_not_outlive_the_configuration_that_it_was_true_for(scope: Scope) -> None:
    walk = quick(learned(GOOD), scope)
    assert walked(walk, GOOD) == by_dnspython(GOOD, scope)


def test_a_configuration_that_changes_nothing_for_a_target_costs_no_parsing() -> None:
    memo = learned(GOOD)
    walk = quick(memo, ConfiguredScope({}, frozenset({b"\5other\0"})))
    assert walked(walk, GOOD) == by_dnspython(GOOD)
    assert walk.memo is memo
    assert walk._replies == 0


def test_the_query_is_dnspythons() -> None:
    walk = quick()
    walk.begin(0.0)
    client = walk._client
    assert isinstance(client, Client)
    query = client.asked[0]
    made = dns.message.make_query("a.test", "A", use_edns=0, payload=1232, id=0x1234)
    assert query.message_id + query.message == made.to_wire()
    assert query.timeout_s == 0.9


def test_a_cut_reply_is_left_to_tcp() -> None:
    def cut(endpoint: Endpoint, query: dns.message.Message) -> bytes:
        octets = bytearray(GOOD(endpoint, query))
        octets[2] |= 0x02
        return bytes(octets)

    walk = quick(learned(GOOD))
    assert walked(walk, cut) is None
    assert walk.is_cut
    assert walk.chain.ask is not None
    assert walk.chain.ask.name.to_text() == "a.test."


@pytest.mark.parametrize(
    "garble",
    [lambda reply: reply[:-3], lambda reply: reply[:2] + b"\x91" + reply[3:]],
    ids=["cannot be parsed", "another opcode"],
)
def test_what_turns_out_to_be_no_reply_is_waited_on(garble: Callable[[bytes], bytes]) -> None:
    def garbled(endpoint: Endpoint, query: dns.message.Message) -> bytes:
        return garble(GOOD(endpoint, query))

    walk = quick()
    assert walked(walk, garbled) is None
    client = walk._client
    assert isinstance(client, Client)
    assert len(client.back) == 1
    assert not walk.is_cut


def test_errors_are_in_the_words_of_ask() -> None:
    def nobody(endpoint: Endpoint, _query: dns.message.Message) -> FlatproxyError:
        return ChainBroken(f"{endpoint}: connection refused")

    text = "ChainBroken: a.test A: 192.0.2.1:53: connection refused; 192.0.2.2:53: connection refused"
    assert walked(quick(), nobody) == text
    assert walked(quick(learned(GOOD)), nobody) == text


def test_without_a_server_it_says_so_at_once() -> None:
    walk = TargetWalk(target_of(), 0.0, None, Servers((), 1.8, recursion=True), UPSTREAM, SCOPE, Client(), lambda: None)
    assert walked(walk, GOOD) == "ChainBroken: a.test A: there is no server to ask"


@pytest.mark.parametrize(
    "odd",
    [
        says(authority=f"test. 300 SOA {SOA}60|x.test. 5 SOA {SOA}60"),
        says("a.test. 300 CNAME c.test.", "a.test. 200 CNAME b.test.", "b.test. 60 A 192.0.2.1"),
    ],
    ids=["two SOAs", "two CNAMEs"],
)
def test_of_an_odd_reply_nothing_is_learned(odd: Callable[..., bytes]) -> None:
    walk = quick()
    assert walked(walk, odd) == by_dnspython(odd)
    assert walk.memo is None


def test_of_a_target_that_is_flagged_itself_nothing_is_learned() -> None:
    """Another name than the target's is asked about."""
    scope = ConfiguredScope({TARGET: Rule(target=b"\1d\4test\0")}, frozenset())
    script = says("d.test. 60 A 192.0.2.1")
    walk = quick(scope=scope)
    assert walked(walk, script) == by_dnspython(script, scope)
    assert walk.memo is None
