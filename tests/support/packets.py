"""Messages as octets, made by hand so that wrong ones can be made too. No socket lives here."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, DNAME, OPT, DS, RRSIG, NSEC, DNSKEY, IXFR, AXFR, ANY = (
    1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 41, 43, 46, 47, 48, 251, 252, 255,
)  # fmt: skip
IN, CH, NONE, ANY_CLASS = 1, 3, 254, 255
QR, AA, TC, RD, RA, Z, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, NOTAUTH, BADVERS = 0, 1, 2, 3, 4, 5, 9, 16
QUERY, NOTIFY, UPDATE = 0, 4, 5
DO = 0x8000


def opcode(number: int) -> int:
    """Return the opcode in its place among the flags."""
    return number << 11


def name(text: str | bytes) -> bytes:
    """Return a name in wire form; bytes are taken as they are, `.` is the root."""
    if isinstance(text, bytes):
        return text
    labels = [label.encode("latin-1") for label in text.rstrip(".").split(".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def option(code: int, data: bytes = b"") -> bytes:
    """Return one EDNS option (RFC 6891 section 6.1.2)."""
    return struct.pack("!HH", code, len(data)) + data


def edns(size: int = 1232, *, version: int = 0, flags: int = 0, options: bytes = b"", extended: int = 0) -> bytes:
    """Return an OPT record (RFC 6891 section 6.1.2)."""
    return b"\0" + struct.pack("!HHBBHH", OPT, size, extended, version, flags, len(options)) + options


def record(owner: str | bytes, rtype: int, rdata: bytes, *, ttl: int = 300, rclass: int = IN) -> bytes:
    """Return one resource record, uncompressed."""
    return name(owner) + struct.pack("!HHIH", rtype, rclass, ttl, len(rdata)) + rdata


def header(ident: int, flags: int, counts: tuple[int, int, int, int] = (1, 0, 0, 0)) -> bytes:
    """Return twelve octets (RFC 1035 section 4.1.1)."""
    return struct.pack("!HH4H", ident & 0xFFFF, flags & 0xFFFF, *counts)


def question(qname: str | bytes, qtype: int = A, qclass: int = IN) -> bytes:
    """Return one question."""
    return name(qname) + struct.pack("!HH", qtype, qclass)


def query(
    qname: str | bytes,
    qtype: int = A,
    qclass: int = IN,
    *,
    ident: int | None = None,
    flags: int = RD,
    opt: bytes | None = None,
) -> bytes:
    """Return a query with one question and, if asked, one OPT record; the ID is random where none is given."""
    chosen = random.randrange(65536) if ident is None else ident
    return header(chosen, flags, (1, 0, 0, int(opt is not None))) + question(qname, qtype, qclass) + (opt or b"")


def question_end(message: bytes) -> int:
    """Return the offset after the first question; the name in it must not be compressed."""
    offset = 12
    while message[offset]:
        offset += 1 + message[offset]
    return offset + 5


def question_of(message: bytes) -> bytes:
    """Return the octets of the first question, lower case; nothing where there is none."""
    try:
        return message[12 : question_end(message)].lower() if message[4:6] != b"\0\0" else b""
    except IndexError:
        return b""


def qname_of(message: bytes) -> bytes:
    """Return the first question's name in wire form, lower case."""
    return question_of(message)[:-4]


def qtype_of(message: bytes) -> int:
    """Return the first question's type, 0 where there is no question."""
    return int.from_bytes(question_of(message)[-4:-2], "big")


def answer(
    message: bytes,
    answers: Iterable[bytes] = (),
    *,
    rcode: int = NOERROR,
    flags: int = AA,
    authority: Iterable[bytes] = (),
    additional: Iterable[bytes] = (),
) -> bytes:
    """Return a response to a query: its ID, opcode, RD and question, and the given records."""
    sections = [list(answers), list(authority), list(additional)]
    kept = flags_of(message) & (0x7800 | RD)
    counts = (1, len(sections[0]), len(sections[1]), len(sections[2]))
    head = header(id_of(message), QR | kept | flags | rcode & 15, counts)
    return head + message[12 : question_end(message)] + b"".join(b"".join(section) for section in sections)


def with_id(message: bytes, ident: int) -> bytes:
    """Return the message under another ID."""
    return struct.pack("!H", ident) + message[2:]


def with_flags(message: bytes, flags: int) -> bytes:
    """Return the message with its second pair of octets replaced."""
    return message[:2] + struct.pack("!H", flags) + message[4:]


def id_of(message: bytes) -> int:
    return int.from_bytes(message[:2], "big")


def flags_of(message: bytes) -> int:
    return int.from_bytes(message[2:4], "big")


def rcode_of(message: bytes) -> int:
    """Return the four bits of the header's rcode."""
    return message[3] & 15


def opcode_of(message: bytes) -> int:
    return message[2] >> 3 & 15


def frame(message: bytes) -> bytes:
    """Return the message behind its length (RFC 1035 section 4.2.2)."""
    return struct.pack("!H", len(message)) + message


def txt(size: int, seed: int = 7) -> bytes:
    """Return TXT rdata of exactly `size` octets of letters."""
    rng = random.Random(seed)
    out = bytearray()
    while size - len(out) > 256:
        out += b"\xff" + rng.randbytes(255).translate(_LETTERS)
    rest = size - len(out)
    if rest == 256:  # a lone octet would be left over after 255, which is an empty string and still fits
        return bytes(out) + b"\xff" + b"x" * 255
    return bytes(out) + bytes((rest - 1,)) + rng.randbytes(rest - 1).translate(_LETTERS)


_LETTERS = bytes(97 + octet % 26 for octet in range(256))
