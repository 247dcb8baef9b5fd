"""Keys made once for all tests, and dnspython as the validator."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import dns.dnssec
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset

from flatproxy.signing import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

ZONE = b"\7example\3com\0"
ALGORITHMS = ("ECDSAP256SHA256", "ECDSAP384SHA384", "ED25519", "RSASHA256")
NOW = 1_800_000_000.5


@cache
def key(algorithm: str = "ED25519", number: int = 0) -> keys.Key:
    """Return the same key for the same arguments; none has the tag of another."""
    made = keys.generate(ZONE, algorithm)
    return key(algorithm, number + 1_000) if number and made.tag == key(algorithm).tag else made


def rrset(owner: bytes, rdtype: int, ttl_s: int, rdatas: Sequence[bytes]) -> dns.rrset.RRset:
    kind = dns.rdatatype.RdataType.make(rdtype)
    return dns.rrset.from_rdata_list(
        dns.name.from_wire(owner, 0)[0],
        ttl_s,
        [dns.rdata.from_wire(dns.rdataclass.IN, kind, rdata, 0, len(rdata)) for rdata in rdatas],
    )


def validate(signed: dns.rrset.RRset, rrsigs: Sequence[bytes], ours: Sequence[keys.Key], now: float) -> None:
    """Check each RRSIG by itself; `dns.dnssec.ValidationFailure` where one does not hold."""
    zone = dns.name.from_wire(ours[0].zone, 0)[0]
    dnskeys = dns.rdataset.from_rdata_list(3600, [each.dnskey for each in ours])
    assert len(rrsigs) == len(ours)
    for wire in rrsigs:
        rrsig = rrset(b"\0", dns.rdatatype.RRSIG, 0, [wire])[0]
        dns.dnssec.validate_rrsig(signed, rrsig, {zone: dnskeys}, now=now)
