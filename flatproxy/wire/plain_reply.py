"""Reads a reply that is addresses of the name asked for and nothing beside them, as many targets' replies are.

Whatever is not so, to the last octet, is not plain, and dnspython parses it.
"""

from __future__ import annotations

from struct import Struct

from flatproxy.wire.peek import HEADER, OPCODE, OPT_AT_ROOT, QR
from flatproxy.wire.types import CLASS_IN, TYPE_A, TYPE_AAAA

_TC = 0x02
_RCODE = 0x0F
_NO_COUNT, _ONE = b"\0\0", b"\0\1"
_OWNER = b"\xc0\x0c"
"""A pointer to the question (RFC 1035 section 4.1.4)."""
_OPT_SIZE = 11
_SIZES = {TYPE_A: 4, TYPE_AAAA: 16}
_RECORDS = {size: Struct(f"!6sI2s{size}s") for size in _SIZES.values()}
"""Owner, type and class; TTL; length; address."""


def addresses_of(reply: bytes, question: bytes) -> tuple[tuple[bytes, ...], int] | None:
    """Return the addresses, sorted and each once, and the least TTL in seconds; None where the reply is not plain.

    `question` (lower case, with type and class) is the one that the reply was found to repeat. A TTL with the highest
    bit set is 0 (RFC 2181 section 8).
    """
    rdtype = question[-4:-2]
    size = _SIZES.get(int.from_bytes(rdtype, "big"))
    end = HEADER + len(question)
    if size is None or reply[2] & (QR | OPCODE | _TC) != QR or reply[3] & _RCODE or reply[4:6] != _ONE:
        return None
    record = _RECORDS[size]
    count = int.from_bytes(reply[6:8], "big")
    rest = end + count * record.size
    if not count or len(reply) < rest or reply[8:10] != _NO_COUNT or not _is_opt_or_nothing(reply[rest:], reply[10:12]):
        return None
    fixed, length = _OWNER + rdtype + CLASS_IN, size.to_bytes(2, "big")
    addresses, least = set(), 2**32
    for begin, ttl, octets, address in record.iter_unpack(reply[end:rest]):
        if begin != fixed or octets != length:
            return None
        addresses.add(address)
        least = min(least, ttl)
    return tuple(sorted(addresses)), least if least < 2**31 else 0


def _is_opt_or_nothing(rest: bytes, count: bytes) -> bool:
    """Tell whether what follows the answers is what `count` says: nothing, or an OPT without an option or an error."""
    if count == _NO_COUNT:
        return not rest
    if count != _ONE or len(rest) != _OPT_SIZE:
        return False
    extended_rcode, version, options = rest[5], rest[6], rest[9:]
    return rest[:3] == OPT_AT_ROOT and not extended_rcode and not version and options == _NO_COUNT
