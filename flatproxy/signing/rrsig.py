"""The signatures over one RRset (RFC 4034 section 3). Which keys sign, and when, is the caller's business."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.dnssec
import dns.exception
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
from attrs import frozen

from flatproxy.errors import WireError
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flatproxy.signing.keys import Key

BACKDATED_S = 3600
"""A signature begins this long ago: validators' clocks may be slow."""
VALID_S = 3 * 86_400

_TIMES = 1 << 32
"""Times in an RRSIG are counted modulo this (RFC 4034 section 3.1.5)."""


@frozen(kw_only=True)
class Signatures:
    """The rdatas of the RRSIGs over an RRset, one for each algorithm. Times are wall-clock seconds.

    `ttl_s` is the original TTL: the RRset and its RRSIGs may be sent with it or any lower one.
    """

    rdatas: tuple[bytes, ...]
    ttl_s: int
    inception: int
    expiration: int

    def needs_renewal(self, now: float) -> bool:
        """Tell whether half of the validity is over, or the clock was set back to before it."""
        return not self.inception <= now < (self.inception + self.expiration) / 2


def sign(
    keys: Sequence[Key], owner: bytes, rdtype: int, ttl_s: int, rdatas: Sequence[bytes], *, now: float
) -> Signatures:
    """Return a signature of each key over the RRset, whose TTL becomes the original TTL.

    The signer is the keys' zone. Raises `WireError` where the rdatas are none of the type, or where the owner (wire
    form) is not in the zone.
    """
    name = names.to_name(owner)
    rdataset = _rdataset(rdtype, ttl_s, rdatas)
    inception = int(now) - BACKDATED_S
    expiration = int(now) + VALID_S
    made = []
    for key in keys:
        zone = names.to_name(key.zone)
        if not name.is_subdomain(zone):
            raise WireError(f"{names.to_text(owner)} is not in the zone {names.to_text(key.zone)}")
        rrsig = dns.dnssec.sign(
            (name, rdataset),
            key.private,
            zone,
            key.dnskey,
            inception=inception % _TIMES,
            expiration=expiration % _TIMES,
        )
        made.append(rrsig.to_wire() or b"")
    return Signatures(rdatas=tuple(made), ttl_s=ttl_s, inception=inception, expiration=expiration)


def _rdataset(rdtype: int, ttl_s: int, rdatas: Sequence[bytes]) -> dns.rdataset.Rdataset:
    if not rdatas:
        raise WireError("an RRset without a record cannot be signed")
    kind = dns.rdatatype.RdataType.make(rdtype)
    rdataset = dns.rdataset.Rdataset(dns.rdataclass.IN, kind, ttl=ttl_s)
    try:
        for rdata in rdatas:
            rdataset.add(dns.rdata.from_wire(dns.rdataclass.IN, kind, rdata, 0, len(rdata)))
    except (dns.exception.DNSException, ValueError) as error:
        raise WireError(f"not the rdata of type {rdtype}: {error}") from None
    return rdataset
