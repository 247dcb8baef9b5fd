"""How one server is asked, and several in turn: transports, silence, refusal, a header in front."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.message
import dns.name
import dns.rdatatype
import pytest

from flatproxy.config.settings import Endpoint
from flatproxy.errors import ChainBroken, UpstreamTimeout
from flatproxy.flatten.resolvers.plain import exchange, is_own_address
from flatproxy.flatten.resolvers.servers import Servers
from tests.support.internet import FakeInternet, Mood
from tests.support.scripted import TCP, UDP, Answer, Query, Scripted, silent

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = Endpoint("127.0.0.1", 9)
PATIENCE_S = 0.2
"""With whoever is silent."""
LONG_S = 10.0
"""With whoever answers, however busy the machine."""


@pytest.fixture(scope="module")
def internet() -> Iterator[FakeInternet]:
    net = FakeInternet()
    net.start()
    for mood in Mood:
        net.set(f"{mood.name}.test", "A", ["192.0.2.1"])
        net.moods[f"{mood.name.lower()}.test"] = mood
    yield net
    net.stop()


def ask(net: FakeInternet, mood: Mood, *, tcp: bool | None = None, patience_s: float = LONG_S) -> dns.message.Message:
    query = dns.message.make_query(f"{mood.name}.test", "A")
    return asyncio.run(exchange(query, Endpoint(*net.address), patience_s, tcp=tcp))


@pytest.mark.parametrize("tcp", [None, False, True])
def test_an_answer(internet: FakeInternet, tcp: bool | None) -> None:
    assert ask(internet, Mood.HONEST, tcp=tcp).answer


@pytest.mark.parametrize(("tcp", "records"), [(None, 1), (False, 0), (True, 1)])
def test_what_is_cut_is_asked_for_again_over_tcp_unless_only_udp_is_meant(
    internet: FakeInternet, tcp: bool | None, records: int
) -> None:
    assert len(ask(internet, Mood.TRUNCATED, tcp=tcp).answer) == records


@pytest.mark.parametrize("mood", [Mood.SILENT, Mood.WRONG_ID, Mood.WRONG_QUESTION, Mood.GARBAGE])
def test_what_is_no_answer_counts_as_silence(internet: FakeInternet, mood: Mood) -> None:
    with pytest.raises(UpstreamTimeout, match=r"no answer within 0\.2 s"):
        ask(internet, mood, patience_s=PATIENCE_S)


@pytest.mark.parametrize("mood", [Mood.WRONG_ID, Mood.WRONG_QUESTION, Mood.GARBAGE])
def test_over_tcp_it_ends_the_exchange(internet: FakeInternet, mood: Mood) -> None:
    with pytest.raises(ChainBroken):
        ask(internet, mood, tcp=True)


@pytest.mark.parametrize("tcp", [None, False, True])
def test_nobody_there_is_known_at_once(tcp: bool | None) -> None:
    with pytest.raises(ChainBroken, match=r"^127\.0\.0\.1:9: connection refused$"):
        asyncio.run(exchange(dns.message.make_query("a.test", "A"), NOBODY, 60, tcp=tcp))


def test_a_header_comes_before_the_query_on_both_transports() -> None:
    header = b"HEADER"

    def script(query: Query) -> Answer:
        if query.transport == UDP:
            assert query.data.startswith(header)
            return dns.message.make_response(dns.message.from_wire(query.data[len(header) :])).to_wire()
        return None

    with Scripted(script) as server:
        there = Endpoint(*server.address)
        query = dns.message.make_query("a.test", "A")
        assert asyncio.run(exchange(query, there, 5, header=header)).id == query.id
        with pytest.raises(UpstreamTimeout):
            asyncio.run(exchange(query, there, PATIENCE_S, tcp=True, header=b"\0\2HI"))
    # Framed as a message of two octets, which is how the stand-in reads it; the query follows.
    assert [received.data for received in server.received if received.transport == TCP] == [b"HI", query.to_wire()]


def ask_several(*endpoints: Endpoint, patience_s: float = 4 * PATIENCE_S) -> Servers:
    servers = Servers(endpoints, patience_s, recursion=True)
    name = dns.name.from_text("honest.test")
    assert asyncio.run(servers.ask(name, dns.rdatatype.A)).answer
    return servers


def test_the_first_that_answers_is_taken_and_named(internet: FakeInternet) -> None:
    there = Endpoint(*internet.address)
    assert ask_several(NOBODY, there, patience_s=LONG_S).asked == there


def test_why_each_of_several_did_not_answer() -> None:
    with Scripted(silent) as mute:
        there = Endpoint(*mute.address)
        with pytest.raises(ChainBroken, match=f"^honest.test A: {there}: no answer within 0.4 s; {NOBODY}: connection"):
            ask_several(there, NOBODY)
        with pytest.raises(UpstreamTimeout, match=r"^honest.test A: no answer within 0.8 s$"):
            ask_several(there)
        with pytest.raises(ChainBroken, match="there is no server to ask"):
            ask_several()


def test_own_addresses() -> None:
    assert is_own_address("127.0.0.1")
    assert not is_own_address("192.0.2.1")
