"""From what `[resolver]` says to the servers that are asked. A reload keeps what stays: connections, and counts."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.config.settings import EncryptedServer, Endpoint
from flatproxy.counts import ResolverCounts
from flatproxy.errors import FlatproxyError
from flatproxy.flatten.resolvers.encrypted import Authorities, EncryptedResolver
from flatproxy.flatten.resolvers.plain import expand

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.config.settings import Resolver
    from flatproxy.flatten.resolvers.servers import AnyServer


def open_servers(
    servers: Iterable[Endpoint | EncryptedServer], trust: Authorities, known: Iterable[AnyServer] = ()
) -> list[AnyServer]:
    """Return those to ask, taken from the `known` ones where they are there; `FlatproxyError` as `opened`."""
    kept = {(each.server, each.trust): each for each in known if isinstance(each, EncryptedResolver)}
    return [
        each if isinstance(each, Endpoint) else kept.get((each, trust)) or EncryptedResolver.opened(each, trust)
        for each in servers
    ]


@define(eq=False)
class OpenResolvers:
    """The resolvers of one configuration, in order, each with its counts."""

    servers: list[AnyServer] = field(factory=list)
    counts: dict[str, ResolverCounts] = field(factory=dict)
    _closing: list[asyncio.Task[None]] = field(factory=list)

    def opened(self, resolver: Resolver) -> OpenResolvers:
        """Return those of other settings; what stays is shared. `FlatproxyError` where one cannot be asked."""
        expanded = expand(resolver.servers)
        if resolver.require_ad:
            for each in expanded:
                if isinstance(each, Endpoint) and not ip_address(each.host).is_loopback:
                    reason = "believes resolvers on loopback or with a certificate only"
                    raise FlatproxyError(f"resolver.require_ad {reason}, and {each} is neither")
        servers = open_servers(expanded, Authorities.read(resolver.ca_file), self.servers)
        return OpenResolvers(servers, {str(each): self.counts.get(str(each), ResolverCounts()) for each in servers})

    def close_others(self, new: OpenResolvers) -> None:
        """Close the connections that the `new` ones do not have; what is under way there is asked again elsewhere."""
        for each in self.servers:
            if isinstance(each, EncryptedResolver) and each not in new.servers:
                new._closing.append(asyncio.get_running_loop().create_task(each.close()))

    def counted(self) -> list[tuple[AnyServer, ResolverCounts]]:
        """Return each server with its counts."""
        return [(each, self.counts[str(each)]) for each in self.servers]

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(
            *self._closing, *(each.close() for each in self.servers if isinstance(each, EncryptedResolver))
        )
