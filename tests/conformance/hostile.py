"""Messages that nobody should send, made from the formats of the RFCs with fixed seeds, and what must hold for answers.

Nothing here comes from another project's test data: the shapes are cuts, lies about counts and lengths, wrong labels
and pointers, misplaced and contradictory records, applied to one well-formed message of each kind.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

from tests.support import packets
from tests.support.packets import edns, header, name, option, query, question, record
from tests.support.zones import KEY_NAME

from . import zones

if TYPE_CHECKING:
    from collections.abc import Iterator

_TSIG = 250


def malformed_questions() -> list[bytes]:
    """Return 24 queries whose question, counts or records are wrong in one way each."""
    end = struct.pack("!HH", packets.A, packets.IN)
    plain = question(zones.PLAIN)
    extra = record(zones.PLAIN, packets.A, bytes((192, 0, 2, 1)))
    noise = random.Random(45)
    bodies: list[tuple[bytes, tuple[int, int, int, int]]] = [
        (plain[:1], (1, 0, 0, 0)),
        (plain[:-4], (1, 0, 0, 0)),
        (plain[:-1], (1, 0, 0, 0)),
        (b"\xc0\x0c" + end, (1, 0, 0, 0)),  # itself
        (b"\x01a\xc0\x0c" + end, (1, 0, 0, 0)),  # a loop over a label
        (b"\xc0\x0e\xc0\x0c" + end, (1, 0, 0, 0)),  # two that point at each other
        (b"\xc0\x20" + end + bytes(30), (1, 0, 0, 0)),  # forward
        (b"\xc0\x00" + end, (1, 0, 0, 0)),  # into the header
        (b"\xc0\xff" + end, (1, 0, 0, 0)),  # beyond the end
        (b"\xc0", (1, 0, 0, 0)),
        (b"\x40" + b"x" * 64 + b"\0" + end, (1, 0, 0, 0)),
        (b"\x80" + b"x" * 64 + b"\0" + end, (1, 0, 0, 0)),
        (b"\x41\x01x\0" + end, (1, 0, 0, 0)),
        (b"\x3fshort", (1, 0, 0, 0)),
        (b"".join(b"\x3f" + b"n" * 63 for _ in range(4)) + b"\0" + end, (1, 0, 0, 0)),  # 257 octets
        (b"\x3f" + b"n" * 63 + b"\x3f" + b"n" * 63 + b"\x3f" + b"n" * 63 + b"\x3e" + b"n" * 62 + b"\0" + end,
         (1, 0, 0, 0)),  # 256 octets
        (b"\x05label" * 100 + b"\0" + end, (1, 0, 0, 0)),  # 601 octets
        (plain, (0, 0, 0, 0)),
        (plain, (2, 0, 0, 0)),
        (plain, (65535, 0, 0, 0)),
        (plain, (1, 65535, 0, 0)),
        (plain, (1, 0, 0, 65535)),
        (plain + extra[:-5] + b"\xff" + extra[-4:], (1, 0, 0, 1)),  # an rdata that is longer than the message
        (noise.randbytes(40), (1, 0, 0, 0)),
    ]  # fmt: skip
    return [header(0x4500 + at, packets.RD, counts) + body for at, (body, counts) in enumerate(bodies)]


def _tsig(mac: bytes = bytes(32)) -> bytes:
    fixed = name("hmac-sha256") + bytes(6) + struct.pack("!HH", 300, len(mac)) + mac + struct.pack("!HHH", 7, 0, 0)
    return record(KEY_NAME, _TSIG, fixed, ttl=0, rclass=packets.ANY_CLASS)


def well_formed() -> list[bytes]:
    """Return one message of each kind, the stock that everything else is cut from."""
    soa = record(zones.PLAIN, packets.SOA, b"\0\0" + struct.pack("!5I", 1, 2, 3, 4, 5))
    asked = question(zones.PLAIN)
    cookie = edns(4096, flags=packets.DO, options=option(10, bytes(8)) + option(3) + option(12, bytes(7)))
    address = record(b"\xc0\x0c", packets.A, bytes((192, 0, 2, 66)))
    return [
        query(zones.PLAIN, ident=1),
        query(f"t3k.{zones.PLAIN}", packets.TXT, ident=2, opt=cookie),
        query(zones.SIGNED, packets.DNSKEY, ident=3, opt=edns(flags=packets.DO)),
        query(f"any.wild.{zones.PLAIN}", packets.ANY, ident=4),
        header(5, 0, (1, 0, 1, 0)) + question(zones.PLAIN, packets.IXFR) + soa,
        query(zones.PLAIN, packets.AXFR, ident=6),
        query(zones.PLAIN, packets.SOA, ident=7, flags=packets.opcode(packets.NOTIFY) | packets.AA),
        header(8, packets.opcode(packets.NOTIFY), (1, 1, 0, 0)) + question("unknown.test", packets.SOA) + soa,
        header(9, packets.opcode(packets.UPDATE), (1, 1, 1, 0)) + question(zones.DYNAMIC, packets.SOA)
        + record(f"host.{zones.DYNAMIC}", packets.A, b"", ttl=0, rclass=packets.NONE)
        + record(f"host.{zones.DYNAMIC}", packets.A, bytes((192, 0, 2, 1))),
        header(10, packets.opcode(packets.UPDATE), (1, 0, 0, 1)) + question(zones.DYNAMIC, packets.SOA) + _tsig(),
        header(11, packets.RD, (1, 0, 0, 1)) + asked + _tsig(),
        header(12, packets.RD, (2, 0, 0, 0)) + asked + question(zones.SIGNED, packets.AAAA),
        packets.answer(query(zones.PLAIN, ident=13), [address], authority=[soa], additional=[edns()]),
        query("version.bind", packets.TXT, packets.CH, ident=14),
        header(15, packets.opcode(6), (1, 0, 0, 0)) + asked,
    ]  # fmt: skip


def corpus() -> list[bytes]:
    """Return more than a thousand messages, each with one thing wrong; the well-formed ones come first."""
    out = dict.fromkeys(malformed_questions())
    stock = well_formed()
    for message in stock:
        out.update(dict.fromkeys(_cuts(message)))
        out.update(dict.fromkeys(_lies(message)))
        out.update(dict.fromkeys(_labels(message)))
    rest = [message for message in out if message not in stock]
    return stock + rest


def _cuts(message: bytes) -> Iterator[bytes]:
    yield from (message[:size] for size in range(0, len(message), max(1, len(message) // 24)))
    yield from (message + tail for tail in (b"\0", b"\xff" * 7, bytes(600), message))


def _lies(message: bytes) -> Iterator[bytes]:
    for at in range(4, 12, 2):
        yield from (message[:at] + count + message[at + 2 :] for count in (b"\0\0", b"\0\2", b"\1\0", b"\xff\xff"))
    for flags in (0x0200, 0x0080, 0x0040, 0x000F, 0x1000, 0x3000, 0x7800):
        yield packets.with_flags(message, packets.flags_of(message) ^ flags)
    for at in range(len(message) - 2, max(12, len(message) - 40), -4):
        yield message[:at] + b"\xff\xff" + message[at + 2 :]  # rdlengths, option lengths, TTLs


def _labels(message: bytes) -> Iterator[bytes]:
    for octets in (b"\xc0\x0c", b"\xc0\x00", b"\xff\xff", b"\x40", b"\x80", b"\x3f", b"\x00", b"\xc0"):
        for at in (12, 13, 12 + message[12] + 1 if len(message) > 12 else 12):
            yield message[:at] + octets + message[at + len(octets) :]


def mutant(rng: random.Random, stock: list[bytes]) -> bytes:
    """Return one message of the stock with one to four structure-aware changes."""
    message = bytearray(rng.choice(stock))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(message) + 1)
        change = rng.randrange(8)
        if change == 0 and message:
            message[at % len(message)] ^= 1 << rng.randrange(8)
        elif change == 1:
            message[at : at + 1] = bytes((rng.choice((0, 1, 0x3F, 0x40, 0x80, 0xC0, 0xFF)),))
        elif change == 2:
            message[at:at] = rng.randbytes(rng.randint(1, 9))
        elif change == 3:
            del message[at : at + rng.randint(1, 12)]
        elif change == 4:
            other = rng.choice(stock)
            message[at:] = other[rng.randrange(len(other)) :]
        elif change == 5 and len(message) >= 12:
            field = rng.randrange(4, 12, 2)
            message[field : field + 2] = rng.choice((0, 1, 2, 3, 255, 65535)).to_bytes(2, "big")
        elif change == 6:
            message[at : at + 2] = (0xC000 | rng.randrange(len(message) + 20)).to_bytes(2, "big")
        else:
            message[at : at + 2] = rng.choice((0, 1, 4, 41, 250, 252, 255, 65535)).to_bytes(2, "big")
    return bytes(message)


def noise(rng: random.Random) -> bytes:
    """Return random octets."""
    return rng.randbytes(rng.choice((0, 1, 11, 12, 13, 20, 40, 100, 512, 1400)))


def violation(message: bytes, direct: list[bytes], through: list[bytes]) -> str | None:
    """Say which rule the answers that came `through` the subject break, None where they break none.

    Silence is always allowed but where the backend says NOERROR or NXDOMAIN.
    """
    mute = len(message) < 12 or bool(packets.flags_of(message) & packets.QR)
    if not through:
        positive = [reply for reply in direct if len(reply) >= 12 and packets.rcode_of(reply) in {0, 3}]
        return "silence where the backend answers" if positive and not mute else None
    if mute:
        return "an answer to a response or to a runt"
    if len(through) > 1:
        return "more than one answer"
    return _wrong_reply(message, direct, through[0])


def _wrong_reply(message: bytes, direct: list[bytes], reply: bytes) -> str | None:
    if len(reply) < 12 or not packets.flags_of(reply) & packets.QR:
        return "no response"
    if reply[:2] != message[:2]:
        return "another ID"
    if packets.opcode_of(reply) != packets.opcode_of(message):
        return "another opcode"
    if len(reply) > _udp_limit(message) and reply not in direct:
        return "longer than the client can take"
    allowed = {packets.rcode_of(found) for found in direct} | (set(range(1, 16)) - {packets.NXDOMAIN})
    return None if packets.rcode_of(reply) in allowed else "a better rcode than the backend's"


def _udp_limit(message: bytes) -> int:
    """Return the largest size that anything like an OPT record in the message announces, at least 512."""
    limit, at = 512, message.find(b"\0\0\x29")
    while at >= 0:
        limit = max(limit, int.from_bytes(message[at + 3 : at + 5], "big"))
        at = message.find(b"\0\0\x29", at + 1)
    return limit
