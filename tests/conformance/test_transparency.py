"""Types, classes, sizes and header bits of ordinary queries come back as B answered them."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support import dnsio, packets
from tests.support.packets import edns, option

from . import compare, zones

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.nameserver import Nameserver
    from tests.support.scripted import Query, Scripted

    from .arena import Pair
    from .subject import Subject


def grid(zone: str, opt: bytes | None = None) -> list[bytes]:
    pairs = [(name, rdtype) for name in zones.NAMES for rdtype in zones.TYPES]
    assert len(zones.NAMES) == 32
    assert len(zones.TYPES) == 22
    return [
        packets.query(zones.full(name, zone), rdtype, ident=index, flags=packets.RD * (index % 2), opt=opt)
        for index, (name, rdtype) in enumerate(pairs)
    ]


@pytest.mark.must
def test_001_ordinary_grid_over_udp(pair: Pair) -> None:
    compare.as_backend(pair.subject, pair.backend, grid(zones.PLAIN), answered=True)


@pytest.mark.must
def test_002_signed_grid_with_do(pair: Pair) -> None:
    compare.as_backend(pair.subject, pair.backend, grid(zones.SIGNED, edns(1232, flags=packets.DO)), answered=True)


@pytest.mark.must
def test_003_both_grids_over_tcp(pair: Pair) -> None:
    messages = grid(zones.PLAIN) + grid(zones.SIGNED, edns(1232, flags=packets.DO))
    compare.as_backend(pair.subject, pair.backend, messages, "tcp", answered=True)


def random_case(wire: bytes, rng: random.Random) -> bytes:
    return bytes(octet ^ 0x20 if chr(octet).isalpha() and rng.random() < 0.5 else octet for octet in wire)


def random_query(rng: random.Random) -> bytes:
    """One query as resolvers and their users send them, or a little odder. Transfers have requirements of their own."""
    label = rng.choice([*zones.NAMES, *zones.TXT_SIZES, "ns1", "unlisted" + str(rng.randrange(9))])
    zone = rng.choice((zones.PLAIN, zones.SIGNED, zones.PLAIN, "elsewhere.test"))
    wire = random_case(packets.name(zones.full(label, zone)), rng)
    flags = rng.choice((0, packets.RD)) | rng.choice((0, packets.AD))
    options = b"".join(
        rng.sample(
            [
                option(3), option(8, struct.pack("!HBB", 1, 24, 0) + bytes((192, 0, 2))), option(12, bytes(9)),
                option(65001, rng.randbytes(5)),
            ],
            rng.randrange(5),
        )
    )  # fmt: skip
    size = rng.choice((0, 1, 511, 512, 513, 1232, 1400, 1452, 4096, 8192, 65535))
    opt = edns(size, flags=rng.choice((0, packets.DO)), options=options) if rng.random() < 0.7 else None
    qclass = packets.ANY_CLASS if rng.random() < 0.05 else packets.IN
    return packets.query(wire, rng.choice(zones.TYPES), qclass, ident=rng.randrange(65536), flags=flags, opt=opt)


@pytest.mark.must
def test_004_random_queries(pair: Pair) -> None:
    rng = random.Random(4)
    compare.as_backend(pair.subject, pair.backend, [random_query(rng) for _ in range(5000)], answered=True)
    compare.as_backend(pair.subject, pair.backend, [random_query(rng) for _ in range(500)], "tcp", answered=True)


@pytest.mark.must
def test_005_truncation_is_the_nameservers(proxy: Subject, nsd: Nameserver) -> None:
    opts = [None, *(edns(size) for size in (0, 512, 1232, 1400, 4096, 65535))]
    messages = [
        packets.query(f"{label}.{zones.PLAIN}", packets.TXT, ident=index * 16 + at, opt=opt)
        for index, label in enumerate(zones.TXT_SIZES)
        for at, opt in enumerate(opts)
    ]
    triples = compare.ask_both(proxy, nsd, messages)
    compare.hold(triples, lambda _, direct, through: direct is not None and direct == through)
    cut = [bool(packets.flags_of(direct or b"") & packets.TC) for _, direct, _ in triples]
    assert True in cut
    assert False in cut, "the backend must truncate some of these and not others"
    compare.as_backend(proxy, nsd, messages, "tcp", answered=True)


def sized(message: bytes, size: int) -> bytes:
    """Return an answer of exactly `size` octets to a TXT question; anything else gets NODATA."""
    bare = packets.answer(message)
    if packets.qtype_of(message) != packets.TXT:
        return bare
    if size < len(bare):
        return packets.with_flags(bare[:12], packets.QR | packets.RD | packets.REFUSED)[:4] + bytes(8)
    return packets.answer(message, [packets.record(b"\xc0\x0c", packets.TXT, packets.txt(size - len(bare) - 12))])


def sizing(size: int) -> Callable[[Query], bytes]:
    return lambda query: sized(query.data, size)


@pytest.mark.must
def test_006_large_udp_answers_whole(stub: Scripted, stub_proxy: Subject) -> None:
    for size in (512, 1232, 1472, 2000, 4096):
        stub.answer = sizing(size)
        message = packets.query("big.example.test", packets.TXT, opt=edns(4096))
        assert len(sized(message, size)) == size
        assert dnsio.udp(stub_proxy.address, message) == sized(message, size)


@pytest.mark.must
def test_007_large_and_tiny_tcp_answers_whole(stub: Scripted, stub_proxy: Subject) -> None:
    for size in (65535, 62 * 1024, 12):
        stub.answer = sizing(size)
        message = packets.query("big.example.test", packets.TXT)
        assert len(sized(message, size)) == size
        assert dnsio.tcp(stub_proxy.address, message) == sized(message, size)


@pytest.mark.must
def test_007_large_tcp_answers_of_real_nameservers(pair: Pair) -> None:
    message = packets.query(f"t62k.{zones.PLAIN}", packets.TXT)
    direct = dnsio.tcp(pair.backend.address, message)
    assert direct is not None
    assert len(direct) > 61000
    assert dnsio.tcp(pair.subject.address, message) == direct


@pytest.mark.must
def test_008_unusual_types(pair: Pair) -> None:
    types = (0, 41, 249, 250, 253, 254, 999, 65280, 65281, 65535)
    names = (zones.PLAIN, f"unknown.{zones.PLAIN}", f"nowhere.{zones.PLAIN}")
    messages = [packets.query(name, rdtype) for name in names for rdtype in types]
    for transport in ("udp", "tcp"):
        compare.as_backend(pair.subject, pair.backend, messages, transport, answered=True)


@pytest.mark.must
def test_009_unusual_classes(pair: Pair) -> None:
    messages = [packets.query(zones.PLAIN, packets.A, qclass) for qclass in (0, 3, 4, 254, 255, 65535)]
    messages += [packets.query(name, packets.TXT, packets.CH) for name in ("version.bind", "id.server")]
    for transport in ("udp", "tcp"):
        compare.as_backend(pair.subject, pair.backend, messages, transport, answered=True)


_BITS = (packets.AA, packets.TC, packets.RD, packets.RA, packets.Z, packets.AD)


@pytest.mark.must
def test_010_header_bits_of_queries(pair: Pair) -> None:
    flags = [*_BITS, sum(_BITS), *range(1, 16)]
    for qname in (zones.PLAIN, f"nowhere.{zones.PLAIN}"):
        for transport in ("udp", "tcp"):
            compare.as_backend(
                pair.subject, pair.backend, [packets.query(qname, flags=bits) for bits in flags], transport, errors=True
            )
            messages = [packets.query(qname, flags=bits, opt=edns()) for bits in flags]
            compare.as_backend(pair.subject, pair.backend, messages, transport, answered=True, errors=True)


@pytest.mark.should
def test_011_checking_disabled(pair: Pair) -> None:
    messages = [
        packets.query(zones.full(name, zone), packets.A, flags=packets.CD | more, opt=opt)
        for name in ("", "nowhere", "sub")
        for zone in (zones.PLAIN, zones.SIGNED)
        for more in (0, packets.RD)
        for opt in (None, edns(flags=packets.DO))
    ]
    compare.as_backend(pair.subject, pair.backend, messages, answered=True)
    compare.as_backend(pair.subject, pair.backend, messages, "tcp", answered=True)


def opcode_is_kept(message: bytes, direct: bytes | None, through: bytes | None) -> bool:
    """As B; or NOTIMP instead, but for opcodes that are in use (NOTIFY, UPDATE)."""
    if direct is None:
        return through is None or compare.is_error(message, through, compare.ERRORS)
    in_use = packets.opcode_of(message) in {packets.NOTIFY, packets.UPDATE}
    return through == direct or (not in_use and compare.is_error(message, through, {packets.NOTIMP}))


@pytest.mark.must
def test_012_other_opcodes(pair: Pair) -> None:
    messages = [
        packets.query(zones.PLAIN, packets.SOA, flags=packets.opcode(number) | packets.RD, opt=opt)
        for number in range(1, 16)
        for opt in (None, edns())
    ]
    for transport in ("udp", "tcp"):
        compare.hold(compare.ask_both(pair.subject, pair.backend, messages, transport, errors=True), opcode_is_kept)


def header_only(flags: int) -> list[bytes]:
    opcodes = (packets.QUERY, packets.NOTIFY, packets.UPDATE, 15)
    return [packets.header(index, packets.opcode(number) | flags, (0, 0, 0, 0)) for index, number in enumerate(opcodes)]


@pytest.mark.must
def test_013_header_only_queries(pair: Pair) -> None:
    def error_or_silence(message: bytes, direct: bytes | None, through: bytes | None) -> bool:
        return (direct is None and through is None) or compare.is_error(message, through, range(1, 16))

    for transport in ("udp", "tcp"):
        compare.hold(
            compare.ask_both(pair.subject, pair.backend, header_only(0), transport, errors=True), error_or_silence
        )


@pytest.mark.should
def test_014_header_only_queries_with_flags(pair: Pair) -> None:
    bits = sum(_BITS) | packets.CD

    def nothing_echoed(message: bytes, direct: bytes | None, through: bytes | None) -> bool:
        if through == direct:
            return True
        return through is not None and not packets.flags_of(through) & (bits ^ packets.RD ^ packets.CD)

    for transport in ("udp", "tcp"):
        compare.hold(
            compare.ask_both(pair.subject, pair.backend, header_only(bits), transport, errors=True), nothing_echoed
        )
