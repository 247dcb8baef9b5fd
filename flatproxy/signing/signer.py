"""The signatures over a zone's flattened RRsets, each made when it is first asked for and kept while it holds.

A resolution that finds what the one before found needs no new signature. Which keys sign is `states`' business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.signing.rrsig import Signatures, sign

if TYPE_CHECKING:
    from flatproxy.signing.keys import Key

KEPT = 50_000
"""RRsets whose signatures are kept; the one that came first gives way."""


@define(eq=False)
class Signer:
    """What signs for one zone, with a key of each algorithm. `made` counts the signed RRsets."""

    keys: tuple[Key, ...]
    made: int = 0
    _kept: dict[tuple[bytes, int], tuple[tuple[bytes, ...], Signatures]] = field(factory=dict)

    def use(self, keys: tuple[Key, ...]) -> None:
        """Sign with these keys from now on."""
        if keys != self.keys:
            self.keys = keys
            self._kept.clear()

    def rrsigs(self, owner: bytes, rdtype: int, ttl_s: int, rdatas: tuple[bytes, ...], now: float) -> tuple[bytes, ...]:
        """Return the rdatas of the RRSIGs over an RRset; `WireError` as from `sign`.

        `ttl_s` is the highest TTL that this RRset is sent with, `now` is wall-clock seconds. The rdatas are compared in
        their order: give them as they were found, not as they are rotated.
        """
        kept = self._kept.get((owner, rdtype))
        if kept is not None:
            signed, signatures = kept
            if signed == rdatas and signatures.ttl_s == ttl_s and not signatures.needs_renewal(now):
                return signatures.rdatas
        elif len(self._kept) >= KEPT:
            del self._kept[next(iter(self._kept))]
        made = sign(self.keys, owner, rdtype, ttl_s, rdatas, now=now)
        self._kept[owner, rdtype] = rdatas, made
        self.made += 1
        return made.rdatas
