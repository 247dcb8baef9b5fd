"""What ANY is answered with at a flagged name: a short record that says nothing (RFC 8482)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from flatproxy.table import signatures
from flatproxy.wire import edns, records, reply, types

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flatproxy.table.answers import Responder
    from flatproxy.table.signatures import Signed
    from flatproxy.table.table import Table


@define(eq=False)
class AnyAnswer:
    """The answer to ANY at a flagged name: HINFO (RFC 8482 section 4.2)."""

    ttl_s: int
    table: Table

    def of_client(self, query: bytes, end: int, host: bytes) -> Responder:  # noqa: ARG002 - as Answer's
        """Return itself: everybody gets the same."""
        return self

    def reply(self, query: bytes, end: int, now: float, *, udp: bool) -> bytes | None:
        """Return the reply to a well-formed query, None where it is to be signed and cannot be."""
        limit = edns.udp_limit(query, end) if udp else edns.MAX_TCP_SIZE
        counts, octets = b"\0\1\0\0", records.hinfo(self.ttl_s)
        signed = signatures.demanded(self, self.table.zones, query, end, now)
        if signed is None:
            return None
        if signed.rrsigs:
            counts = (1 + len(signed.rrsigs)).to_bytes(2, "big") + b"\0\0"
            octets += signed.answer_records(self.ttl_s)
        return reply.answer(query, end, counts, octets, limit=limit)

    def signed(self, name: bytes, now: float) -> Signed | None:  # noqa: ARG002 - as Answer's
        """Return the signature over the record."""
        table = self.table
        return signatures.of_records(table.zones, name, types.TYPE_HINFO, self.ttl_s, (records.HINFO,), table.wall())

    def rrset(self, now: float) -> tuple[int, Sequence[bytes]] | None:  # noqa: ARG002 - as Answer's
        """Nothing: no landing asks for ANY."""
        return None

    def soa(self, name: bytes) -> bytes | None:  # noqa: ARG002 - as Answer's
        """Nothing: it never denies."""
        return None

    def wait(self, now: float, ready: Callable[[], None]) -> bool:  # noqa: ARG002 - as Answer's
        """Nothing to wait for."""
        return False
