"""Many questions, a bounded number of them under way: who is asked, how often, and when asking is given up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import dns.flags
import dns.message
from attrs import define, field

from flatproxy.config.settings import Endpoint
from flatproxy.flatten.resolvers.encrypted import Authorities, EncryptedResolver
from flatproxy.flatten.resolvers.opening import open_servers
from flatproxy.flatten.resolvers.plain import exchange
from flatproxy.flatten.resolvers.servers import Servers
from flatproxy.wire import edns, proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    import dns.edns
    import dns.name
    import dns.rdatatype

    from flatproxy.config.settings import EncryptedServer, Settings
    from flatproxy.flatten.resolvers.servers import AnyServer

T = TypeVar("T")

QUESTIONS_AT_ONCE = 32


@define(eq=False)
class Bounded:
    """Servers that share a number of slots with everybody else's questions. One of these for each walk: see `asked`."""

    servers: Servers
    slots: asyncio.Semaphore

    @property
    def asked(self) -> AnyServer | None:
        """Who answered last."""
        return self.servers.asked

    async def ask(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, *, options: Sequence[dns.edns.Option] = ()
    ) -> dns.message.Message:
        """Return the response; raises `UpstreamTimeout` or `ChainError`."""
        async with self.slots:
            return await self.servers.ask(name, rdtype, options=options)


@define(eq=False)
class Asking:
    """Who asks: the timeouts of a configuration, and slots for `QUESTIONS_AT_ONCE` questions at once."""

    settings: Settings
    slots: asyncio.Semaphore = field(factory=lambda: asyncio.Semaphore(QUESTIONS_AT_ONCE))
    _open: dict[Endpoint | EncryptedServer, AnyServer] = field(factory=dict)

    @property
    def _header(self) -> bytes:
        return proxy.LOCAL if self.settings.upstream.proxy_protocol else b""

    def upstream(self, endpoints: Sequence[Endpoint] | None = None) -> Bounded:
        """Return the nameservers, all of them or these."""
        upstream = self.settings.upstream
        some = upstream.servers if endpoints is None else endpoints
        return Bounded(Servers(some, upstream.timeout_s, recursion=False, header=self._header), self.slots)

    def resolvers(self, servers: Sequence[Endpoint | EncryptedServer]) -> Bounded:
        """Return these resolvers; `FlatproxyError` where one cannot be asked."""
        opened = [self.opened(each) for each in servers]
        return Bounded(Servers(opened, self.settings.resolver.timeout_s, recursion=True), self.slots)

    def opened(self, server: Endpoint | EncryptedServer) -> AnyServer:
        """Return a resolver, with one connection to it for all questions; `FlatproxyError` where it cannot be asked."""
        if server not in self._open:
            (self._open[server],) = open_servers((server,), Authorities.read(self.settings.resolver.ca_file))
        return self._open[server]

    async def nameserver(
        self,
        endpoint: Endpoint,
        name: dns.name.Name,
        rdtype: dns.rdatatype.RdataType,
        *,
        recursion: bool = False,
        tcp: bool | None = None,
    ) -> dns.message.Message:
        """Return the response of one nameserver, see `exchange`."""
        query = _query(name, rdtype, recursion=recursion)
        timeout_s = self.settings.upstream.timeout_s
        async with self.slots:
            return await exchange(query, endpoint, timeout_s, tcp=tcp, header=self._header)

    async def resolver(
        self, server: Endpoint | EncryptedServer, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
    ) -> dns.message.Message:
        """Return the response of one resolver, see `exchange`."""
        query, timeout_s = _query(name, rdtype, recursion=True), self.settings.resolver.timeout_s
        opened = self.opened(server)
        async with self.slots:
            if isinstance(opened, Endpoint):
                return await exchange(query, opened, timeout_s)
            return await opened.ask(query, timeout_s)

    async def aclose(self) -> None:
        """Close every connection."""
        for each in self._open.values():
            if isinstance(each, EncryptedResolver):
                await each.close()


def _query(name: dns.name.Name, rdtype: dns.rdatatype.RdataType, *, recursion: bool) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype, use_edns=0, payload=edns.MAX_UDP_SIZE)
    if not recursion:
        query.flags &= ~dns.flags.RD
    return query


async def each(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do the work for each item, `QUESTIONS_AT_ONCE` at once, however many there are."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(QUESTIONS_AT_ONCE):
            group.create_task(worker())


@define
class Patience:
    """When to stop asking servers that do not answer: thousands of timeouts in a row tell no more than a few."""

    limit: int = 2 * QUESTIONS_AT_ONCE
    silent: int = 0
    skipped: int = 0
    """Items that were not asked about."""

    def is_over(self) -> bool:
        """Tell whether to skip the next item, which is counted then."""
        over = self.silent >= self.limit
        self.skipped += over
        return over

    def note(self, *, answered: bool) -> None:
        """Take the outcome of one item."""
        self.silent = 0 if answered else self.silent + 1
