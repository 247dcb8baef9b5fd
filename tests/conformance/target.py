"""The target that tests flatten the apex to: its addresses, the internet that knows it, and the rule that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.rdatatype

from tests.support import packets
from tests.support.internet import FakeInternet

from . import zones
from .subject import Flatten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TARGET = "lb.target.test"
ADDRESSES = {
    packets.A: ("198.51.100.1", "198.51.100.2", "198.51.100.3"),
    packets.AAAA: ("2001:db8:1::1", "2001:db8:1::2"),
}
TTLS = {packets.A: 60, packets.AAAA: 120}


def internet(addresses: Mapping[int, Sequence[str]] | None = None) -> FakeInternet:
    """Return one where the target is an alias of a name with the addresses; nothing else exists."""
    made = FakeInternet()
    made.cname(TARGET, "edge.target.test", 300)
    for rdtype, found in (addresses or ADDRESSES).items():
        made.set("edge.target.test", dns.rdatatype.RdataType(rdtype).name, found, TTLS[rdtype])
    return made


def rule(addresses: Mapping[int, Sequence[str]] | None = None) -> dict[str, Flatten]:
    """Return the setting that flattens the apex to the target."""
    every = [address for found in (addresses or ADDRESSES).values() for address in found]
    return {zones.APEX: Flatten(target=TARGET, stand_in=tuple(every))}
