from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from flatproxy.demo.internet import Internet
from flatproxy.demo.nameserver import APEX, DKIM, DemoNameserver
from flatproxy.demo.serving import serve
from flatproxy.demo.tour import Stops, Tour

Twist = Callable[[dns.message.Message], None]
WWW = dns.name.from_text("www.example.com")
HERE = dns.name.from_text("example.com")
TYPES = {dns.rdatatype.A: "A", dns.rdatatype.AAAA: "AAAA"}


class FakeProxy:
    """Answers as the proxy should, then lets `twist` spoil it."""

    def __init__(self, internet: Internet, twist: Twist = lambda _response: None) -> None:
        self._nameserver = DemoNameserver()
        self._internet = internet
        self._twist = twist

    def answer(self, query: dns.message.Message, response: dns.message.Message) -> None:
        question = query.question[0]
        self._nameserver.answer(query, response)
        if question.rdtype in TYPES and question.name in (HERE, WWW):
            response.authority.clear()
            response.answer = [rrset for rrset in response.answer if rrset.rdtype == dns.rdatatype.CNAME]
            addresses = sorted(self._internet.addresses("A" if question.rdtype == dns.rdatatype.A else "AAAA"))
            response.answer.append(dns.rrset.from_text(HERE, 2, "IN", TYPES[question.rdtype], *addresses))
        self._twist(response)


def _take(
    twist: Twist = lambda _response: None, *, balancer: Internet | None = None, large: str = DKIM
) -> tuple[bool, str]:
    """Take the tour between stand-ins; return what it found and what it said."""
    lines: list[str] = []

    async def run() -> bool:
        internet = Internet()
        async with AsyncExitStack() as stack:
            nameserver = await serve(DemoNameserver())
            stack.push_async_callback(nameserver.close)
            proxy = await serve(FakeProxy(internet, twist))
            stack.push_async_callback(proxy.close)
            tour = Tour(
                proxy=proxy.endpoint,
                nameserver=nameserver.endpoint,
                load_balancer=balancer or internet,
                stops=Stops(flagged=APEX, alias=f"www.{APEX}", large=large),
                say=lines.append,
                patience_s=0.0,
            )
            return await tour.take()

    return asyncio.run(run()), "\n".join(lines)


def test_a_proxy_that_keeps_its_promises_is_seen_to_do_so() -> None:
    well, said = _take()
    assert well, said
    assert "FAILED" not in said
    assert said.endswith("Both promises kept.")
    before, after = said.split("The load balancer moves.")
    assert "192.0.2.1  (TTL 3600)" in before
    for part, number in ((before, 1), (after, 2)):
        assert f"example.com      A     198.51.100.{number} 203.0.113.{number}  (TTL 2)" in part
        assert f"example.com      AAAA  2001:db8:{number}::80 2001:db8:{number}::81  (TTL 2)" in part
    assert said.count("identical") == 5
    assert "cut short (TC)" in said
    assert max(len(line) for line in said.splitlines()) <= 80


def _question_is(response: dns.message.Message, name: dns.name.Name | str, rdtype: str) -> bool:
    owner = name if isinstance(name, dns.name.Name) else dns.name.from_text(name)
    question = response.question[0]
    return question.name == owner and question.rdtype == dns.rdatatype.from_text(rdtype)


def _placeholder(response: dns.message.Message) -> None:
    if _question_is(response, HERE, "A"):
        response.answer = [dns.rrset.from_text(HERE, 3600, "IN", "A", "192.0.2.1")]


def _no_authority(response: dns.message.Message) -> None:
    if _question_is(response, HERE, "AAAA"):
        response.flags &= ~dns.flags.AA


def _servfail(response: dns.message.Message) -> None:
    if _question_is(response, WWW, "A"):
        response.set_rcode(dns.rcode.SERVFAIL)


def _only_one_address(response: dns.message.Message) -> None:
    if _question_is(response, HERE, "A"):
        response.answer = [dns.rrset.from_text(HERE, 2, "IN", "A", response.answer[0][0].to_text())]


@pytest.mark.parametrize("twist", [_placeholder, _no_authority, _servfail, _only_one_address])
def test_a_wrong_address_answer_fails_the_tour(twist: Twist) -> None:
    well, said = _take(twist)
    assert not well
    assert "should be" in said
    assert said.endswith("FAILED: see above.")


class Frozen(Internet):
    """A load balancer that stays: then there is nothing to be seen."""

    def move(self) -> None:
        pass


def test_a_tour_without_a_change_has_seen_nothing() -> None:
    well, said = _take(balancer=Frozen())
    assert not well
    assert "Followed" not in said


class Stale(Internet):
    """A load balancer that moves where the proxy does not look."""


def test_an_answer_that_does_not_follow_fails_the_tour() -> None:
    well, said = _take(balancer=Stale())
    assert not well
    assert "FAILED: example.com A should be 198.51.100.2 203.0.113.2, but is:" in said
    assert said.count("example.com      A     198.51.100.1 203.0.113.1") == 2


def _other_ttl(response: dns.message.Message) -> None:
    if _question_is(response, HERE, "MX"):
        response.answer[0].ttl -= 1


def _extra_flag(response: dns.message.Message) -> None:
    if response.rcode() == dns.rcode.NXDOMAIN:
        response.flags |= dns.flags.RA


def _another_key(response: dns.message.Message) -> None:
    if _question_is(response, DKIM, "TXT"):
        response.answer[0].ttl += 1


@pytest.mark.parametrize("twist", [_other_ttl, _extra_flag, _another_key])
def test_an_ordinary_answer_that_differs_fails_the_tour(twist: Twist) -> None:
    well, said = _take(twist)
    assert not well
    assert said.count("identical") == 4
    assert "        nameserver " in said
    assert said.endswith("FAILED: see above.")


def test_a_large_answer_that_was_never_cut_has_shown_nothing() -> None:
    well, said = _take(large=APEX)
    assert not well
    assert said.count("identical") == 4


def test_nobody_there_is_said_and_fails() -> None:
    lines: list[str] = []

    async def run() -> bool:
        gone = await serve(DemoNameserver())
        await gone.close()
        stops = Stops(flagged=APEX, alias=f"www.{APEX}", large=DKIM)
        return await Tour(
            proxy=gone.endpoint, nameserver=gone.endpoint, load_balancer=Internet(), stops=stops, say=lines.append
        ).take()

    assert not asyncio.run(run())
    assert lines[-1].startswith("FAILED: 127.0.0.1:")
