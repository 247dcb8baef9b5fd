"""Messages for the tests of wire and road, made by dnspython."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rrset

if TYPE_CHECKING:
    from collections.abc import Sequence

SOA = "example.com. 300 IN SOA ns.example.com. hostmaster.example.com. 1 2 3 4 60"


def query(name: str = "example.com", rdtype: str = "A", **options: object) -> bytes:
    """Return a query's octets; options are dnspython's `make_query`'s."""
    return dns.message.make_query(name, rdtype, **options).to_wire()  # type: ignore[arg-type]


def response(to: bytes, answer: Sequence[str] = (), authority: Sequence[str] = ()) -> bytes:
    """Return an authoritative response with these records, in their order."""
    made = dns.message.make_response(dns.message.from_wire(to))
    made.flags |= dns.flags.AA
    for section, records in ((made.answer, answer), (made.authority, authority)):
        for record in records:
            owner, ttl, _rdclass, rdtype, rdata = record.split(" ", 4)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", rdtype, rdata))
    return made.to_wire()


def end_of(message: bytes) -> int:
    """Return where the question ends."""
    return message.index(b"\0", 12) + 5


def framed(message: bytes) -> bytes:
    """Return a message as a stream carries it."""
    return len(message).to_bytes(2, "big") + message
