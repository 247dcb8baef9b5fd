"""The signatures over one RRset (RFC 4034 section 3). Which keys sign, and when, is the caller's business.

dnspython has a function for it, `dns.dnssec.sign`, which takes three times as long: it wants the RRset parsed. The
signature itself is made by its keys here, too, and its validator is what the tests hold this against.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

import dns.exception
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from attrs import frozen

from flatproxy.errors import WireError
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flatproxy.signing.keys import Key

BACKDATED_S = 3600
"""A signature begins this long ago: validators' clocks may be slow."""
VALID_S = 3 * 86_400

_TIMES = 1 << 32
"""Times in an RRSIG are counted modulo this (RFC 4034 section 3.1.5)."""
_RRSIG = Struct("!HBBIIIH")
_RECORD = Struct("!HHI")
_AS_IT_IS = frozenset({1, 13, 28, 47, 64, 65})
"""A, HINFO, AAAA, NSEC, SVCB, HTTPS: no name in their rdatas is changed for signing. Others are parsed, which costs."""


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

    The owner is a name in wire form. The signer is the keys' zone; `WireError` where the owner is not in it, where
    there is no rdata, or one that is none of the type.
    """
    if not rdatas:
        raise WireError("an RRset without a record cannot be signed")
    owner = owner.lower()
    ancestors = _ancestors(owner)
    labels = len(ancestors) - 1 - owner.startswith(b"\1*")
    inception = int(now) - BACKDATED_S
    expiration = int(now) + VALID_S
    fixed = owner + _RECORD.pack(rdtype, 1, ttl_s)
    rrset = b"".join(fixed + len(rdata).to_bytes(2, "big") + rdata for rdata in sorted(_canonical(rdtype, rdatas)))
    made = []
    for key in keys:
        if key.zone not in ancestors:
            raise WireError(f"{names.to_text(owner)} is not in the zone {names.to_text(key.zone)}")
        times = expiration % _TIMES, inception % _TIMES
        head = _RRSIG.pack(rdtype, key.algorithm, labels, ttl_s, *times, key.tag) + key.zone
        made.append(head + key.private.sign(head + rrset))
    return Signatures(rdatas=tuple(made), ttl_s=ttl_s, inception=inception, expiration=expiration)


def _ancestors(name: bytes) -> list[bytes]:
    """Return a name and every name above it, the root last."""
    found = [name]
    while found[-1] != names.ROOT:
        found.append(names.parent(found[-1]))
    return found


def _canonical(rdtype: int, rdatas: Iterable[bytes]) -> set[bytes]:
    """Return the rdatas in canonical form (RFC 4034 section 6.2, RFC 6840 section 5.1), each once (section 6.3)."""
    if rdtype in _AS_IT_IS:
        return set(rdatas)
    kind = dns.rdatatype.RdataType.make(rdtype)
    try:
        return {dns.rdata.from_wire(dns.rdataclass.IN, kind, rdata, 0, len(rdata)).to_digestable() for rdata in rdatas}
    except (dns.exception.DNSException, ValueError) as error:
        raise WireError(f"not the rdata of type {rdtype}: {error}") from None
