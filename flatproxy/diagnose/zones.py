"""What the nameserver says of one name's zone: which it is, and whether it is signed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.rdatatype
from attrs import define, field

from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.diagnose.asking import Bounded

SIGNED = "queries with DO=1 for its flagged names go to the nameserver and get the addresses that stand there"
UNSIGN = (
    "validating resolvers send DO=1 and are most of the clients: take the DS record out of the parent zone and, once "
    "its TTL is over, sign no longer; or leave these names to the nameserver"
)


@define(eq=False)
class Keys:
    """Which zones have a DNSKEY, each asked once. `upstream` returns whom to ask."""

    upstream: Callable[[], Bounded]
    _asked: dict[bytes, asyncio.Task[bool]] = field(factory=dict)

    async def has(self, apex: bytes) -> bool:
        """Tell whether the zone has a DNSKEY; raises `UpstreamTimeout` or `ChainError`."""
        task = self._asked.get(apex)
        if task is None:
            task = self._asked[apex] = asyncio.ensure_future(self._ask(apex))
        return await task

    async def _ask(self, apex: bytes) -> bool:
        response = await self.upstream().ask(names.to_name(apex), dns.rdatatype.DNSKEY)
        return any(rrset.rdtype == dns.rdatatype.DNSKEY for rrset in response.answer)
