"""What flatproxy answers itself, on the wire: sections, header, TTL, EDNS, size, order, case, over UDP and TCP."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from tests.support import dnsio, packets, queries
from tests.support.configuration import LOOPBACK, configuration
from tests.support.proxy import Proxy
from tests.support.waiting import until
from tests.support.zones import KEY_NAME, KEYRING, wire_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.internet import FakeInternet
    from tests.support.nsd import Nsd

_LB4 = ["203.0.113.1", "203.0.113.2", "203.0.113.3"]
_MID6 = [f"2001:db8:6::{number:x}" for number in range(1, 26)]
_BIG6 = [f"2001:db8:7::{number:x}" for number in range(1, 61)]
_A, _AAAA, _ANY = 1, 28, 255
_SOA_MINIMUM = 60


def _fill(internet: FakeInternet) -> None:
    internet.cname("lb.test", "region.lb.test", 250)
    internet.cname("region.lb.test", "node.lb.test", 3600)
    internet.set("node.lb.test", "A", _LB4, 120)
    internet.set("node.lb.test", "AAAA", ["2001:db8:5::1"], 290)
    internet.set("mid.test", "A", ["203.0.113.9"])
    internet.set("mid.test", "AAAA", _MID6)
    internet.set("big.test", "A", ["203.0.113.10"])
    internet.set("big.test", "AAAA", _BIG6)
    internet.set("four.test", "A", ["203.0.113.4"])
    internet.set("slow.test", "A", ["203.0.113.5"], 86400)
    internet.set("slow.test", "AAAA", ["2001:db8:5::5"], 86400)


@pytest.fixture(scope="module")
def proxy(nsd: Nsd, internet: FakeInternet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    _fill(internet)
    config = configuration(
        upstream=[nsd.address],
        resolver=[internet.address],
        dns=["0.0.0.0:0"],
        access={"transfer": LOOPBACK},
        flatten={
            "example.com": {"target": "lb.test"},
            "mid.example.com": {"target": "mid.test"},
            "big.example.com": {"target": "big.test"},
            "four.example.com": {"target": "four.test"},
            "gone.example.com": {"target": "gone.test"},
            "capped.example.com": {"target": "slow.test", "max_ttl": "250s"},
            "raised.example.com": {"target": "lb.test", "min_ttl": "250s"},
            "any.example.com": {"target": "four.test", "any": "forward"},
            "flat.example.net": {"target": "lb.test", "types": ["AAAA"]},
            "inside.example.com": {"target": "deep.example.com"},
            "chained.example.com": {"target": "www.example.com"},
        },
    )
    with Proxy(tmp_path_factory.mktemp("proxy"), config) as running:
        yield running


def _texts(reply: dns.message.Message) -> set[str]:
    return {rdata.to_text() for rrset in reply.answer for rdata in rrset}


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    ("name", "rdtype", "expected"),
    [
        ("example.com", "A", _LB4),
        ("example.com", "AAAA", ["2001:db8:5::1"]),
        ("mid.example.com", "A", ["203.0.113.9"]),
        ("flat.example.net", "AAAA", ["2001:db8:5::1"]),
        ("flat.example.net", "A", ["192.0.2.1"]),
        ("inside.example.com", "A", ["192.0.2.77"]),
        ("chained.example.com", "A", _LB4),
    ],
)
def test_the_addresses_of_the_target(proxy: Proxy, name: str, rdtype: str, expected: list[str], *, tcp: bool) -> None:
    """One RRset, owned by the name that was asked for, and no CNAME. A type that is not flagged is the zone's own."""
    query = dns.message.make_query(name, rdtype, flags=0)
    reply = proxy.ask(query, tcp=tcp)
    assert reply.rcode() == dns.rcode.NOERROR
    assert [(rrset.name, rrset.rdtype) for rrset in reply.answer] == [
        (query.question[0].name, query.question[0].rdtype)
    ]
    assert _texts(reply) == set(expected)


def test_nothing_but_the_answer(proxy: Proxy) -> None:
    reply = proxy.ask(dns.message.make_query("example.com", "A"))
    assert (reply.authority, reply.additional) == ([], [])


@pytest.mark.parametrize("rdtype", ["MX", "NS", "SOA", "TXT", "CAA", "HTTPS", "TYPE65280", "DNSKEY"])
def test_other_types_at_the_flagged_name_are_the_nameservers(nsd: Nsd, proxy: Proxy, rdtype: str) -> None:
    wire = dns.message.make_query("example.com", rdtype).to_wire()
    assert dnsio.udp(proxy.address, wire) == dnsio.udp(nsd.address, wire)


@pytest.mark.parametrize("name", ["x.example.com", "a.inside.example.com", "example.net", "dot\\.inside.example.com"])
def test_neighbours_are_not_flattened(nsd: Nsd, proxy: Proxy, name: str) -> None:
    wire = dns.message.make_query(name, "A").to_wire()
    assert dnsio.udp(proxy.address, wire) == dnsio.udp(nsd.address, wire)


# TTL


def test_the_ttl_is_the_least_of_the_chain(proxy: Proxy) -> None:
    assert 1 <= proxy.ask(dns.message.make_query("example.com", "A")).answer[0].ttl <= 120
    assert 120 < proxy.ask(dns.message.make_query("example.com", "AAAA")).answer[0].ttl <= 250


def test_the_ttl_counts_down(proxy: Proxy) -> None:
    query = dns.message.make_query("big.example.com", "A")
    seen = [proxy.ask(query).answer[0].ttl]
    assert seen[0] <= 60

    def falls() -> bool:
        seen.append(proxy.ask(query).answer[0].ttl)
        return seen[-1] < seen[-2]  # a refresh in between raises it, and it falls from there

    until(falls, "a lower TTL")


def test_max_ttl_and_min_ttl(proxy: Proxy) -> None:
    for name in ("capped", "raised"):
        assert 120 < proxy.ask(dns.message.make_query(f"{name}.example.com", "A")).answer[0].ttl <= 250


# What does not exist


@pytest.mark.parametrize(("name", "rdtype"), [("four", "AAAA"), ("gone", "A"), ("gone", "AAAA")])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_no_address_is_nodata_with_the_zones_soa(proxy: Proxy, name: str, rdtype: str, *, tcp: bool) -> None:
    """Never NXDOMAIN: the flagged name has other records. The TTL is the lesser of SOA and MINIMUM (RFC 2308 3)."""
    reply = proxy.ask(dns.message.make_query(f"{name}.example.com", rdtype), tcp=tcp)
    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.answer == []
    (soa,) = reply.authority
    assert (soa.name.to_text(), soa.rdtype, soa.ttl) == ("example.com.", dns.rdatatype.SOA, _SOA_MINIMUM)
    assert reply.flags & dns.flags.AA


# Header and question


@pytest.mark.parametrize("bits", [0x0000, 0x0100, 0x0130, 0x0110, 0x0490, 0x07F0])
def test_header_flags(proxy: Proxy, bits: int) -> None:
    """QR and AA are set, RD is copied, everything else is 0."""
    reply = dnsio.udp(proxy.address, queries.query(wire_name("example.com"), _A, flags=bits))
    assert reply is not None
    assert int.from_bytes(reply[2:4], "big") == 0x8400 | (bits & 0x0100)


def test_the_case_of_the_question_comes_back(proxy: Proxy) -> None:
    chance = random.Random(3)
    for name in ("example.com", "four.example.com", "gone.example.com"):
        for rdtype in (_A, _AAAA, _ANY):
            wire = queries.query(queries.mixed_case(wire_name(name), chance), rdtype)
            reply = dnsio.udp(proxy.address, wire)
            assert reply is not None
            assert reply[12 : len(wire)] == wire[12:]


def test_the_order_of_addresses_turns(proxy: Proxy) -> None:
    firsts = {
        proxy.ask(dns.message.make_query("example.com", "A")).answer[0][0].to_text() for _ in range(3 * len(_LB4))
    }
    assert firsts == set(_LB4)


# ANY


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_any_is_hinfo(proxy: Proxy, *, tcp: bool) -> None:
    """RFC 8482 section 4.2: the CPU field says so, the OS field is empty."""
    reply = proxy.ask(dns.message.make_query("example.com", "ANY"), tcp=tcp)
    assert _texts(reply) == {'"RFC8482" ""'}
    assert reply.answer[0].rdtype == dns.rdatatype.HINFO
    assert reply.answer[0].ttl > 0


def test_any_forwarded(nsd: Nsd, proxy: Proxy) -> None:
    wire = dns.message.make_query("any.example.com", "ANY").to_wire()
    assert dnsio.udp(proxy.address, wire) == dnsio.udp(nsd.address, wire)


# EDNS


def test_opt_only_where_asked(proxy: Proxy) -> None:
    assert proxy.ask(dns.message.make_query("example.com", "A")).edns == -1
    reply = proxy.ask(dns.message.make_query("example.com", "A", use_edns=0, payload=4096))
    assert (reply.edns, reply.ednsflags, reply.options) == (0, 0, ())
    assert 512 <= reply.payload <= 1232


def test_do_comes_back_and_other_flags_and_options_do_not(proxy: Proxy) -> None:
    options: list[dns.edns.Option] = [dns.edns.GenericOption("65001", b"x" * 40), dns.edns.GenericOption("NSID", b"")]
    query = dns.message.make_query("example.com", "A", use_edns=0, ednsflags=0xC001, options=options)
    reply = proxy.ask(query)
    assert (reply.ednsflags, reply.options) == (dns.flags.DO, ())
    assert _texts(reply) == set(_LB4)


@pytest.mark.parametrize("version", [1, 2, 100, 255])
@pytest.mark.parametrize("rdtype", [_A, _AAAA, _ANY])
def test_a_later_edns_version_is_badvers(proxy: Proxy, version: int, rdtype: int) -> None:
    reply = dns.message.from_wire(
        dnsio.udp(proxy.address, queries.query(wire_name("example.com"), rdtype, tail=packets.edns(version=version)))
        or b""
    )
    assert reply.rcode() == dns.rcode.BADVERS
    assert reply.edns == 0
    assert reply.answer == []


def test_badvers_is_counted(proxy: Proxy) -> None:
    before = proxy.metrics().value("replies_total", rcode="BADVERS")
    dnsio.udp(proxy.address, queries.query(wire_name("example.com"), _A, tail=packets.edns(version=1)))
    assert proxy.metrics().value("replies_total", rcode="BADVERS") == before + 1


# Size


@pytest.mark.parametrize(
    ("name", "size", "fits"),
    [
        ("mid", None, False),
        ("mid", 0, False),
        ("mid", 512, False),
        ("mid", 700, False),
        ("mid", 1232, True),
        ("mid", 65535, True),
        ("big", 1232, False),
        ("big", 4096, False),
    ],
)
def test_what_does_not_fit_is_truncated(proxy: Proxy, name: str, size: int | None, *, fits: bool) -> None:
    """No more than 1232 octets even to those who ask for more, no less than 512 to those who ask for less."""
    tail = b"" if size is None else packets.edns(size)
    wire = dnsio.udp(proxy.address, queries.query(wire_name(f"{name}.example.com"), _AAAA, tail=tail))
    assert wire is not None
    reply = dns.message.from_wire(wire, continue_on_error=True)
    assert bool(reply.flags & dns.flags.TC) is not fits
    assert len(_texts(reply)) == (len(_MID6) if fits else 0)
    assert len(wire) <= min(max(size or 512, 512), 1232)
    assert (reply.edns >= 0) == (size is not None)


@pytest.mark.parametrize("name", ["mid", "big"])
def test_tcp_has_room(proxy: Proxy, name: str) -> None:
    reply = proxy.ask(dns.message.make_query(f"{name}.example.com", "AAAA"), tcp=True)
    assert not reply.flags & dns.flags.TC
    assert _texts(reply) == set(_MID6 if name == "mid" else _BIG6)


def test_flattened_and_forwarded_on_one_connection(nsd: Nsd, proxy: Proxy) -> None:
    """Pipelined, whichever comes first: each gets its own."""
    asked = [queries.query(name, _A) for name in map(wire_name, ("example.com", "mail.example.com") * 10)]
    asked = [number.to_bytes(2, "big") + wire[2:] for number, wire in enumerate(asked)]
    with dnsio.tcp_socket(proxy.address) as connection:
        connection.sendall(b"".join(map(packets.frame, asked)))
        replies = {reply[:2]: reply for reply in (dnsio.read_frame(connection) or b"" for _ in asked)}
    for wire in asked:
        reply = replies[wire[:2]]
        assert reply[12 : len(wire)] == wire[12:]
        assert (reply == dnsio.tcp(nsd.address, wire)) is (b"\4mail" in wire)


# What is not a plain question for the name


def test_a_signed_query_gets_the_nameservers_signed_answer(proxy: Proxy) -> None:
    """Nobody but the nameserver can sign: an unsigned answer would be rejected (RFC 8945 section 5.4)."""
    query = dns.message.make_query("example.com", "A")
    query.use_tsig(KEYRING, KEY_NAME)
    for tcp in (False, True):
        reply = proxy.ask(query, tcp=tcp)  # dnspython checks the signature
        assert reply.had_tsig
        assert _texts(reply) == {"192.0.2.1"}


@pytest.mark.parametrize(
    "wire",
    [
        queries.query(wire_name("example.com"), _A, rdclass=255),
        queries.query(wire_name("example.com"), _A, tail=wire_name("example.com") + b"\0\1\0\1", counts=(2, 0, 0, 0)),
        queries.query(wire_name("example.com"), _A, flags=0x1000),
        queries.query(wire_name("example.com"), _A, tail=packets.edns()[:-1], counts=(1, 0, 0, 1)),
        queries.query(wire_name("example.com"), _A, tail=packets.edns() * 2, counts=(1, 0, 0, 2)),
    ],
    ids=["class ANY", "two questions", "opcode STATUS", "cut OPT", "two OPTs"],
)
def test_odd_questions_are_the_nameservers(nsd: Nsd, proxy: Proxy, wire: bytes) -> None:
    assert dnsio.udp(proxy.address, wire) == dnsio.udp(nsd.address, wire) is not None


def test_a_name_outside_the_zones_is_refused(proxy: Proxy) -> None:
    for name in ("other.test", ".", "com", "xexample.com"):
        for tcp in (False, True):
            assert proxy.ask(dns.message.make_query(name, "A"), tcp=tcp).rcode() == dns.rcode.REFUSED


# Addresses


@pytest.mark.parametrize("name", ["example.com", "mail.example.com"])
def test_a_wildcard_listener_replies_from_the_address_that_was_asked(proxy: Proxy, name: str) -> None:
    """A connected socket hears nobody else."""
    wire = dns.message.make_query(name, "A").to_wire()
    for host in ("127.0.0.1", "127.0.0.2", "127.9.9.9"):
        assert dnsio.udp((host, proxy.address[1]), wire) is not None
        assert dnsio.tcp((host, proxy.address[1]), wire) is not None


# Asking the resolver


def test_one_resolution_for_everybody(nsd: Nsd, internet: FakeInternet, start: Callable[..., Proxy]) -> None:
    """A cold target is asked for once, however many names have it and however many clients wait."""
    internet.set("late.test", "A", ["203.0.113.77"])
    internet.set("late.test", "AAAA", ["2001:db8:5::77"])
    internet.late_s = 0.3
    try:
        names = [f"n{number}.example.com" for number in range(20)]
        proxy = start(
            configuration(
                upstream=[nsd.address],
                resolver=[internet.address],
                flatten={name: {"target": "late.test"} for name in names},
            ),
            ready=False,
        )
        with dnsio.udp_socket(proxy.address) as sock:
            for number, name in enumerate(names * 5):
                sock.send(number.to_bytes(2, "big") + queries.query(wire_name(name), _A)[2:])
            replies = [dns.message.from_wire(sock.recv(4096)) for _ in range(100)]
    finally:
        internet.late_s = 0.0
    assert all(_texts(reply) == {"203.0.113.77"} for reply in replies)
    assert internet.asked["late.test", "A"] == 1
