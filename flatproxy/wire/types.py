"""Record types: number, text, and what is special about each. Nothing else maps one to the other.

A new type that can be flattened is one more line in `FLATTENED`.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

import dns.exception
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

TYPE_A: Final = 1
TYPE_CNAME: Final = 5
TYPE_SOA: Final = 6
TYPE_HINFO: Final = 13
TYPE_SIG: Final = 24
TYPE_AAAA: Final = 28
TYPE_DNAME: Final = 39
TYPE_RRSIG: Final = 46
TYPE_NSEC: Final = 47
TYPE_NSEC3: Final = 50
TYPE_SVCB: Final = 64
TYPE_HTTPS: Final = 65
TYPE_TKEY: Final = 249
TYPE_TSIG: Final = 250
TYPE_IXFR: Final = 251
TYPE_AXFR: Final = 252
TYPE_ANY: Final = 255

CLASS_IN: Final = b"\0\1"


@frozen
class RecordType:
    """A type that can be flattened. `ip_version` is 4 or 6 where its rdata is an address, else 0."""

    number: int
    text: str
    ip_version: int = 0


FLATTENED: Final = (
    RecordType(TYPE_A, "A", 4),
    RecordType(TYPE_AAAA, "AAAA", 6),
    RecordType(TYPE_SVCB, "SVCB"),
    RecordType(TYPE_HTTPS, "HTTPS"),
)
"""The types that a flagged name can be flattened for."""
TEXTS: Final = tuple(each.text for each in FLATTENED)
QUESTIONS: Final = frozenset(each.number.to_bytes(2, "big") + CLASS_IN for each in FLATTENED)
"""Type and class of a question for each of them, in wire form."""

_ADDRESS_OCTETS: Final = {each.number: {4: 4, 6: 16}[each.ip_version] for each in FLATTENED if each.ip_version}
OF_ADDRESSES: Final = tuple(_ADDRESS_OCTETS)
_TEXTS: Final = {each.number: each.text for each in FLATTENED}
_NUMBERS: Final = {each.text: each.number for each in FLATTENED}


def number_of(text: str) -> int:
    """Return the number of a type that can be flattened."""
    return _NUMBERS[text]


def text_of(number: int) -> str:
    """Return the text of any type (RFC 3597 section 5 where it has no other)."""
    return _TEXTS.get(number) or dns.rdatatype.to_text(dns.rdatatype.RdataType.make(number))


def is_service(number: int) -> bool:
    """Tell whether a type is SVCB or HTTPS (RFC 9460): what it says of addresses must fit those that are answered."""
    return number in (TYPE_SVCB, TYPE_HTTPS)


def has_addresses(number: int) -> bool:
    """Tell whether the rdata of a type is an address."""
    return number in _ADDRESS_OCTETS


def text_of_address(version: int) -> str:
    """Return the text of the type whose rdata is an address of this IP version."""
    return next(each.text for each in FLATTENED if each.ip_version == version)


def address_rdatas(number: int, addresses: Iterable[IPv4Address | IPv6Address]) -> tuple[bytes, ...]:
    """Return the rdatas of those addresses that belong to a type."""
    size = _ADDRESS_OCTETS.get(number)
    return tuple(address.packed for address in addresses if len(address.packed) == size)


def is_rdata(number: int, rdata: bytes) -> bool:
    """Tell whether octets are rdata of a type, uncompressed."""
    if has_addresses(number):
        return len(rdata) == _ADDRESS_OCTETS[number]
    try:
        _parsed(number, rdata)
    except (dns.exception.DNSException, ValueError):
        return False
    return True


class RdataTexts(list[str]):
    """Rdatas in text form; as one text they are set apart by commas."""

    nothing = "no address"

    def __str__(self) -> str:
        return ", ".join(self) or self.nothing


class _RecordTexts(RdataTexts):
    """Those of a type that has no addresses."""

    nothing = "no record"


def rdata_texts(number: int, rdatas: Iterable[bytes]) -> RdataTexts:
    """Return rdatas of one type in text form."""
    if has_addresses(number):
        return RdataTexts(str(ip_address(rdata)) for rdata in rdatas)
    return _RecordTexts(_parsed(number, rdata).to_text() for rdata in rdatas)


def _parsed(number: int, rdata: bytes) -> dns.rdata.Rdata:
    rdtype = dns.rdatatype.RdataType.make(number)
    return dns.rdata.from_wire(dns.rdataclass.IN, rdtype, rdata, 0, len(rdata))
