"""Resource records in wire form, ready to follow a question whose name they own (pointer 0xC00C)."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from attrs import frozen

from flatproxy.wire.types import CLASS_IN, TYPE_HINFO

if TYPE_CHECKING:
    from collections.abc import Iterable

QNAME = b"\xc0\x0c"

_HINFO = b"\x07RFC8482\x00"


@frozen
class RecordSet:
    """An RRset, laid out twice so that every rotation of it is one slice.

    `starts` has the offset of each record, `size` is the octets of the whole set, `counts` its ANCOUNT and NSCOUNT.
    """

    twice: bytes
    starts: tuple[int, ...]
    size: int
    counts: bytes

    def rotated(self, turn: int) -> bytes:
        """Return the records in the order that begins with record `turn`, counted around."""
        start = self.starts[turn % len(self.starts)]
        return self.twice[start : start + self.size]


def record(owner: bytes, rdtype: int, ttl: int, rdata: bytes) -> bytes:
    """Return one record of class IN (RFC 1035 section 4.1.3)."""
    return owner + rdtype.to_bytes(2, "big") + CLASS_IN + ttl.to_bytes(4, "big") + len(rdata).to_bytes(2, "big") + rdata


def record_set(rdtype: int, ttl: int, rdatas: Iterable[bytes]) -> RecordSet:
    """Return the RRset of these rdatas, at least one, of any lengths."""
    records = [record(QNAME, rdtype, ttl, rdata) for rdata in rdatas]
    once = b"".join(records)
    return RecordSet(
        twice=once + once,
        starts=tuple(accumulate(map(len, records[:-1]), initial=0)),
        size=len(once),
        counts=len(records).to_bytes(2, "big") + b"\0\0",
    )


def hinfo(ttl: int) -> bytes:
    """Return the HINFO record that answers ANY (RFC 8482 section 4.2)."""
    return record(QNAME, TYPE_HINFO, ttl, _HINFO)
