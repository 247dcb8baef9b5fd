"""What says that a name exists and a type does not: one NSEC at the name itself (compact denial, RFC 9824).

What exists there is the nameserver's to say; `types_there` reads it from its own denial.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import dns.dnssec
import dns.name
import dns.rdatatype
from dns.rdtypes.ANY.NSEC import NSEC
from dns.rdtypes.ANY.NSEC import Bitmap as NsecBitmap
from dns.rdtypes.ANY.NSEC3 import NSEC3

from flatproxy.errors import WireError
from flatproxy.wire.peek import MAX_NAME
from flatproxy.wire.types import TYPE_NSEC, TYPE_RRSIG

if TYPE_CHECKING:
    from collections.abc import Iterable

    import dns.message

_FIRST_BELOW = b"\1\0"
"""The label of one zero octet: no name sorts between a name and this label in front of it (RFC 4034 section 6.1)."""


def nsec(owner: bytes, there: Iterable[int], absent: Iterable[int]) -> bytes:
    """Return the rdata of the NSEC that says: of the types `there`, those in `absent` do not exist at the owner.

    The owner is in wire form. The record's TTL is the lower one of the SOA record's TTL and its MINIMUM field
    (RFC 9077). Raises `WireError` where the owner is so long that no label fits in front of it.
    """
    if len(_FIRST_BELOW) + len(owner) > MAX_NAME:
        raise WireError("no name fits between this one and its successor")
    types = sorted({*there, TYPE_NSEC, TYPE_RRSIG}.difference(absent))
    bitmap = io.BytesIO()
    NsecBitmap.from_rdtypes([dns.rdatatype.RdataType.make(rdtype) for rdtype in types]).to_wire(bitmap)
    return _FIRST_BELOW + owner + bitmap.getvalue()


def types_there(denial: dns.message.Message, name: dns.name.Name) -> frozenset[int] | None:
    """Return the types that a nameserver's NODATA says exist at a name, NSEC and RRSIG aside; None where it says none.

    `denial` answers a question with DO=1 for a type that the name does not have. The NSEC record of the name itself
    says it, or the NSEC3 record with the name's hash (RFC 5155 section 8.5).
    """
    for rrset in denial.authority:
        record = rrset[0] if rrset.rdtype in {dns.rdatatype.NSEC, dns.rdatatype.NSEC3} else None
        if isinstance(record, NSEC) and rrset.name == name:
            return _types(record.windows)
        if isinstance(record, NSEC3):
            label = dns.dnssec.nsec3_hash(name, record.salt, record.iterations, record.algorithm)
            if rrset.name.labels[0].upper() == label.encode():
                return _types(record.windows)
    return None


def _types(windows: Iterable[tuple[int, bytes]]) -> frozenset[int]:
    return frozenset(
        window << 8 | octet << 3 | bit
        for window, bitmap in windows
        for octet, value in enumerate(bitmap)
        for bit in range(8)
        if value & 0x80 >> bit
    ) - {TYPE_NSEC, TYPE_RRSIG}
