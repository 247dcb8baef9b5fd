"""Resource records in wire form, ready to follow a question whose name they own (pointer 0xC00C)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

QNAME = b"\xc0\x0c"

_HINFO = b"\x07RFC8482\x00"


@frozen
class AddressRecords:
    """An RRset of addresses, laid out twice so that every rotation of it is one slice.

    `step` is one record's size in octets, `size` the whole set's, `counts` its ANCOUNT and NSCOUNT.
    """

    twice: bytes
    step: int
    size: int
    counts: bytes

    def rotated(self, turn: int) -> bytes:
        """Return the records in the order that begins with record `turn`, counted around."""
        start = turn * self.step % self.size
        return self.twice[start : start + self.size]


def record(owner: bytes, rdtype: int, ttl: int, rdata: bytes) -> bytes:
    """Return one record of class IN (RFC 1035 section 4.1.3)."""
    return owner + rdtype.to_bytes(2, "big") + b"\0\1" + ttl.to_bytes(4, "big") + len(rdata).to_bytes(2, "big") + rdata


def address_records(rdtype: int, ttl: int, rdatas: Iterable[bytes]) -> AddressRecords:
    """Return the RRset of these addresses, at least one, each of 4 or 16 octets by type."""
    records = [record(QNAME, rdtype, ttl, rdata) for rdata in rdatas]
    once = b"".join(records)
    return AddressRecords(
        twice=once + once,
        step=len(records[0]),
        size=len(once),
        counts=len(records).to_bytes(2, "big") + b"\0\0",
    )


def hinfo(ttl: int) -> bytes:
    """Return the HINFO record that answers ANY (RFC 8482 section 4.2)."""
    return record(QNAME, 13, ttl, _HINFO)


class Texts(list[str]):
    """Addresses in text form; as one text they are set apart by commas."""

    def __str__(self) -> str:
        return ", ".join(self) or "no address"


def texts(rdatas: Iterable[bytes]) -> Texts:
    """Return the addresses in text form."""
    return Texts(str(ip_address(rdata)) for rdata in rdatas)


def is_private(rdata: bytes) -> bool:
    """Tell whether an address cannot be reached from everywhere (IANA's special-purpose address registries)."""
    return ip_address(rdata).is_private
