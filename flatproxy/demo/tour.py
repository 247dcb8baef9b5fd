"""The scripted tour: both promises of the proxy, seen from a client and said in plain lines.

Flagged names follow their target; everything else comes back as the nameserver said it. The tour asks two servers
over the network and knows nothing of what runs in them.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Literal, Protocol

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
from attrs import frozen

from flatproxy.demo import asking
from flatproxy.errors import FlatproxyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.config.settings import Endpoint

AddressType = Literal["A", "AAAA"]
ADDRESS_TYPES: tuple[AddressType, ...] = ("A", "AAAA")
PATIENCE_S = 15.0
"""How long a change may take to show: some TTLs of the load balancer."""
AGAIN_AFTER_S = 0.1


class LoadBalancer(Protocol):
    """What a flagged name's target leads to."""

    def move(self) -> None:
        """Go elsewhere."""

    def addresses(self, rdtype: AddressType) -> frozenset[str]:
        """Return where it is now."""


@frozen(kw_only=True)
class Stops:
    """Where the tour goes: the flagged name, a name whose CNAME leads there, a name whose TXT needs TCP."""

    flagged: str
    alias: str
    large: str


@frozen(kw_only=True)
class Tour:
    """One tour. `say` takes each line as it is known; a change must show within `patience_s` seconds."""

    proxy: Endpoint
    nameserver: Endpoint
    load_balancer: LoadBalancer
    stops: Stops
    say: Callable[[str], None]
    patience_s: float = PATIENCE_S

    async def take(self) -> bool:
        """Take the tour; tell whether it saw everything that it should have seen."""
        try:
            changed = await self._see_the_change()
            same = await self._see_the_same()
        except FlatproxyError as error:
            self.say(f"FAILED: {error}")
            return False
        self.say("")
        self.say("Both promises kept." if changed and same else "FAILED: see above.")
        return changed and same

    async def _see_the_change(self) -> bool:
        flagged, alias = self.stops.flagged, self.stops.alias
        self.say(f"1. {flagged} follows its target")
        self.say(f"   The zone itself says {flagged} A {_listed(await self._ask(self.nameserver, flagged, 'A'))}")
        self.say("   Through flatproxy, before the load balancer moves:")
        first = await self._see_addresses(flagged, alias)
        here = [self.load_balancer.addresses(rdtype) for rdtype in ADDRESS_TYPES]
        self.load_balancer.move()
        moved = all(
            self.load_balancer.addresses(rdtype) != old for rdtype, old in zip(ADDRESS_TYPES, here, strict=True)
        )
        began = monotonic()
        self.say("   The load balancer moves. After it:")
        second = await self._see_addresses(flagged, alias)
        if not (first and moved and second):
            return False
        self.say(f"   Followed within {monotonic() - began:.1f} s.")
        return True

    async def _see_addresses(self, *names: str) -> bool:
        """Ask until each name has the load balancer's addresses of both families, say them, and tell whether it did."""
        well = True
        until = monotonic() + self.patience_s
        for name in names:
            for rdtype in ADDRESS_TYPES:
                expected = self.load_balancer.addresses(rdtype)
                while _addresses(answer := await self._ask(self.proxy, name, rdtype)) != expected:
                    if monotonic() >= until:
                        well = False
                        self.say(f"      FAILED: {name} {rdtype} should be {' '.join(sorted(expected))}, but is:")
                        break
                    await asyncio.sleep(AGAIN_AFTER_S)
                self.say(f"      {name:<16} {rdtype:<5} {_listed(answer)}")
        return well

    async def _see_the_same(self) -> bool:
        self.say("")
        self.say("2. Everything else is the nameserver's own answer, octet for octet after the ID")
        flagged, large = self.stops.flagged, self.stops.large
        same = [
            await self._compare(flagged, "MX"),
            await self._compare(flagged, "TXT"),
            await self._compare(f"nothing-here.{flagged}", "A"),
            await self._compare(large, "TXT", must_be_cut=True),
            await self._compare(large, "TXT", tcp=True),
        ]
        return all(same)

    async def _compare(self, name: str, rdtype: str, *, tcp: bool = False, must_be_cut: bool = False) -> bool:
        """Ask both servers the same and tell whether they replied with the same octets, IDs aside."""
        query = _query(name, rdtype)
        direct = await asking.reply_to(query, self.nameserver, tcp=tcp)
        through = await asking.reply_to(_query(name, rdtype), self.proxy, tcp=tcp)
        message = asking.message_in(direct)
        cut = bool(message.flags & dns.flags.TC)
        same = direct[2:] == through[2:] and cut == must_be_cut
        what = "cut short (TC)" if cut else dns.rcode.to_text(message.rcode())
        self.say(
            f"   {rdtype:<4} {name:<28} {'TCP' if tcp else 'UDP'} {len(through):>5} octets  {what:<14} "
            f"{'identical' if same else 'FAILED'}"
        )
        if not same:
            self.say(f"        nameserver {direct.hex()}")
            self.say(f"        flatproxy  {through.hex()}")
        return same

    async def _ask(self, server: Endpoint, name: str, rdtype: str) -> dns.message.Message:
        """Return the answer over UDP."""
        return asking.message_in(await asking.reply_to(_query(name, rdtype), server, tcp=False))


def _query(name: str, rdtype: str) -> bytes:
    query: bytes = dns.message.make_query(name, rdtype, use_edns=0, payload=1232).to_wire()
    return query


def _addresses(answer: dns.message.Message) -> frozenset[str]:
    """Return the addresses of an answer that is one: NOERROR, with authority."""
    if answer.rcode() != dns.rcode.NOERROR or not answer.flags & dns.flags.AA:
        return frozenset()
    return frozenset(
        rdata.to_text()
        for rrset in answer.answer
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for rdata in rrset
    )


def _listed(answer: dns.message.Message) -> str:
    """Return the answer in one line: addresses with their TTL, or what it is instead."""
    found = _addresses(answer)
    if not found:
        return f"{dns.rcode.to_text(answer.rcode())}, no address"
    return f"{' '.join(sorted(found))}  (TTL {min(rrset.ttl for rrset in answer.answer)})"
