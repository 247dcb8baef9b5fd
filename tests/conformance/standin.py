"""A stand-in for a recursive resolver on loopback: a few names, with aliases followed as resolvers do."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from attrs import field, frozen

from . import packets, zones
from .subject import Flatten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .stub import Query

TARGET = "lb.target.test"
ADDRESSES = {
    packets.A: ("198.51.100.1", "198.51.100.2", "198.51.100.3"),
    packets.AAAA: ("2001:db8:1::1", "2001:db8:1::2"),
}
TTLS = {packets.A: 60, packets.AAAA: 120}


@frozen(kw_only=True)
class Internet:
    """What the resolver knows: aliases and addresses; everything else does not exist."""

    aliases: Mapping[str, str] = field(factory=lambda: {TARGET: "edge.target.test"})
    addresses: Mapping[tuple[str, int], Sequence[str]] = field(
        factory=lambda: {("edge.target.test", rdtype): found for rdtype, found in ADDRESSES.items()}
    )

    def answer(self, query: Query) -> bytes:
        """Answer as a resolver does: RA set, every alias on the way in the answer section."""
        name, records = _text(query.qname), []
        while name in self.aliases:
            alias = self.aliases[name]
            records.append(packets.record(name, packets.CNAME, packets.name(alias), ttl=300))
            name = alias
        known = [rdtype for owner, rdtype in self.addresses if owner == name]
        for address in self.addresses.get((name, query.qtype), ()):
            rdata = ip_address(address).packed
            records.append(packets.record(name, query.qtype, rdata, ttl=TTLS.get(query.qtype, 60)))
        rcode = packets.NOERROR if known else packets.NXDOMAIN
        return packets.answer(query.data, records, rcode=rcode, flags=packets.RA)


def _text(wire: bytes) -> str:
    labels = []
    while wire[0]:
        labels.append(wire[1 : 1 + wire[0]].decode("latin-1"))
        wire = wire[1 + wire[0] :]
    return ".".join(labels)


def rule(addresses: Mapping[int, Sequence[str]] | None = None) -> dict[str, Flatten]:
    """Return the setting that flattens the apex to the target."""
    every = [address for found in (addresses or ADDRESSES).values() for address in found]
    return {zones.APEX: Flatten(target=TARGET, stand_in=tuple(every))}


def silent_on_broken(answer: Callable[[Query], bytes]) -> Callable[[Query], bytes | None]:
    """Return the script for queries that have a question, silence for others."""
    return lambda query: answer(query) if packets.question_of(query.data) else None
