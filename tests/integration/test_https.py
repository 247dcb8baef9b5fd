"""HTTPS records of the target at a flagged name of an unsigned zone, whose own record has hints at its placeholder."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import dns.message
import dns.rdatatype
import pytest

from tests.support.child import run
from tests.support.configuration import configuration
from tests.support.internet import Mood
from tests.support.proxy import Proxy
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.nsd import Nsd

_TYPES = ["A", "AAAA", "HTTPS", "SVCB"]


def _fill(internet: FakeInternet) -> None:
    internet.cname("lb.test", "a.lb.test", 60)
    internet.set("a.lb.test", "A", ["203.0.113.1"], 1)
    internet.set("a.lb.test", "HTTPS", ['1 . alpn="h2" ipv4hint=203.0.113.1'], 60)
    internet.set("alias.test", "A", ["203.0.113.2"], 60)
    internet.set("alias.test", "HTTPS", ["0 service.test."], 60)
    internet.set("service.test", "HTTPS", ['1 . alpn="h3" ipv4hint=203.0.113.9'], 60)
    internet.set("none.test", "A", ["203.0.113.3"], 60)


def _config(nsd: Nsd, internet: FakeInternet) -> str:
    return configuration(
        upstream=[nsd.address],
        resolver=[internet.address],
        flatten={
            "example.com": {"target": "lb.test", "types": _TYPES},
            "deepest.example.com": {"target": "alias.test", "types": _TYPES},
            "both.example.com": {"target": "none.test", "types": _TYPES},
        },
    )


@pytest.fixture(scope="module")
def proxy(nsd: Nsd, internet: FakeInternet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    _fill(internet)
    with Proxy(tmp_path_factory.mktemp("proxy"), _config(nsd, internet)) as running:
        yield running


def _https(proxy: Proxy, name: str, rdtype: str = "HTTPS", *, tcp: bool = False) -> set[str]:
    reply = proxy.ask(dns.message.make_query(name, rdtype), tcp=tcp)
    wanted = dns.rdatatype.from_text(rdtype)
    found = {rdata.to_text() for rrset in reply.answer if rrset.rdtype == wanted for rdata in rrset}
    assert found or [rrset.rdtype for rrset in reply.authority] == [dns.rdatatype.SOA]
    return found


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.com", {'1 . alpn="h2" ipv4hint="203.0.113.1"'}),
        ("www.example.com", {'1 . alpn="h2" ipv4hint="203.0.113.1"'}),
        ("deepest.example.com", {'1 service.test. alpn="h3"'}),
        ("both.example.com", set()),
    ],
)
def test_what_the_target_has(proxy: Proxy, name: str, expected: set[str], *, tcp: bool) -> None:
    assert _https(proxy, name, tcp=tcp) == expected


def test_svcb_is_a_type_of_its_own(proxy: Proxy) -> None:
    assert _https(proxy, "example.com", "SVCB") == set()


def test_hints_follow_the_addresses(proxy: Proxy, internet: FakeInternet) -> None:
    """The load balancer moves and its HTTPS record lags behind: the hint goes with the address."""
    internet.set("a.lb.test", "A", ["203.0.113.5"], 1)
    try:
        until(lambda: _https(proxy, "example.com") == {'1 . alpn="h2"'}, lambda: proxy.log, 30)
    finally:
        internet.set("a.lb.test", "A", ["203.0.113.1"], 1)
    until(lambda: "203.0.113.1" in str(_https(proxy, "example.com")), lambda: proxy.log, 30)


def test_a_target_that_fails_has_none(nsd: Nsd, internet: FakeInternet, start: Callable[..., Proxy]) -> None:
    """Never the nameserver's, whose hint leads to the placeholder."""
    _fill(internet)
    internet.moods["lb.test"] = Mood.SERVFAIL
    try:
        proxy = start(_config(nsd, internet))
        assert _https(proxy, "example.com") == set()
    finally:
        del internet.moods["lb.test"]


def test_explain_says_what_is_answered(nsd: Nsd, internet: FakeInternet, tmp_path: Path) -> None:
    _fill(internet)
    path = tmp_path / "flatproxy.toml"
    path.write_text(_config(nsd, internet))
    command = [sys.executable, "-m", "flatproxy", "explain", "--json", "--config", str(path), "deepest.example.com"]
    told = {each["type"]: each["answer"]["addresses"] for each in json.loads(run(command, check=False))["types"]}
    assert told["HTTPS"] == ['1 service.test. alpn="h3"']
    assert told["A"] == ["203.0.113.2"]
