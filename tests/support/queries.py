"""Queries of every kind, in wire form, the same ones on every run. None is one that flatproxy answers itself."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Final

from .packets import edns, option
from .zones import wire_name

if TYPE_CHECKING:
    from collections.abc import Iterator

FLAGGED: Final = "example.com"
"""The flagged name of these tests; other names land on it by a CNAME of the zone."""
_LANDING: Final = frozenset(
    wire_name(name)
    for name in (
        "example.com",
        "www.example.com",
        "alias.example.com",
        "x.star.example.com",
        "y.x.star.example.com",
        "back.example.net",
        "back.old.example.com",
    )
)
_ADDRESSES_AND_ANY: Final = (1, 28, 255)
_FLATTENED_CLASS: Final = 1

NAMES: Final = (
    *sorted(_LANDING),
    *(
        wire_name(f"{label}.example.com")
        for label in (
            "ns1", "mail", "only4", "only6", "deep", "loop1", "away", "far", "nowhere", "missing", "deep.missing",
            "x.wild", "sub", "a.sub", "ns.sub", "cut", "old", "host.old", "api.old", "no.old", "leaf.older.tree",
            "leaf.tree", "empty.branch", "branch", "leaf.empty.branch", "_sip._tcp", "_tcp", "sip", "_443._tcp", "box",
            "odd", "zero", "long", "many", "mail._domainkey", "big._domainkey", "txt1200", "txt1450", "txt4000",
            "txt12000", "l" * 63, r"dot\.inside", r"octets\000\255\127", "under_score", "*", "*.wild",
            "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16", "xexample", r"new\010line", ".".join("a" * 110),
        )
    ),
    *(wire_name(name) for name in ("example.net", "host.example.net", "flat.example.net", "none.example.net")),
    *(wire_name(name) for name in ("signed.test", "host.signed.test", "x.any.signed.test", "no.signed.test")),
    *(wire_name(name) for name in (".", "com", "test", "localhost", "other.test", "xexample.com", "example.com.test")),
    *(wire_name(name) for name in ("version.bind", "id.server", "version.server", "1.0.0.127.in-addr.arpa")),
)  # fmt: skip
TYPES: Final = (
    1, 2, 5, 6, 12, 15, 16, 28, 29, 33, 35, 39, 43, 44, 46, 47, 48, 50, 52, 64, 65, 99, 255, 256, 257, 65280, 65281,
)  # fmt: skip
ODD_TYPES: Final = (0, 41, 249, 250, 251, 252, 253, 254, 999, 32768, 65535)
CLASSES: Final = (0, 2, 4, 254, 255, 65535)
"""Without CH: BIND answers three queries a second in it (the rate limit of its built-in view) and ignores the rest."""
SIZES: Final = (0, 1, 511, 512, 513, 1024, 1232, 1400, 1452, 4096, 8192, 65535)
_RD, _CD, _AD, _DO = 0x0100, 0x0010, 0x0020, 0x8000
_FLAG_BITS: Final = (0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010)


OPTIONS: Final = (
    b"",
    option(3),  # NSID
    option(5, b"\x08\x0d\x0e\x0f"),  # DAU
    option(8, b"\0\1\x18\0\xc6\x33\x64"),  # client subnet, 198.51.100.0/24
    option(8, b"\0\1\0\0"),
    option(9),  # EXPIRE
    option(10, b"12345678"),  # COOKIE
    option(10, b"1234567"),  # a cookie that is too short
    option(11),  # TCP keepalive
    option(12, bytes(31)),  # padding
    option(13, wire_name("example.com")),
    option(14, b"\x4f\x66"),
    option(15, b"\0\1text"),
    option(20, b"\0"),
    option(26946, b"unknown"),
    option(65001, bytes(range(200))),
    option(0),
    option(65535),
    option(3) + option(10, b"abcdefgh") + option(12, bytes(8)),
    option(3)[:3],  # cut
    option(10, b"12345678")[:-1],
)


def query(
    name: bytes, rdtype: int, rdclass: int = 1, *, flags: int = _RD, tail: bytes = b"", counts: tuple[int, ...] = ()
) -> bytes:
    """Write a query with ID 0. `counts` replaces the four counts, else one question and `tail` or not."""
    sections = counts or (1, 0, 0, 1 if tail else 0)
    return struct.pack("!HHHHHH", 0, flags, *sections) + name + struct.pack("!HH", rdtype, rdclass) + tail


def mixed_case(name: bytes, chance: random.Random) -> bytes:
    """Write letters in random case; length octets are below 0x40 and so none of them is a letter."""
    return bytes(
        octet ^ 0x20 if chr(octet).isalpha() and octet < 0x80 and chance.random() < 0.5 else octet for octet in name
    )


def _made_by_flatproxy(name: bytes, rdtype: int, rdclass: int) -> bool:
    return name.lower() in _LANDING and rdtype in _ADDRESSES_AND_ANY and rdclass == _FLATTENED_CLASS


def grid() -> Iterator[bytes]:
    """Every name with every type, plain and with DO."""
    for name in NAMES:
        for rdtype in TYPES:
            if not _made_by_flatproxy(name, rdtype, 1):
                yield query(name, rdtype, tail=edns(flags=_DO) if rdtype % 2 else b"")


def varied(count: int, seed: int) -> Iterator[bytes]:
    """Random combinations of name, case, type, class, header flags and EDNS."""
    chance = random.Random(seed)
    while count:
        name, rdtype = chance.choice(NAMES), chance.choice(TYPES if chance.random() < 0.85 else ODD_TYPES)
        rdclass = 1 if chance.random() < 0.9 else chance.choice(CLASSES)
        if _made_by_flatproxy(name, rdtype, rdclass):
            continue
        flags = chance.choice((0, _RD, _RD | _CD, _RD | _AD)) | (
            chance.choice(_FLAG_BITS) if chance.random() < 0.1 else 0
        )
        tail = b""
        if chance.random() < 0.7:
            tail = edns(
                chance.choice(SIZES),
                flags=chance.choice((0, 0, _DO, _DO, 0x4000, 0x0001)),
                version=0 if chance.random() < 0.9 else chance.choice((1, 2, 100, 255)),
                options=chance.choice(OPTIONS),
            )
        yield query(mixed_case(name, chance), rdtype, rdclass, flags=flags, tail=tail)
        count -= 1


def odd() -> Iterator[bytes]:
    """What is not one plain question: opcodes, counts, sections, octets behind the end, two OPTs, every bit."""
    www, host = wire_name("www.example.com"), wire_name("host.example.net")
    for opcode in range(1, 16):
        for name in (host, wire_name("example.net")):
            yield query(name, 6, flags=opcode << 11)
            yield query(name, 6, flags=opcode << 11 | _RD | _CD | _AD)
            yield query(name, 1, flags=opcode << 11, tail=edns())
        yield struct.pack("!HHHHHH", 0, opcode << 11, 0, 0, 0, 0)
    for rcode in range(1, 16):
        yield query(host, 1, flags=_RD | rcode)
    record = host + struct.pack("!HHIH", 1, 1, 60, 4) + b"\xc6\x33\x64\x01"
    for counts in ((1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)):
        yield query(host, 1, tail=record, counts=counts)
        yield query(host, 1, tail=record + edns(), counts=(*counts[:3], counts[3] + 1))
    yield query(host, 1, tail=edns() + edns(), counts=(1, 0, 0, 2))
    yield query(host, 1, tail=edns()[:-2], counts=(1, 0, 0, 1))
    yield query(host, 1, tail=b"\3abc" + edns()[1:], counts=(1, 0, 0, 1))
    yield query(host, 1, tail=edns(), counts=(1, 0, 1, 0))
    yield query(host, 1, tail=edns(extended=1))
    for junk in (b"\0", b"junk" * 5, bytes(900)):
        yield query(host, 1, tail=junk, counts=(1, 0, 0, 0))
        yield query(host, 1, tail=edns() + junk, counts=(1, 0, 0, 1))
    second = wire_name("mail.example.com") + struct.pack("!HH", 1, 1)
    yield query(host, 1, tail=second, counts=(2, 0, 0, 0))
    yield query(www, 1, tail=second, counts=(2, 0, 0, 0))
    yield struct.pack("!HHHHHH", 0, _RD, 0, 0, 0, 0)
    yield struct.pack("!HHHHHH", 0, _RD, 0, 0, 0, 1) + edns()
    for rdclass in CLASSES:
        yield query(wire_name(FLAGGED), 1, rdclass)
        yield query(wire_name("version.bind"), 16, rdclass)
    yield query(wire_name("version.bind"), 16, 3)


def broken() -> Iterator[bytes]:
    """Questions that cannot be read: most nameservers say FORMERR, some say nothing."""
    host = wire_name("host.example.net")
    for name in (b"\xc0\x0c", b"\xc0\x0d", b"\x01a\xc0\x0c", b"\xc0\xff", b"\x40aaaa\0", b"\x80aaaa\0", b"\x07example"):
        yield query(name, 1)
    yield query(b"\x3f" + b"a" * 63 + b"\x3f" + b"b" * 63 + b"\x3f" + b"c" * 63 + b"\x3f" + b"d" * 63 + b"\0", 1)
    yield query(host, 1)[:-1]
    yield query(host, 1)[:-4]
    yield query(host, 1, counts=(65535, 0, 0, 0))
    yield query(host, 1, counts=(1, 65535, 0, 0))
    yield query(host, 1, counts=(1, 0, 0, 65535))
