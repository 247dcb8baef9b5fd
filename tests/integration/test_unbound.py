"""A real recursive resolver in front: Unbound, with 0x20 and QNAME minimisation, resolves through the proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from tests.support.configuration import configuration
from tests.support.proxy import Proxy
from tests.support.unbound import Unbound
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.internet import FakeInternet
    from tests.support.nameserver import Nameserver

_STUBS = ("example.com", "example.net", "signed.test")


@pytest.fixture(scope="module")
def proxy(nameserver: Nameserver, internet: FakeInternet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    internet.cname("lb.test", "a.lb.test", 60)
    internet.set("a.lb.test", "A", ["203.0.113.1", "203.0.113.2"], 2)
    internet.set("a.lb.test", "AAAA", ["2001:db8:5::1"], 2)
    config = configuration(
        upstream=[nameserver.address],
        resolver=[internet.address],
        flatten={"example.com": {"target": "lb.test"}, "flat.example.net": {"target": "lb.test", "types": ["A"]}},
    )
    with Proxy(tmp_path_factory.mktemp("proxy"), config) as running:
        yield running


@pytest.fixture(scope="module")
def unbound(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unbound]:
    with Unbound(folder=tmp_path_factory.mktemp("unbound"), stubs=_STUBS, authority=proxy.address) as resolver:
        yield resolver


def _ask(unbound: Unbound, name: str, rdtype: str) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype)
    reply = dns.query.udp(query, unbound.host, timeout=10, port=unbound.port, raise_on_truncation=False)
    if reply.flags & dns.flags.TC:
        reply = dns.query.tcp(query, unbound.host, timeout=10, port=unbound.port)
    assert reply.rcode() != dns.rcode.SERVFAIL, unbound.child.tail() if unbound.child else ""
    return reply


def _texts(reply: dns.message.Message, rdtype: str) -> set[str]:
    return {
        rdata.to_text() for rrset in reply.answer if rrset.rdtype == dns.rdatatype.from_text(rdtype) for rdata in rrset
    }


@pytest.mark.parametrize("name", ["example.com", "www.example.com", "alias.example.com", "x.star.example.com"])
def test_flattened_names_and_names_that_land_on_them(unbound: Unbound, name: str) -> None:
    assert _texts(_ask(unbound, name, "A"), "A") == {"203.0.113.1", "203.0.113.2"}
    assert _texts(_ask(unbound, name, "AAAA"), "AAAA") == {"2001:db8:5::1"}


@pytest.mark.parametrize(
    ("name", "rdtype", "expected"),
    [
        ("example.com", "MX", {"10 mail.example.com.", "20 mail.example.net."}),
        ("example.com", "TXT", {'"v=spf1 mx -all"'}),
        ("example.com", "CAA", {'0 issue "ca.example.net"', '128 iodef "mailto:security@example.com"'}),
        ("flat.example.net", "AAAA", set()),
        ("flat.example.net", "TXT", {'"beside the flagged name"'}),
        ("deep.example.com", "A", {"192.0.2.77"}),
        ("anything.example.com", "A", {"192.0.2.99"}),
        ("host.old.example.com", "A", {"203.0.113.10"}),
        ("leaf.empty.branch.example.com", "A", {"192.0.2.11"}),
        ("_sip._tcp.example.com", "SRV", {"10 60 5060 sip.example.com.", "20 60 5060 mail.example.com."}),
        ("host.signed.test", "A", {"203.0.113.30"}),
    ],
)
def test_ordinary_names(unbound: Unbound, name: str, rdtype: str, expected: set[str]) -> None:
    assert _texts(_ask(unbound, name, rdtype), rdtype) == expected


def test_what_does_not_fit_a_datagram_comes_over_tcp(unbound: Unbound, proxy: Proxy) -> None:
    before = proxy.metrics().value("queries_total", transport="tcp", verdict="forwarded")
    assert len(next(iter(_texts(_ask(unbound, "txt4000.example.com", "TXT"), "TXT")))) > 4000
    assert proxy.metrics().value("queries_total", transport="tcp", verdict="forwarded") > before


@pytest.mark.parametrize("name", ["missing.example.net", "a.missing.signed.test"])
def test_a_name_that_does_not_exist(unbound: Unbound, name: str) -> None:
    assert _ask(unbound, name, "A").rcode() == dns.rcode.NXDOMAIN


def test_no_data(unbound: Unbound) -> None:
    reply = _ask(unbound, "flat.example.net", "MX")
    assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])


def test_a_change_reaches_the_clients_of_the_resolver(unbound: Unbound, internet: FakeInternet) -> None:
    """The load balancer moves: within the TTLs (2 s at the target, as much again in Unbound's cache) all know."""
    internet.set("a.lb.test", "A", ["203.0.113.99"], 2)
    try:
        until(lambda: _texts(_ask(unbound, "www.example.com", "A"), "A") == {"203.0.113.99"}, "the new address", 8)
    finally:
        internet.set("a.lb.test", "A", ["203.0.113.1", "203.0.113.2"], 2)
    until(lambda: len(_texts(_ask(unbound, "www.example.com", "A"), "A")) == 2, "the old addresses", 8)
