"""What signs the flattened answers of one zone: its keys, its signer, and what its nameserver said that signing needs.

It is told by probes and asked by answers. `now` is wall-clock seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

from flatproxy.signing import denial
from flatproxy.signing.signer import Signer
from flatproxy.signing.states import ZoneKeys
from flatproxy.wire.types import TYPE_ANY, TYPE_NSEC, TYPE_RRSIG, TYPE_SOA

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from flatproxy.signing.keys import Key
    from flatproxy.signing.states import KeyChange, KeyRow

    Record = tuple[bytes, int, int, bytes]
    """Owner in wire form, type, TTL, rdata."""


ASKED_FOR = 1_000
"""Names that wait for their turn out of the row; for more of them it is no faster."""


@frozen(kw_only=True)
class SignedSoa:
    """The zone's SOA record as a denial carries it, with the nameserver's own signatures, good before `until`.

    `ttl_s` is the lower one of its TTL and its MINIMUM field (RFC 9077).
    """

    rdata: bytes
    rrsigs: tuple[bytes, ...]
    ttl_s: int
    until: float


@define(eq=False)
class ZoneSigning:
    """One zone with keys of ours."""

    keys: ZoneKeys
    signer: Signer = field(factory=lambda: Signer(()))
    soa: SignedSoa | None = None
    there: dict[bytes, frozenset[int]] = field(factory=dict)
    """The types that the nameserver has at each flagged name of the zone, where that is known."""
    asked_for: dict[bytes, None] = field(factory=dict)
    """Flagged names whose signed answer was asked for before that was known: these come first."""
    missing: dict[bytes, tuple[int, ...]] = field(factory=dict)
    """The flattened types without a placeholder, by flagged name."""

    @classmethod
    def of(cls, zone: bytes, keys: tuple[Key, ...]) -> ZoneSigning:
        """Return one that knows of its keys and nothing else."""
        return cls(ZoneKeys(zone, keys))

    @property
    def zone(self) -> bytes:
        """The apex."""
        return self.keys.zone

    @property
    def is_active(self) -> bool:
        """Whether there is a key that signs."""
        return bool(self.signer.keys)

    def use(self, keys: tuple[Key, ...]) -> None:
        """Go over to other keys; what is known of those that stay is kept."""
        rows = self.keys.rows()
        self.keys = ZoneKeys(self.zone, keys)
        self.restore(rows)

    def restore(self, rows: Iterable[KeyRow]) -> None:
        """Take what was kept of the keys' states."""
        self.keys.restore(rows)
        self.signer.use(self.keys.signers)

    def learn(self, dnskeys: Collection[bytes], ttl_s: int, now: float) -> list[KeyChange]:
        """Take the DNSKEY RRset that the nameserver answers; return the changes."""
        changes = self.keys.learn(dnskeys, ttl_s, now)
        self.signer.use(self.keys.signers)
        return changes

    def can_sign(self, name: bytes, rdtype: int) -> bool:
        """Tell whether an answer of a type can be signed: a type that its NSEC record does not list would be denied.

        Where it is not known yet what stands at the name, that is asked for next.
        ANY is answered with HINFO, which nobody looks up in an NSEC record.
        """
        if not self.is_active:
            return False
        there = self.there.get(name)
        if there is None and len(self.asked_for) < ASKED_FOR:
            self.asked_for[name] = None
        return rdtype == TYPE_ANY or (there is not None and rdtype in there)

    def rrsigs(self, owner: bytes, rdtype: int, ttl_s: int, rdatas: tuple[bytes, ...], now: float) -> tuple[bytes, ...]:
        """Return the rdatas of the RRSIGs over an RRset that is sent with `ttl_s` or less; `WireError` from `sign`."""
        return self.signer.rrsigs(owner, rdtype, ttl_s, rdatas, now)

    def denial(self, owner: bytes, absent: Iterable[int], now: float) -> list[Record] | None:
        """Return the records that say that a flagged name has none of the types `absent`, signatures included.

        None where the zone's own SOA is not known, or its signature is over; `WireError` as from `nsec`.
        """
        soa = self.soa
        if soa is None or now >= soa.until:
            return None
        ttl_s = min(soa.ttl_s, int(soa.until - now))
        nsec = denial.nsec(owner, self.there.get(owner, ()), absent)
        made = self.signer.rrsigs(owner, TYPE_NSEC, soa.ttl_s, (nsec,), now)
        return [
            (self.zone, TYPE_SOA, ttl_s, soa.rdata),
            *((self.zone, TYPE_RRSIG, ttl_s, rrsig) for rrsig in soa.rrsigs),
            (owner, TYPE_NSEC, ttl_s, nsec),
            *((owner, TYPE_RRSIG, ttl_s, rrsig) for rrsig in made),
        ]
