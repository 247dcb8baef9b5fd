"""What a flattened apex name answers, and what is left to the nameserver."""

from __future__ import annotations

import random
from ipaddress import ip_address
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rdatatype
import dns.tsigkeyring
import pytest

from tests.support import dnsio, packets
from tests.support.fixtures import KINDS
from tests.support.packets import edns, option
from tests.support.scripted import Scripted
from tests.support.zones import KEY_NAME, KEY_SECRET

from . import compare, hostile, zones
from .arena import Pair
from .target import ADDRESSES, TARGET, internet, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.nameserver import Nameserver

    from .arena import Arena, Launch

_APEX = zones.APEX
_TYPES = (packets.A, packets.AAAA, packets.CNAME, packets.TXT, packets.ANY)
_EVERY = [(ask, rdtype) for ask in (dnsio.udp, dnsio.tcp) for rdtype in (packets.A, packets.AAAA)]


@pytest.fixture(scope="module")
def flat(arena: Arena) -> Iterator[Pair]:
    """A subject in front of NSD that flattens the apex of one zone to a name that a scripted resolver knows."""
    backend = arena.backend("nsd")
    with Scripted(internet().answer) as resolver:
        options = {"flatten": rule(), "resolvers": (resolver.address,), "probe": zones.PLAIN}
        subject = arena.subject_before(backend, **options)
        yield Pair(subject=subject, backend=backend)
        subject.stop()


def parsed(reply: bytes | None) -> dns.message.Message:
    assert reply is not None, "silence"
    return dns.message.from_wire(reply)


def made_here(reply: bytes | None) -> bool:
    """Tell whether a reply holds any of the target's addresses."""
    return any(ip_address(address).packed in (reply or b"") for found in ADDRESSES.values() for address in found)


@pytest.mark.must
def test_114_exactly_the_targets_addresses(flat: Pair) -> None:
    for ask, rdtype in _EVERY:
        for flags in (0, packets.RD):
            reply = parsed(ask(flat.subject.address, packets.query(_APEX, rdtype, flags=flags)))
            assert reply.rcode() == packets.NOERROR
            assert len(reply.answer) == 1
            (found,) = reply.answer
            assert found.name.to_text() == f"{_APEX}."
            assert (found.rdclass, found.rdtype) == (packets.IN, rdtype)
            assert sorted(rdata.to_text() for rdata in found) == sorted(ADDRESSES[rdtype])


@pytest.mark.must
def test_115_header_flags(flat: Pair) -> None:
    for ask, rdtype in _EVERY:
        for asked in (
            0,
            packets.RD,
            packets.AD,
            packets.CD,
            packets.RD | packets.CD,
            packets.Z,
            packets.RA | packets.TC,
        ):
            reply = ask(flat.subject.address, packets.query(_APEX, rdtype, flags=asked))
            assert made_here(reply)
            flags = packets.flags_of(reply or b"") & ~packets.CD  # 11 is about that one
            assert flags == packets.QR | packets.AA | asked & packets.RD


@pytest.mark.must
def test_116_one_ttl(flat: Pair) -> None:
    for ask, rdtype in _EVERY:
        reply = ask(flat.subject.address, packets.query(_APEX, rdtype))
        message = dns.message.from_wire(reply or b"", one_rr_per_rrset=True)
        ttls = {record.ttl for record in message.answer}
        assert len(ttls) == 1
        assert 1 <= ttls.pop() <= 604800


@pytest.mark.must
def test_117_everything_else_is_the_nameservers(flat: Pair) -> None:
    messages = [packets.query(_APEX, rdtype, opt=opt)
                for rdtype in (2, 5, 6, 12, 13, 15, 16, 33, 43, 46, 47, 48, 52, 65, 99, 257, 65280)
                for opt in (None, edns(flags=packets.DO))]  # fmt: skip
    below = ("x", "x.y", "mail", "ns1", "nowhere", "y")
    messages += [packets.query(zones.full(label, _APEX), rdtype) for label in below for rdtype in (1, 28, 16, 255)]
    others = (zones.PLAIN, zones.SIGNED, zones.DYNAMIC, "test", "elsewhere.test")
    messages += [packets.query(name, rdtype) for name in others for rdtype in (1, 28, 255)]
    for transport in ("udp", "tcp"):
        compare.as_backend(flat.subject, flat.backend, messages, transport, answered=True)


@pytest.mark.must
def test_117_ordinary_grid_beside_a_flagged_name(flat: Pair) -> None:
    for zone, opt in ((zones.PLAIN, None), (zones.SIGNED, edns(flags=packets.DO))):
        messages = [packets.query(zones.full(name, zone), rdtype, opt=opt) for name in zones.NAMES for rdtype in _TYPES]
        for transport in ("udp", "tcp"):
            compare.as_backend(flat.subject, flat.backend, messages, transport, answered=True)


@pytest.mark.must
def test_118_letter_case(flat: Pair) -> None:
    for name in ("APEX.TEST", "aPeX.tEsT", "Apex.test", "apex.TEST"):
        for ask, rdtype in _EVERY:
            reply = ask(flat.subject.address, packets.query(name, rdtype)) or b""
            assert made_here(reply)
            assert reply[12 : 12 + len(packets.name(name))] == packets.name(name)


@pytest.mark.must
def test_119_edns(flat: Pair) -> None:
    odd = option(65001, b"marker") + option(8, b"\0\1\x18\0\xc0\0\2") + option(3) + option(12, bytes(9))
    for ask, rdtype in _EVERY:
        assert parsed(ask(flat.subject.address, packets.query(_APEX, rdtype))).opt is None
        for flags in (0, packets.DO, 0x7FFF, 0xFFFF):
            for options in (b"", odd):
                asked = edns(flags=flags, options=options)
                reply = ask(flat.subject.address, packets.query(_APEX, rdtype, opt=asked))
                message = parsed(reply)
                assert made_here(reply)
                assert message.edns == 0
                assert message.ednsflags & 0xFFFF == flags & packets.DO
                assert not {65001, 12} & {int(one.otype) for one in message.options}
                assert b"marker" not in (reply or b"")


@pytest.mark.must
def test_120_later_edns_versions(flat: Pair) -> None:
    for ask, rdtype in _EVERY:
        for version in (1, 2, 255):
            reply = parsed(ask(flat.subject.address, packets.query(_APEX, rdtype, opt=edns(version=version))))
            assert reply.rcode() == packets.BADVERS
            assert reply.edns == 0
            assert not (reply.answer)
            assert not (reply.authority)


@pytest.mark.should
def test_121_broken_edns(flat: Pair) -> None:
    good, asked = edns(), packets.question(_APEX)
    messages = [packets.header(1, 0, (1, 0, 0, 2)) + asked + good * 2]
    messages += [packets.query(_APEX, opt=good)[:-cut] for cut in (1, 2, 5, 8, 10)]
    messages += [packets.query(_APEX, opt=edns(options=b"\xfd\xe9\0\x64short"))]
    messages += [packets.query(_APEX, opt=edns(options=option(10, bytes(7))))]
    for transport in ("udp", "tcp"):
        compare.as_backend(
            flat.subject, flat.backend, messages, transport, or_rcodes={packets.FORMERR}, errors=True, window=64
        )


@pytest.mark.must
def test_122_other_classes_opcodes_and_counts(flat: Pair) -> None:
    asked = packets.question(_APEX)
    messages = [packets.query(_APEX, rdtype, qclass) for rdtype in (1, 28) for qclass in (3, 4, 0, 254, 255)]
    messages += [packets.query(_APEX, flags=packets.opcode(number)) for number in (1, 2, 4, 5, 6, 15)]
    messages += [packets.query(_APEX, packets.SOA, flags=packets.opcode(number)) for number in (4, 5)]
    messages += [
        packets.header(1, 0, (2, 0, 0, 0)) + asked * 2,
        packets.header(2, 0, (2, 0, 0, 0)) + asked,
        packets.header(3, 0, (0, 0, 0, 0)) + asked,
    ]
    mute = [packets.query(_APEX, flags=packets.QR), packets.query(_APEX, flags=packets.QR | packets.AA)]
    for transport in ("udp", "tcp"):
        triples = compare.ask_both(flat.subject, flat.backend, messages, transport, errors=True, window=64)
        compare.hold(triples, lambda _, __, through: not made_here(through))
        compare.hold(triples, lambda message, direct, through: (
            through == direct or through is None or compare.is_error(message, through, compare.ERRORS)
        ))  # fmt: skip
    assert dnsio.udp_gather([flat.subject.address] * 2, mute, quiet_s=1) == [[], []]


@pytest.mark.should
@pytest.mark.parametrize("kind", KINDS)
def test_123_any_does_not_leak_the_placeholder(arena: Arena, start: Launch, kind: str) -> None:
    backend = arena.backend(kind)
    resolver = Scripted(internet().answer)
    placeholders = [ip_address(address).packed for address in (zones.PLACEHOLDER_A, zones.PLACEHOLDER_AAAA)]
    messages = [packets.query(_APEX, packets.ANY, opt=opt) for opt in (None, edns(4096))]
    with resolver:
        subject = start(backend, flatten=rule(), resolvers=(resolver.address,))
        for message in messages:
            for ask in (dnsio.udp, dnsio.tcp):
                reply = ask(subject.address, message)
                assert reply is not None
                assert not [one for one in placeholders if one in reply]
    if kind == "bind":  # NSD and Knot give one set only; BIND shows that there is something to leak
        assert placeholders[0] in (dnsio.tcp(backend.address, messages[0]) or b"")


@pytest.mark.should
def test_124_signed_queries(flat: Pair) -> None:
    keys = dns.tsigkeyring.from_text({KEY_NAME: KEY_SECRET})
    for ask, rdtype in _EVERY:
        message = dns.message.make_query(_APEX, dns.rdatatype.RdataType(rdtype))
        message.use_tsig(keys)
        reply = ask(flat.subject.address, message.to_wire())
        assert reply is not None
        if packets.rcode_of(reply) == packets.NOERROR:
            assert dns.message.from_wire(reply, keyring=keys, request_mac=message.mac).had_tsig


@pytest.mark.must
def test_125_names_that_look_alike(flat: Pair) -> None:
    single = bytes((len(_APEX),)) + _APEX.encode() + b"\0"
    names: list[str | bytes] = [
        f"x.{_APEX}",
        f"x{_APEX}",
        single,
        "apex.other",
        "apex",
        "test",
        packets.name(_APEX)[:-1] + b"\1a\0",
    ]
    messages = [packets.query(name, rdtype) for name in names for rdtype in (packets.A, packets.AAAA)]
    for transport in ("udp", "tcp"):
        compare.as_backend(flat.subject, flat.backend, messages, transport, answered=True)
    reply = dnsio.udp(flat.subject.address, packets.query(_APEX))
    assert made_here(reply)


@pytest.mark.must
def test_126_malformed_queries_do_not_stall(flat: Pair) -> None:
    rng = random.Random(126)
    stock = [
        packets.query(_APEX, packets.A, opt=edns()), packets.query(_APEX, packets.AAAA),
        packets.query(_APEX, packets.A, opt=edns(options=option(10, bytes(8)))),
    ]  # fmt: skip
    cuts = [message[:size] for message in stock for size in range(12, len(message))]
    mutants = [hostile.mutant(rng, stock) for _ in range(600)]
    for batch in (cuts, mutants):
        dnsio.udp_gather([flat.subject.address] * len(batch), batch, quiet_s=0.05, wait_s=1)
        for ask, rdtype in _EVERY:
            assert made_here(ask(flat.subject.address, packets.query(_APEX, rdtype), 0.5))


@pytest.mark.must
def test_127_size_limits(start: Launch, nsd: Nameserver) -> None:
    many = {
        packets.A: [f"198.51.100.{number}" for number in range(1, 101)],
        packets.AAAA: [f"2001:db8:2::{number:x}" for number in range(1, 101)],
    }
    resolver = Scripted(internet(many).answer)
    with resolver:
        subject = start(nsd, flatten=rule(many), resolvers=(resolver.address,))
        for rdtype in many:
            for size in (None, 0, 512, 1232, 1452, 4096, 65535):
                opt = None if size is None else edns(size)
                reply = dnsio.udp(subject.address, packets.query(_APEX, rdtype, opt=opt))
                assert reply is not None
                assert len(reply) <= max(512, size or 0)
                whole = int.from_bytes(reply[6:8], "big") == 100
                assert whole != bool(packets.flags_of(reply) & packets.TC)
            over_tcp = dnsio.tcp(subject.address, packets.query(_APEX, rdtype))
            assert len(parsed(over_tcp).answer[0]) == 100


@pytest.mark.must
def test_128_flagged_and_ordinary_mixed(flat: Pair) -> None:
    rng = random.Random(128)
    messages: list[bytes] = []
    for index in range(1000):
        name: str = _APEX if rng.random() < 0.5 else f"n{index}.wild.{zones.PLAIN}"
        messages.append(packets.query(name, rng.choice((packets.A, packets.AAAA)), ident=rng.randrange(65536)))
    for many in (dnsio.udp_many, dnsio.tcp_many):
        direct = dnsio.udp_many(flat.backend.address, messages)
        through = many(flat.subject.address, messages, window=16)
        for message, plain, reply in zip(messages, direct, through, strict=True):
            if packets.qname_of(message) == packets.name(_APEX):
                assert {rdata.to_text() for rdata in parsed(reply).answer[0]} == set(
                    ADDRESSES[packets.qtype_of(message)]
                )
                assert (reply or b"")[:2] == message[:2]
            else:
                assert reply == plain


@pytest.mark.should
def test_129_names_that_the_nameserver_refuses(flat: Pair) -> None:
    names = ("example.com", "target.test", TARGET, "edge.target.test", ".", "apex.example")
    messages = [packets.query(name, rdtype) for name in names for rdtype in (packets.A, packets.AAAA, packets.NS)]
    for ask in (dnsio.udp_many, dnsio.tcp_many):
        replies = ask(flat.subject.address, messages)
        assert [packets.rcode_of(reply or bytes(4)) for reply in replies] == [packets.REFUSED] * len(messages)
