"""Resolutions for one client subnet: resolvers are asked with the EDNS option (RFC 7871), each in a task of its own.

When to resolve, and what becomes of the answer, `table/tailored.py` says.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import dns.edns
import dns.rdatatype
from attrs import define, field

from flatproxy.errors import ChainBroken, FlatproxyError, WireError
from flatproxy.flatten.chain import Chain
from flatproxy.flatten.driving import drive, unexpected
from flatproxy.flatten.guards import sift
from flatproxy.table.ladder import Resolution
from flatproxy.wire import client_subnet, names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import dns.message
    import dns.name

    from flatproxy.flatten.chain import Asker, Found, Scope
    from flatproxy.flatten.resolvers.servers import AnyServer, Servers
    from flatproxy.table.tailored import Tailoring
    from flatproxy.table.target import Target
    from flatproxy.wire.client_subnet import Subnet


class OptionAsker(Protocol):
    """Resolvers that can be asked with EDNS options."""

    @property
    def asked(self) -> AnyServer | None:
        """Who answered last."""

    async def ask(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, *, options: Sequence[dns.edns.Option]
    ) -> dns.message.Message:
        """Return the response; raises `UpstreamTimeout` or `ChainError`."""


@define
class SubnetAsker:
    """Resolvers, asked on behalf of a network. `scope` is the longest, in bits, that an answer came with."""

    _servers: OptionAsker
    _sent: Subnet
    scope: int = 0

    @property
    def asked(self) -> AnyServer | None:
        """Who answered last."""
        return self._servers.asked

    async def ask(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
        """Return the response, as `Servers.ask`; `ChainBroken` where it is for another network."""
        option = dns.edns.GenericOption(dns.edns.OptionType.ECS, self._sent.option()[4:])
        response = await self._servers.ask(name, rdtype, options=(option,))
        data = [each.to_wire() for each in response.options if each.otype == dns.edns.OptionType.ECS]
        try:
            scope = client_subnet.scope_of(data[0] if data else None, self._sent)
        except WireError as error:
            raise ChainBroken(str(error)) from None
        self.scope = max(self.scope, scope)
        return response


@define(eq=False)
class ClientSubnets:
    """What is resolved for networks now. `resolvers`, `upstream` and `scope` are those of the settings in force."""

    tailoring: Tailoring
    resolvers: Servers
    upstream: Asker
    scope: Scope
    clock: Callable[[], float]
    rest: Callable[[], None]
    _tasks: set[asyncio.Task[None]] = field(factory=set)

    def begin(self, target: Target, sent: Subnet) -> None:
        """Resolve a target for a network."""
        task = asyncio.get_running_loop().create_task(self._resolve(target, sent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _resolve(self, target: Target, sent: Subnet) -> None:
        """Resolve, and settle or fail; never raises."""
        asker = SubnetAsker(self.resolvers, sent)
        try:
            rdtype = dns.rdatatype.RdataType(target.rdtype)
            found = await drive(
                Chain.to(names.to_name(target.name), rdtype, self.scope), asker, self.upstream, self.rest
            )
        except FlatproxyError:
            self.tailoring.fail(target, sent, self.clock())
        except Exception:  # noqa: BLE001 - a resolver's answer must not end the service
            unexpected(target)
            self.tailoring.fail(target, sent, self.clock())
        else:
            self._take(target, sent, asker.scope, found)
        self.rest()

    def _take(self, target: Target, sent: Subnet, scope: int, found: Found) -> None:
        """Put down what was found; without an address that the guards let through the shared answer is the one."""
        now = self.clock()
        rdatas, refused = sift(target.guarding, target.rdtype, found.rdatas)
        if refused:
            target.refuse(refused)
        if not rdatas:
            self.tailoring.fail(target, sent, now)
            return
        resolution = Resolution(rdatas=rdatas, ttl_s=found.ttl_s, names=found.names, resolved_at=now)
        self.tailoring.settle(target, sent, scope, resolution)

    async def stop(self) -> None:
        """End what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
