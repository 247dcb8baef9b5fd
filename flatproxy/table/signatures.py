"""What makes an answer with DO=1 whole in a signed zone: the signatures over its records, or a signed denial.

Nothing is signed here that the table does not answer, and nothing without an active key of the zone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from flatproxy.errors import WireError
from flatproxy.wire import edns, records
from flatproxy.wire.peek import HEADER
from flatproxy.wire.types import TYPE_RRSIG

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.signing.zone import Record
    from flatproxy.table.answers import Answer
    from flatproxy.table.zones import Zones


@frozen
class Signed:
    """The rdatas of the RRSIGs over an RRset; or, where there is no record, those of the authority section."""

    rrsigs: tuple[bytes, ...] = ()
    authority: tuple[Record, ...] = ()

    def answer_records(self, ttl_s: int) -> bytes:
        """Return the RRSIG records behind the question's name."""
        return b"".join(records.record(records.QNAME, TYPE_RRSIG, ttl_s, rrsig) for rrsig in self.rrsigs)

    def authority_records(self) -> bytes:
        """Return the records of the authority section, their owners uncompressed."""
        return b"".join(records.record(*each) for each in self.authority)


NONE = Signed()
"""Of an answer that needs no signature."""


def demanded(answer: Answer, zones: Zones, query: bytes, end: int, now: float) -> Signed | None:
    """Return what a reply to this query must carry, `NONE` where it needs nothing; None where it cannot."""
    if not edns.wants_dnssec(query, end):
        return NONE
    owner = query[HEADER : end - 4].lower()
    return answer.signed(owner, now) if zones.is_signed(owner) else NONE


def of_records(
    zones: Zones, owner: bytes, rdtype: int, ttl_s: int, rdatas: tuple[bytes, ...], now: float
) -> Signed | None:
    """Return the signatures over the records of a flagged name, None where these cannot be signed.

    `ttl_s` is the highest TTL that they are sent with, `now` wall-clock seconds.
    """
    signing = zones.signing_of(owner)
    if signing is None or not signing.is_active:
        return None
    try:
        return Signed(rrsigs=signing.rrsigs(owner, rdtype, ttl_s, rdatas, now))
    except WireError:
        return None


def of_denial(zones: Zones, owner: bytes, absent: Iterable[int], now: float) -> Signed | None:
    """Return what says that a flagged name has none of these types, None where that cannot be signed."""
    signing = zones.signing_of(owner)
    if signing is None or not signing.is_active:
        return None
    try:
        made = signing.denial(owner, absent, now)
    except WireError:
        return None
    return None if made is None else Signed(authority=tuple(made))
