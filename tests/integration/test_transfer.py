"""Zone transfers through the proxy: the same messages as directly for those on the list, REFUSED for everybody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.versioned
import dns.xfr
import pytest

from tests.support import dnsio
from tests.support.child import run
from tests.support.configuration import LOOPBACK, configuration
from tests.support.nameserver import serial
from tests.support.proxy import Proxy
from tests.support.zones import KEY_NAME, KEY_SECRET, KEYRING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.nameserver import Nameserver
    from tests.support.nsd import Nsd
    from tests.support.ports import Address

_DIG_KEY = f"hmac-sha256:{KEY_NAME}:{KEY_SECRET}"


def _configuration(nameserver: Nameserver, transfer: tuple[str, ...]) -> str:
    return configuration(
        upstream=[nameserver.address],
        access={"transfer": transfer, "update": LOOPBACK},
        flatten={"example.com": {"target": "lb.test", "fallback": ["203.0.113.1"]}},
    )


@pytest.fixture(scope="module")
def proxy(nameserver: Nameserver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Proxy(tmp_path_factory.mktemp("proxy"), _configuration(nameserver, LOOPBACK)) as running:
        yield running


def _messages(address: Address, zone: str) -> list[list[dns.rrset.RRset]]:
    """Return the answer section of each message of an AXFR; dnspython checks the signature of each."""
    host, port = address
    transfer = dns.query.xfr(host, zone, "AXFR", port=port, timeout=5, lifetime=20, keyring=KEYRING, keyname=KEY_NAME)
    return [message.answer for message in transfer]


@pytest.mark.parametrize("zone", ["example.com", "signed.test"])
def test_axfr_with_tsig(nameserver: Nameserver, proxy: Proxy, zone: str) -> None:
    direct = _messages(nameserver.address, zone)
    assert sum(len(section) for section in direct) > 10
    assert _messages(proxy.address, zone) == direct


@pytest.mark.parametrize("program", ["dig", "kdig"])
def test_axfr_with_other_clients(nameserver: Nameserver, proxy: Proxy, program: str) -> None:
    def records(address: Address) -> list[str]:
        host, port = address
        out = run([program, f"@{host}", "-p", str(port), "-y", _DIG_KEY, "example.com", "AXFR"])
        lines = (line for line in out.splitlines() if line and not line.startswith(";"))
        return sorted(line for line in lines if "TSIG" not in line)

    assert len(records(nameserver.address)) > 100
    assert records(proxy.address) == records(nameserver.address)


def test_a_query_after_a_transfer_on_the_same_connection(nameserver: Nameserver, proxy: Proxy) -> None:
    axfr = dns.message.make_query("example.com", "AXFR")
    axfr.use_tsig(KEYRING, KEY_NAME)
    flagged, ordinary = dns.message.make_query("example.com", "A"), dns.message.make_query("example.com", "MX")
    with dnsio.tcp_socket(proxy.address) as connection:
        dns.query.send_tcp(connection, axfr)
        soas, context = 0, None
        while soas < 2:
            message = dns.message.from_wire(
                dnsio.read_frame(connection) or b"",
                keyring=KEYRING,
                request_mac=axfr.mac,
                xfr=True,
                multi=True,
                tsig_ctx=context,
                one_rr_per_rrset=True,
            )
            context = message.tsig_ctx
            soas += sum(rrset.rdtype == dns.rdatatype.SOA for rrset in message.answer)
        for query in (flagged, ordinary):
            dns.query.send_tcp(connection, query)
            reply, _ = dns.query.receive_tcp(connection)
            assert query.is_response(reply)
            assert reply.rcode() == dns.rcode.NOERROR
            assert reply.answer


def test_ixfr_with_tsig(nameserver: Nameserver, proxy: Proxy) -> None:
    """The zone changes once; the difference comes through, over TCP and over UDP as far as directly."""
    zone = dns.versioned.Zone("dynamic.test.")
    host, port = proxy.address
    _inbound(zone, proxy.address)
    before = serial(nameserver.address, "dynamic.test")
    nameserver.change("dynamic.test", f"ixfr-{before}", "192.0.2.150")
    messages = list(
        dns.query.xfr(
            host,
            "dynamic.test.",
            "IXFR",
            port=port,
            serial=before or 0,
            timeout=5,
            lifetime=20,
            keyring=KEYRING,
            keyname=KEY_NAME,
        )
    )
    soas = [rrset for message in messages for rrset in message.answer if rrset.rdtype == dns.rdatatype.SOA]
    assert len(soas) == 4, "new, old, new, new (RFC 1995 section 4): not a whole zone"
    _inbound(zone, proxy.address)
    with zone.reader() as reader:
        found = reader.get(f"ixfr-{before}", "A")
    assert found is not None
    assert found[0].to_text() == "192.0.2.150"


def _inbound(zone: dns.versioned.Zone, address: Address) -> None:
    """Bring a copy of the zone up to date, by AXFR at first and IXFR then."""
    host, port = address
    query, _ = dns.xfr.make_query(zone, keyring=KEYRING, keyname=dns.name.from_text(KEY_NAME))
    dns.query.inbound_xfr(host, zone, query, port=port, timeout=5, lifetime=20)


@pytest.fixture(scope="module")
def closed(nsd: Nsd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that lets other people transfer."""
    with Proxy(tmp_path_factory.mktemp("proxy"), _configuration(nsd, ("192.0.2.0/24",))) as running:
        yield running


@pytest.mark.parametrize("keyring", [None, KEYRING], ids=["unsigned", "signed"])
@pytest.mark.parametrize("rdtype", ["AXFR", "IXFR"])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_refused_where_not_on_the_list(closed: Proxy, rdtype: str, *, tcp: bool, keyring: object) -> None:
    """The nameserver would say yes to the key: the proxy itself says no."""
    query = dns.message.make_query("example.com", rdtype)
    if rdtype == "IXFR":
        query.authority.append(dns.rrset.from_text("example.com.", 0, "IN", "SOA", "ns1. host. 0 0 0 0 0"))
    transport = "tcp" if tcp else "udp"
    before = closed.metrics().value("queries_total", transport=transport, verdict="refused")
    if keyring is not None:
        query.use_tsig(KEYRING, KEY_NAME)
    wire = query.to_wire()
    reply = (dnsio.tcp if tcp else dnsio.udp)(closed.address, wire)
    assert reply is not None
    assert reply[:2] == wire[:2]
    assert reply[3] & 0x0F == dns.rcode.REFUSED
    assert closed.metrics().value("queries_total", transport=transport, verdict="refused") == before + 1


@pytest.mark.parametrize("keyring", [None, KEYRING], ids=["unsigned", "signed"])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_ixfr_without_an_soa_gets_the_nameservers_own_error(
    nameserver: Nameserver, proxy: Proxy, *, tcp: bool, keyring: object
) -> None:
    """RFC 1995 section 3 requires one. NSD sends a header that promises a question, and no question."""
    query = dns.message.make_query("example.com", "IXFR", id=4711)
    if keyring is not None:
        query.use_tsig(KEYRING, KEY_NAME)
    exchange = dnsio.tcp if tcp else dnsio.udp
    direct, through = (exchange(address, query.to_wire()) for address in (nameserver.address, proxy.address))
    assert direct is not None
    assert through is not None
    assert through[:4] == direct[:4]
    assert len(through) == len(direct)
