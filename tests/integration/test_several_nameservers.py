"""Several nameservers, of which some are silent, closed, or not there yet."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.support.configuration import configuration
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.scripted import Scripted
from tests.support.scripted import silent as say_nothing
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.nameserver import Nameserver
    from tests.support.nsd import Nsd
    from tests.support.ports import Address

Start = Callable[..., Proxy]

_MX = dns.message.make_query("example.com", "MX")


@pytest.fixture
def silent() -> Iterator[Scripted]:
    with Scripted(say_nothing) as server:
        yield server


_PATIENCE_S = 4
"""Of the proxy with a nameserver, or half of it: long enough that a busy machine is not taken for waiting."""


def _took_s(proxy: Proxy, *, tcp: bool = False) -> float:
    began = monotonic()
    reply = proxy.ask(_MX, tcp=tcp)
    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.answer
    return monotonic() - began


def test_a_silent_first_nameserver_costs_its_timeout_once(silent: Scripted, nsd: Nsd, start: Start) -> None:
    patience = {"timeout": f"{_PATIENCE_S}s"}
    proxy = start(configuration(upstream=[silent.address, nsd.address], upstream_=patience), ready=False)
    assert _took_s(proxy) < 2 * _PATIENCE_S
    for _ in range(20):
        assert _took_s(proxy) < _PATIENCE_S / 2
    assert _took_s(proxy, tcp=True) < _PATIENCE_S / 2
    proxy.wait_event("upstream_down")
    assert proxy.metrics().value("upstream_up", server=f"127.0.0.1:{silent.port}") == 0
    assert proxy.metrics().value("upstream_up", server=f"127.0.0.1:{nsd.port}") == 1
    assert proxy.get("/readyz")[0] == 200


def test_a_closed_first_nameserver_costs_nothing(nsd: Nsd, start: Start) -> None:
    closed: Address = ("127.0.0.1", free_port())
    config = configuration(upstream=[closed, nsd.address], upstream_={"timeout": f"{2 * _PATIENCE_S}s"})
    proxy = start(config, ready=False)
    for tcp in (False, True):
        for _ in range(5):
            assert _took_s(proxy, tcp=tcp) < _PATIENCE_S


def test_the_first_nameserver_is_preferred_again_when_it_is_back(silent: Scripted, nsd: Nsd, start: Start) -> None:
    proxy = start(configuration(upstream=[silent.address, nsd.address], upstream_={"timeout": "500ms"}), ready=False)
    assert _took_s(proxy) < 2 * _PATIENCE_S
    silent.answer = lambda query: query.data[:2] + b"\x84\5" + query.data[4:]
    until(lambda: proxy.ask(_MX).rcode() == dns.rcode.REFUSED, "the first one's answer")


def test_all_nameservers_down_is_servfail_at_once(start: Start) -> None:
    closed: list[Address] = [("127.0.0.1", free_port()), ("127.0.0.1", free_port())]
    proxy = start(configuration(upstream=closed, upstream_={"timeout": f"{2 * _PATIENCE_S}s"}), ready=False)
    for tcp in (False, True):
        began = monotonic()
        assert proxy.ask(_MX, tcp=tcp).rcode() == dns.rcode.SERVFAIL
        assert monotonic() - began < _PATIENCE_S
    assert proxy.get("/readyz")[0] == 503


def test_started_before_the_nameserver(nameserver: Nameserver, start: Start) -> None:
    nameserver.stop()
    try:
        proxy = start(configuration(upstream=[nameserver.address]), ready=False)
        assert proxy.ask(_MX).rcode() == dns.rcode.SERVFAIL
    finally:
        nameserver.restart()
    until(lambda: proxy.ask(_MX).rcode() == dns.rcode.NOERROR, "the nameserver's answers")
    proxy.wait_event("ready")
