"""The stand-in for a recursive resolver and the internet behind it: a load balancer that moves, behind two CNAMEs.

    shop-lb.cdn.example.net → edge.cdn.example.net → lb-<n>.cdn.example.net → two addresses of each family

A move is the next `n` with other addresses. Every other name is NXDOMAIN, as from the root.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import dns.flags
import dns.rcode
import dns.rdataclass

from flatproxy.demo import zones

if TYPE_CHECKING:
    import dns.message
    import dns.zone

TARGET = "shop-lb.cdn.example.net"
_HOSTS = 254
"""Host numbers in an IPv4 network of documentation; after so many moves the addresses begin again."""


class Internet:
    """What the resolver finds. Its load balancer stays where it is until `move`; addresses live for `ttl_s`."""

    def __init__(self, ttl_s: int = 5) -> None:
        self._ttl_s = ttl_s
        self._moves = 0
        self._zone = self._now()

    @property
    def host(self) -> str:
        """The load balancer's name now."""
        return f"lb-{self._moves + 1}.cdn.example.net"

    def addresses(self, rdtype: Literal["A", "AAAA"]) -> frozenset[str]:
        """Return the load balancer's addresses now."""
        host = self._moves % _HOSTS + 1
        if rdtype == "A":
            return frozenset({f"198.51.100.{host}", f"203.0.113.{host}"})
        return frozenset({f"2001:db8:{host:x}::80", f"2001:db8:{host:x}::81"})

    def move(self) -> None:
        """Move the load balancer now."""
        self._moves += 1
        self._zone = self._now()

    async def keep_moving(self, interval_s: float) -> None:
        """Move it again and again, until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            self.move()

    def _now(self) -> dns.zone.Zone:
        ttl_s = self._ttl_s
        lines = [
            ". 86400 IN SOA ns.example.net. hostmaster.example.net. 1 7200 3600 1209600 60",
            ". 86400 IN NS ns.example.net.",
            f"{TARGET}. 60 IN CNAME edge.cdn.example.net.",
            f"edge.cdn.example.net. {ttl_s} IN CNAME {self.host}.",
        ]
        for rdtype in ("A", "AAAA"):
            lines += [f"{self.host}. {ttl_s} IN {rdtype} {address}" for address in sorted(self.addresses(rdtype))]
        return zones.zone_of_text("\n".join(lines), ".")

    def answer(self, query: dns.message.Message, response: dns.message.Message) -> None:
        """Answer as a resolver would; REFUSED without RD or outside class IN."""
        question = query.question[0]
        response.flags |= dns.flags.RA
        if question.rdclass != dns.rdataclass.IN or not query.flags & dns.flags.RD:
            response.set_rcode(dns.rcode.REFUSED)
            return
        zones.look_up(self._zone, question, response)
