"""Asks resolvers and the nameserver for one RRset, over UDP and, where the answer was cut, TCP.

This is the one place of this half that opens sockets: dnspython's asynchronous queries, each from a port of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import dns.asyncquery
import dns.entropy
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
from attrs import define

from flatproxy.config.settings import Endpoint
from flatproxy.errors import ChainBroken, ChainError, UpstreamTimeout

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dns.name

PAYLOAD = 1232
_FINAL = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


def system_resolvers() -> list[Endpoint]:
    """Return the servers of the system's resolver configuration; `ChainBroken` where there is none."""
    try:
        resolver = dns.resolver.Resolver()
    except dns.exception.DNSException as error:
        raise ChainBroken(f"the system's resolver configuration cannot be used: {error}") from None
    return [Endpoint(str(server), resolver.port) for server in resolver.nameservers]


def expand(servers: Sequence[Endpoint | Literal["system"]]) -> list[Endpoint]:
    """Return the servers with `"system"` replaced by what it stands for now."""
    expanded: list[Endpoint] = []
    for server in servers:
        expanded += system_resolvers() if server == "system" else [server]
    return expanded


@define
class Servers:
    """Servers in order of preference, all asked within `timeout_s` for one question."""

    endpoints: Sequence[Endpoint]
    timeout_s: float
    recursion: bool
    asked: Endpoint | None = None
    """Who answered last."""

    async def ask(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
        """Return the first answer that says yes or no; otherwise the last other one.

        Raises `UpstreamTimeout` where nobody answers in time, `ChainBroken` where nobody can be asked.
        """
        query = dns.message.make_query(name, rdtype, use_edns=0, payload=PAYLOAD)
        if not self.recursion:
            query.flags &= ~dns.flags.RD
        other: dns.message.Message | ChainError | None = None
        share = self.timeout_s / max(len(self.endpoints), 1)
        for endpoint in self.endpoints:
            try:
                response = await self._ask_one(query, endpoint, share)
            except TimeoutError:
                continue
            except (OSError, dns.exception.DNSException) as error:
                other = other or ChainBroken(f"{endpoint}: {error or type(error).__name__}")
                continue
            self.asked = endpoint
            if response.rcode() in _FINAL:
                return response
            other = response
        if isinstance(other, dns.message.Message):
            return other
        if other is not None:
            raise other
        raise UpstreamTimeout(f"{name} {rdtype.name}: no answer within {self.timeout_s:g} s")

    async def _ask_one(self, query: dns.message.Message, endpoint: Endpoint, timeout_s: float) -> dns.message.Message:
        query.id = dns.entropy.random_16()
        async with asyncio.timeout(timeout_s):
            response, _used_tcp = await dns.asyncquery.udp_with_fallback(
                query, endpoint.host, port=endpoint.port, ignore_errors=True, ignore_trailing=True
            )
        return response
