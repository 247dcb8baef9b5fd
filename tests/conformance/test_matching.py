"""Each client gets its own answer once; odd names; what the zone's shape brings about."""

from __future__ import annotations

import random
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import dnsio, packets
from tests.support.packets import edns, option

from . import compare, zones

if TYPE_CHECKING:
    from tests.support.nameserver import Nameserver
    from tests.support.scripted import Query, Scripted

    from .arena import Launch, Pair
    from .subject import Subject


@pytest.mark.must
def test_024_ids_are_kept(proxy: Subject, nsd: Nameserver) -> None:
    rng = random.Random(24)
    idents = [0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, *(rng.randrange(65536) for _ in range(500))]
    messages = [packets.query(zones.PLAIN, ident=ident) for ident in idents]
    for many in (dnsio.udp_many, dnsio.tcp_many):
        assert [packets.id_of(reply or b"") for reply in many(proxy.address, messages)] == idents


@pytest.mark.must
def test_025_one_id_from_many_clients(proxy: Subject, nsd: Nameserver) -> None:
    messages = [packets.query(f"n{index % 300}.wild.{zones.PLAIN}", ident=0x1234) for index in range(400)]
    triples = compare.ask_both(proxy, nsd, messages, window=400)
    compare.hold(triples, lambda _, direct, through: through in {direct, None})
    assert sum(through is None for _, _, through in triples) <= 4


@pytest.mark.must
def test_026_one_id_on_one_socket(proxy: Subject, nsd: Nameserver) -> None:
    messages = [packets.query(f"n{index}.wild.{zones.PLAIN}", ident=0x1234) for index in range(50)]
    direct = dnsio.udp_many(nsd.address, messages)
    assert None not in direct
    with dnsio.udp_socket(proxy.address) as sock:
        for message in messages:
            sock.send(message)
        through = [dnsio.receive(sock, dnsio.UDP_WAIT_S) for _ in messages]
        assert dnsio.drain(sock, 0.2) == []
    assert sorted(reply or b"" for reply in through) == sorted(reply or b"" for reply in direct)


@pytest.mark.must
def test_027_one_datagram_for_one_query(stub: Scripted, stub_proxy: Subject) -> None:
    message = packets.query("once.example.test")
    assert len(dnsio.udp_all(stub_proxy.address, message)) == 1

    def thrice(query: Query) -> list[bytes]:
        return [packets.answer(query.data)] * 3

    stub.answer = thrice
    for _ in range(5):
        assert dnsio.udp_all(stub_proxy.address, message, 0.3) == [packets.answer(message)]


@pytest.mark.must
def test_035_odd_names(pair: Pair) -> None:
    origin = packets.name(zones.PLAIN)
    utf8 = "\u00fcml".encode()
    labels = [b"l" * 63, b"\0nul", b"\xffhigh", b"sp ace", b"esc.dot", utf8, b"\0", b"\xff", b" ", b"*", b"@", b"A-_~"]
    names: list[str | bytes] = [bytes((len(label),)) + label + origin for label in labels]
    names += [zones.full(zones.LONG_NAME), zones.full(zones.DEEP_NAME), zones.full("x" + zones.LONG_NAME[1:]), "."]
    messages = [packets.query(name, rdtype) for name in names for rdtype in (packets.A, packets.TXT)]
    for transport in ("udp", "tcp"):
        compare.as_backend(pair.subject, pair.backend, messages, transport, answered=True)


@pytest.mark.must
def test_037_delegations_aliases_wildcards(pair: Pair) -> None:
    labels = ("sub", "below.sub", "ns.sub", "dsub", "x.dn", "y.dn", "dn", "c1", "loop1", "out", "dangling", "any.wild",
              "x.y.wild", "z.wildc", "wild", "ent", "b.ent", "nowhere", "mail")  # fmt: skip
    types = (packets.A, packets.DS, packets.NS, packets.TXT, packets.ANY)
    messages = [
        packets.query(zones.full(label, zone), rdtype, opt=opt)
        for label in labels
        for zone, opt in ((zones.PLAIN, None), (zones.SIGNED, edns(flags=packets.DO)))
        for rdtype in types
    ]
    for transport in ("udp", "tcp"):
        compare.as_backend(pair.subject, pair.backend, messages, transport, answered=True)


@pytest.mark.must
def test_038_names_outside_the_zones(pair: Pair) -> None:
    names = (".", "localhost", "test", "example.com", "www.example.net", "1.0.0.127.in-addr.arpa", "a.root-servers.net")
    messages = [packets.query(name, rdtype) for name in names for rdtype in (packets.A, packets.NS, packets.SOA)]
    for transport in ("udp", "tcp"):
        triples = compare.ask_both(pair.subject, pair.backend, messages, transport, errors=True)
        compare.hold(triples, lambda _, direct, through: direct is not None and through == direct)
        assert any(packets.rcode_of(direct or b"\0" * 4) == packets.REFUSED for _, direct, _ in triples)


@pytest.mark.should
def test_039_forwarded_answers_are_not_kept(stub: Scripted, stub_proxy: Subject) -> None:
    message = packets.query("again.example.test")
    for _ in range(5):
        assert dnsio.udp(stub_proxy.address, message) is not None
    assert len(stub.asked("again.example.test")) == 5


@pytest.mark.must
def test_040_tcp_keepalive_option(pair: Pair) -> None:
    messages = [
        packets.query(zones.PLAIN, opt=edns(options=option(11, timeout))) for timeout in (b"", b"\0\x64", b"\0")
    ]
    compare.as_backend(pair.subject, pair.backend, messages[:1], answered=True)
    for message in messages:
        reply = dnsio.udp(pair.subject.address, message) or b""
        assert option(11)[:2] not in reply[packets.question_end(message) :][-8:], "not echoed over UDP"
    with dnsio.Connection(pair.subject.address) as connection:
        for _ in range(3):
            connection.send(messages[0])
            reply = connection.receive() or b""
            assert packets.rcode_of(reply) == packets.NOERROR
            assert reply[:2] == messages[0][:2]


@pytest.mark.must
def test_041_wildcard_listener_answers_from_where_it_was_asked(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd, listen=("0.0.0.0",))
    for host in ("127.0.0.2", "127.0.0.3", "127.0.0.1"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(dnsio.UDP_WAIT_S)
            where = (host, subject.port)
            sock.sendto(packets.query(zones.PLAIN), where)
            assert sock.recvfrom(4096)[1] == where
        assert dnsio.tcp((host, subject.port), packets.query(zones.PLAIN)) is not None


@pytest.mark.must
def test_042_two_thousand_queries(proxy: Subject, nsd: Nameserver) -> None:
    messages = [packets.query(f"n{index}.wild.{zones.PLAIN}", ident=index) for index in range(2000)]
    began = time.monotonic()
    compare.as_backend(proxy, nsd, messages, answered=True, window=32)
    assert time.monotonic() - began < 20
