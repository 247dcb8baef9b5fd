"""A zone's own CNAME that lands on a flagged name, and zones that are signed: what is put right, and what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from tests.support import dnsio
from tests.support.configuration import LOOPBACK, configuration
from tests.support.proxy import Proxy
from tests.support.zones import KEY_NAME, KEYRING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.internet import FakeInternet
    from tests.support.nameserver import Nameserver

_LB4 = {"203.0.113.1", "203.0.113.2"}
_LB6 = {"2001:db8:5::1"}
_BIG6 = {f"2001:db8:7::{number:x}" for number in range(1, 61)}


@pytest.fixture(scope="module")
def proxy(nameserver: Nameserver, internet: FakeInternet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    internet.set("lb.test", "A", sorted(_LB4), 30)
    internet.set("lb.test", "AAAA", sorted(_LB6), 30)
    internet.set("four.test", "A", ["203.0.113.4"], 30)
    internet.set("big.test", "AAAA", sorted(_BIG6), 30)
    config = configuration(
        upstream=[nameserver.address],
        resolver=[internet.address],
        access={"transfer": LOOPBACK},
        flatten={
            "example.com": {"target": "lb.test"},
            "both.example.com": {"target": "four.test"},
            "only4.example.com": {"target": "lb.test"},
            "deepest.example.com": {"target": "big.test"},
            "flat.example.net": {"target": "lb.test"},
            "unlisted.example.net": {"target": "lb.test"},
            "signed.test": {"target": "lb.test"},
        },
    )
    with Proxy(tmp_path_factory.mktemp("proxy"), config) as running:
        yield running


def _of_type(reply: dns.message.Message, rdtype: str) -> set[str]:
    wanted = dns.rdatatype.from_text(rdtype)
    return {rdata.to_text() for rrset in reply.answer if rrset.rdtype == wanted for rdata in rrset}


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    ("name", "cnames"),
    [
        ("www.example.com", {"example.com."}),
        ("alias.example.com", {"www.example.com.", "example.com."}),
        ("x.star.example.com", {"www.example.com.", "example.com."}),
        ("back.example.net", {"example.com."}),
        ("to.only4.example.com", {"only4.example.com."}),
        ("flat.old.example.com", {"flat.example.net."}),
        ("to.unlisted.example.net", {"unlisted.example.net."}),
    ],
)
def test_the_chain_ends_at_the_flattened_addresses(proxy: Proxy, name: str, cnames: set[str], *, tcp: bool) -> None:
    """Also where the nameserver had none of that type (its SOA goes), or no such name at all, or only the CNAME."""
    for rdtype, expected in (("A", _LB4), ("AAAA", _LB6)):
        reply = proxy.ask(dns.message.make_query(name, rdtype), tcp=tcp)
        assert reply.rcode() == dns.rcode.NOERROR
        assert _of_type(reply, "CNAME") == cnames
        assert _of_type(reply, rdtype) == expected
        assert not any(rrset.rdtype == dns.rdatatype.SOA for rrset in reply.authority)
        assert reply.answer[-1].ttl <= 30
        assert reply.flags & dns.flags.AA


def test_a_type_that_the_target_lacks_is_nodata(proxy: Proxy) -> None:
    """The zone has a placeholder AAAA, the target has no AAAA: the placeholder must not come through."""
    reply = proxy.ask(dns.message.make_query("to.both.example.com", "AAAA"))
    assert reply.rcode() == dns.rcode.NOERROR
    assert _of_type(reply, "CNAME") == {"both.example.com."}
    assert _of_type(reply, "AAAA") == set()
    assert [(rrset.name.to_text(), rrset.rdtype) for rrset in reply.authority] == [("example.com.", dns.rdatatype.SOA)]


@pytest.mark.parametrize("size", [None, 512, 1232])
def test_what_does_not_fit_any_more_is_truncated(proxy: Proxy, size: int | None) -> None:
    """The nameserver's reply had room, the flattened addresses have not: TC, and everything over TCP."""
    query = dns.message.make_query("deep.example.com", "AAAA", use_edns=size is not None, payload=size or 512)
    wire = dnsio.udp(proxy.address, query.to_wire())
    assert wire is not None
    assert len(wire) <= (size or 512)
    reply = dns.message.from_wire(wire)
    assert reply.flags & dns.flags.TC
    assert (reply.edns == 0) == (size is not None)
    assert _of_type(proxy.ask(query, tcp=True), "AAAA") == _BIG6


def test_edns_and_case_survive(proxy: Proxy) -> None:
    query = dns.message.make_query("wWw.ExAmPlE.cOm", "A", use_edns=0, payload=1400)
    wire = query.to_wire()
    reply = dnsio.udp(proxy.address, wire)
    assert reply is not None
    assert reply[12 : 12 + 21] == wire[12 : 12 + 21]
    assert dns.message.from_wire(reply).edns == 0


@pytest.mark.parametrize("rdtype", ["MX", "TXT", "CNAME", "ANY", "HTTPS", "SOA"])
def test_other_types_are_left_alone(nameserver: Nameserver, proxy: Proxy, rdtype: str) -> None:
    wire = dns.message.make_query("www.example.com", rdtype).to_wire()
    assert dnsio.udp(proxy.address, wire) == dnsio.udp(nameserver.address, wire)


def test_a_signed_reply_is_left_alone(proxy: Proxy) -> None:
    query = dns.message.make_query("www.example.com", "A")
    query.use_tsig(KEYRING, KEY_NAME)
    for tcp in (False, True):
        reply = proxy.ask(query, tcp=tcp)  # dnspython checks the signature
        assert reply.had_tsig
        assert "203.0.113.1" not in _of_type(reply, "A")


# A zone that is signed with DNSSEC


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("name", ["signed.test", "www.signed.test"])
@pytest.mark.parametrize("rdtype", ["A", "AAAA", "DNSKEY", "NSEC"])
def test_who_asks_for_signatures_gets_the_zone_as_it_is(
    nameserver: Nameserver, proxy: Proxy, name: str, rdtype: str, *, tcp: bool
) -> None:
    """With our addresses among them nothing would validate."""
    proxy.wait_event("zone_signed")
    wire = dns.message.make_query(name, rdtype, want_dnssec=True).to_wire()
    exchange = dnsio.tcp if tcp else dnsio.udp
    assert exchange(proxy.address, wire) == exchange(nameserver.address, wire) is not None


@pytest.mark.parametrize("name", ["signed.test", "www.signed.test"])
def test_everybody_else_gets_the_flattened_addresses(proxy: Proxy, name: str) -> None:
    proxy.wait_event("zone_signed")
    assert _of_type(proxy.ask(dns.message.make_query(name, "A")), "A") == _LB4
    assert _of_type(proxy.ask(dns.message.make_query(name, "A", use_edns=0)), "A") == _LB4


def test_a_signed_zone_is_said_and_shown(proxy: Proxy) -> None:
    assert proxy.wait_event("zone_signed")["zone"] == "signed.test"
    assert proxy.metrics().value("zone_signed", zone="signed.test") == 1
    assert [labels for labels, _ in proxy.metrics().samples("zone_signed")] == [{"zone": "signed.test"}]


@pytest.mark.parametrize("name", ["example.com", "www.example.com"])
def test_in_an_unsigned_zone_do_changes_nothing(proxy: Proxy, name: str) -> None:
    assert _of_type(proxy.ask(dns.message.make_query(name, "A", want_dnssec=True)), "A") == _LB4
