"""Properties that hold across the package, for any input: each is a promise of the documentation."""

from __future__ import annotations

import contextlib
from itertools import pairwise

import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import Int16StringReceiver

from flatproxy.config.rules import Rule
from flatproxy.errors import ChainError, ChainLoop, WireError
from flatproxy.flatten.chain import Chain
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.forward.pending import Pending, random_ids
from flatproxy.forward.query import Query, query_from
from flatproxy.table.ladder import Resolution, Rung, step
from flatproxy.wire import edns, names, peek, proxy
from flatproxy.wire.landing import MAX_HOPS
from tests.unit.forward.surroundings import Sent

labels = st.binary(min_size=1, max_size=20)
qnames = st.lists(labels, max_size=8).map(lambda parts: dns.name.Name([*parts, b""]))
questions = st.tuples(qnames, st.integers(0, 65_535), st.integers(0, 65_535))


def wire_question(question: tuple[dns.name.Name, int, int]) -> bytes:
    name, rdtype, rdclass = question
    return (name.to_wire() or b"") + rdtype.to_bytes(2, "big") + rdclass.to_bytes(2, "big")


class TestPeek:
    @given(questions, st.binary(max_size=30))
    def test_it_agrees_with_dnspython(self, question: tuple[dns.name.Name, int, int], rest: bytes) -> None:
        wire = wire_question(question)
        end = peek.question_end(bytes(12) + wire + rest)
        assert end == 12 + len(wire)
        name, used = dns.name.from_wire(bytes(12) + wire, 12)
        assert (name, used) == (question[0], len(wire) - 4)

    @given(st.binary(max_size=300))
    @example(bytes(12) + b"\x40" + b"a" * 64 + b"\0\0\1\0\1")
    @example(bytes(12) + b"\x3f" * 256 + b"\0\0\1\0\1")
    def test_it_follows_nothing_that_dnspython_cannot(self, message: bytes) -> None:
        end = peek.question_end(message)
        if end:
            _name, used = dns.name.from_wire(message, 12)
            assert 12 + used + 4 == end

    @given(st.binary(max_size=200))
    def test_any_octets_give_a_value_or_a_wire_error(self, octets: bytes) -> None:
        peek.is_signed(octets)
        peek.answers(octets, b"")
        peek.carries_only_opt(octets, 12)
        peek.first_answer_type(octets + bytes(12), 12)
        for read in (names.to_text, proxy.parse, lambda data: peek.skip_name(data, 0)):
            with contextlib.suppress(WireError):
                read(octets)

    @given(st.binary(max_size=60))
    def test_a_whole_opt_is_one_that_dnspython_reads(self, tail: bytes) -> None:
        question = b"\7example\3com\0\0\1\0\1"
        message = bytes(5) + b"\1" + bytes(5) + b"\1" + question + b"\0\0\x29" + tail
        end = 12 + len(question)
        if edns.is_whole(message, end):
            parsed = dns.message.from_wire(message)
            assert parsed.opt is not None
            assert parsed.edns == edns.version(message, end)
            assert bool(parsed.ednsflags & dns.flags.DO) == edns.wants_dnssec(message, end)


class TestIds:
    @given(st.lists(st.tuples(st.binary(min_size=2, max_size=2), questions), max_size=40))
    def test_the_swap_undoes_itself(self, asked: list[tuple[bytes, tuple[dns.name.Name, int, int]]]) -> None:
        pending = Pending(random_ids())
        sent: list[tuple[bytes, Query]] = []
        for client_id, question in asked:
            message = client_id + b"\1\0\0\1\0\0\0\0\0\0" + wire_question(question)
            query = query_from(message, peek.question_of(message, len(message)), b"", Sent(), None, 0.0)
            sent.append((pending.admit(query) + message[2:], query))
        assert len({datagram[:2] for datagram, _query in sent}) == len(sent)
        for datagram, query in reversed(sent):
            reply = datagram[:2] + b"\x85" + datagram[3:]
            assert pending.match(reply) is query
            assert query.message[:2] + reply[2:] == query.message[:2] + b"\x85" + query.message[3:]
            assert pending.match(reply) is None
        assert len(pending) == 0


class _Collected(Int16StringReceiver):
    def __init__(self) -> None:
        self.strings: list[bytes] = []

    def stringReceived(self, string: bytes) -> None:  # noqa: N802 - Twisted's name
        self.strings.append(string)


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_framing_does_not_depend_on_how_a_stream_is_cut(messages: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(len(message).to_bytes(2, "big") + message for message in messages)
    receiver = _Collected()
    receiver.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
    turn = 0
    while stream:
        size = sizes[turn % len(sizes)]
        receiver.dataReceived(stream[:size])  # type: ignore[no-untyped-call]
        stream, turn = stream[size:], turn + 1
    assert receiver.strings == messages


rules = st.builds(
    Rule,
    target=st.just(b"\2lb\0"),
    max_ttl_s=st.integers(1, 604_800),
    stale_for_s=st.integers(0, 86_400),
    stale_ttl_s=st.integers(0, 300),
)


class TestTtl:
    @given(rules, st.integers(0, 2**31 - 1), st.lists(st.floats(0, 1e6), min_size=2, max_size=20))
    def test_it_never_exceeds_the_chains_nor_grows(self, rule: Rule, ttl_s: int, times: list[float]) -> None:
        resolution = Resolution(rdatas=(b"\1\2\3\4",), ttl_s=ttl_s, names=("lb",), resolved_at=0.0)
        last = None
        for now in sorted(times):
            current = step(resolution, rule, 1, now)
            if current.rung is not Rung.FRESH:
                continue
            assert 0 <= current.ttl_s <= min(ttl_s, rule.max_ttl_s)
            assert last is None or current.ttl_s <= last
            assert current.ttl_s >= min(1, ttl_s)
            assert current.until > now
            last = current.ttl_s

    @given(rules, st.integers(0, 3600), st.floats(0, 1e6))
    def test_a_rung_follows_the_other(self, rule: Rule, ttl_s: int, now: float) -> None:
        resolution = Resolution(rdatas=(b"\1\2\3\4",), ttl_s=ttl_s, names=("lb",), resolved_at=0.0)
        assert step(resolution, rule, 1, now).rung <= step(resolution, rule, 1, now + 1).rung


hosts = [dns.name.from_text(f"h{number}.test.") for number in range(24)]


@st.composite
def graphs(draw: st.DrawFn) -> dict[dns.name.Name, dns.name.Name | str | None]:
    """Draw an internet in which each name is an alias, has an address, or nothing."""
    ends: st.SearchStrategy[dns.name.Name | str | None] = st.one_of(
        st.sampled_from(hosts), st.just("192.0.2.1"), st.none()
    )
    return {host: draw(ends) for host in hosts}


def respond(
    graph: dict[dns.name.Name, dns.name.Name | str | None], name: dns.name.Name, hops: int
) -> dns.message.Message:
    """Answer as a resolver that gives at most `hops` links of a chain at once."""
    response = dns.message.make_response(dns.message.make_query(name, "A"))
    for _ in range(hops):
        found = graph[name]
        if isinstance(found, str):
            response.answer.append(dns.rrset.from_text(name, 30, "IN", "A", found))
        if not isinstance(found, dns.name.Name):
            break
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", found.to_text()))
        name = found
    return dns.message.from_wire(response.to_wire())  # dnspython finds records in what it has read only


@given(graphs(), st.integers(1, 30))
def test_the_walk_ends(graph: dict[dns.name.Name, dns.name.Name | str | None], hops: int) -> None:
    chain = Chain.to(hosts[0], dns.rdatatype.A, ConfiguredScope({}, frozenset()))
    questions_asked = 0
    try:
        while chain.ask is not None:
            questions_asked += 1
            assert questions_asked <= MAX_HOPS + 2
            chain.receive(respond(graph, chain.ask.name, hops))
    except ChainError:
        return
    assert chain.found is not None
    assert len(chain.found.names) <= MAX_HOPS + 1
    assert chain.found.outcome == ("addresses" if chain.found.rdatas else "nodata")


@pytest.mark.parametrize("length", [16, 17])
def test_sixteen_hops_are_walked_and_not_one_more(length: int) -> None:
    graph: dict[dns.name.Name, dns.name.Name | str | None] = dict(pairwise(hosts))
    graph[hosts[length]] = "192.0.2.1"
    chain = Chain.to(hosts[0], dns.rdatatype.A, ConfiguredScope({}, frozenset()))
    if length == 16:
        chain.receive(respond(graph, hosts[0], 30))
        assert chain.found is not None
        assert chain.found.rdatas == (b"\xc0\0\2\1",)
    else:
        with pytest.raises(ChainError):
            chain.receive(respond(graph, hosts[0], 30))


def test_a_chain_that_comes_back_to_a_name_is_a_loop() -> None:
    graph: dict[dns.name.Name, dns.name.Name | str | None] = {hosts[0]: hosts[1], hosts[1]: hosts[0]}
    chain = Chain.to(hosts[0], dns.rdatatype.A, ConfiguredScope({}, frozenset()))
    with pytest.raises(ChainLoop):
        chain.receive(respond(graph, hosts[0], 4))
