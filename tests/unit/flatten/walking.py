"""Responses and a stand-in for whoever answers the walk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
from attrs import define, field

from flatproxy.errors import UpstreamTimeout

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dns.rdatatype

    from flatproxy.flatten.stores.store import Row

SOA = "test. 300 IN SOA ns.test. hostmaster.test. 1 2 3 4 60"


def response(
    name: str, answer: Sequence[str] = (), authority: Sequence[str] = (), *, rcode: str = "NOERROR", aa: bool = False
) -> dns.message.Message:
    """Return a response as it comes from a socket."""
    made = dns.message.make_response(dns.message.make_query(name, "A"))
    made.set_rcode(dns.rcode.from_text(rcode))
    if aa:
        made.flags |= dns.flags.AA
    for section, lines in ((made.answer, answer), (made.authority, authority)):
        for line in lines:
            owner, ttl, _rdclass, rdtype, rdata = line.split(" ", 4)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", rdtype, *rdata.split(",")))
    return dns.message.from_wire(made.to_wire())


@define
class Answers:
    """Says what it was told to say, by name; silent about the rest."""

    by_name: dict[str, dns.message.Message] = field(factory=dict)
    asked: list[str] = field(factory=list)

    async def ask(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
        text = name.to_text(omit_final_dot=True)
        self.asked.append(f"{text} {rdtype.name}")
        try:
            return self.by_name[text]
        except KeyError:
            raise UpstreamTimeout from None


@define
class Rows:
    """A store that keeps what it is given."""

    saved: list[Row] = field(factory=list)
    errors: int = 0

    def load(self) -> list[Row]:
        return []

    def save(self, row: Row) -> None:
        self.saved.append(row)

    def tick(self, now: float) -> None:
        """Nothing is due."""

    async def stop(self) -> None:
        """Nothing is left."""
