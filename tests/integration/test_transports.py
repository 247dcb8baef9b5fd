"""A nameserver that is well over one transport and not over the other, and one that has SERVFAIL for everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import dns.message
import dns.rcode
import pytest

from tests.support.configuration import configuration
from tests.support.proxy import Proxy
from tests.support.scripted import TCP, UDP, Query, Scripted
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

Start = Callable[..., Proxy]


def _made(query: Query, rcode: dns.rcode.Rcode) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(query.data))
    reply.set_rcode(rcode)
    return reply.to_wire()


def _good(query: Query) -> bytes:
    return _made(query, dns.rcode.NOERROR)


def _failing(query: Query) -> bytes:
    return _made(query, dns.rcode.SERVFAIL)


@pytest.fixture
def servers() -> Iterator[tuple[Scripted, Scripted]]:
    with Scripted(_good) as first, Scripted(_good) as second:
        yield first, second


def _rcode(proxy: Proxy, *, tcp: bool = False) -> dns.rcode.Rcode:
    return proxy.ask(dns.message.make_query("www.example.com", "A"), tcp=tcp).rcode()


def test_without_udp_tcp_is_still_served(servers: tuple[Scripted, Scripted], start: Start) -> None:
    """It is down over UDP, which metrics and readiness say; no TCP client was there to show that TCP works."""
    server = servers[0]
    server.answer = lambda query: None if query.transport == UDP else _good(query)
    proxy = start(configuration(upstream=[server.address]), ready=False)
    proxy.wait_event("upstream_down", deadline_s=30)
    assert _rcode(proxy, tcp=True) == dns.rcode.NOERROR
    assert _rcode(proxy) == dns.rcode.SERVFAIL
    assert proxy.metrics().value("upstream_up") == 0
    assert not proxy.since(0, "upstream_tcp_down")


def test_without_tcp_udp_is_still_served_and_tcp_by_another(servers: tuple[Scripted, Scripted], start: Start) -> None:
    first, second = servers
    first.answer = lambda query: None if query.transport == TCP else _good(query)
    proxy = start(configuration(upstream=[first.address, second.address]))
    until(lambda: _rcode(proxy, tcp=True) == dns.rcode.NOERROR, "TCP by the second")
    assert _rcode(proxy) == dns.rcode.NOERROR
    assert not [query for query in second.asked("www.example.com") if query.transport == UDP]
    proxy.wait_event("upstream_tcp_down", deadline_s=30)
    first.answer = _good
    proxy.wait_event("upstream_tcp_up", deadline_s=30)
    assert not proxy.since(0, "upstream_down")


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_one_that_has_servfail_for_everything_is_passed_over(
    servers: tuple[Scripted, Scripted], start: Start, *, tcp: bool
) -> None:
    first, second = servers
    proxy = start(configuration(upstream=[first.address, second.address]))
    assert _rcode(proxy, tcp=tcp) == dns.rcode.NOERROR
    first.answer = _failing
    until(lambda: _rcode(proxy, tcp=tcp) == dns.rcode.SERVFAIL, "its answers are passed on")
    until(lambda: _rcode(proxy, tcp=tcp) == dns.rcode.NOERROR, "the second is asked", 30)
    first.answer = _good
    proxy.wait_event("upstream_answers", deadline_s=30)
    second.received.clear()
    assert _rcode(proxy, tcp=tcp) == dns.rcode.NOERROR
    assert not second.asked("www.example.com")


def test_with_nobody_else_there_its_answers_are_passed_on(servers: tuple[Scripted, Scripted], start: Start) -> None:
    servers[0].answer = _failing
    proxy = start(configuration(upstream=[servers[0].address]))
    assert _rcode(proxy) == dns.rcode.SERVFAIL
    proxy.wait_event("upstream_failing", deadline_s=40)
    reply = proxy.ask(dns.message.make_query("www.example.com", "A", use_edns=0))
    assert (reply.rcode(), reply.options) == (dns.rcode.SERVFAIL, ()), "not one of our own"
    assert proxy.metrics().value("upstream_up") == 1
