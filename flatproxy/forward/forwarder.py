"""The forwarding half put together: listeners, exchange, policy, nameservers and connections.

It answers from a table that the other half fills.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from attrs import define

from flatproxy.counts import Traffic
from flatproxy.errors import FlatproxyError
from flatproxy.forward.access import Networks
from flatproxy.forward.bounds import share_descriptors
from flatproxy.forward.exchange import Road
from flatproxy.forward.listeners.connections import Connections
from flatproxy.forward.listeners.datagram import UdpListener
from flatproxy.forward.listeners.sockets import bind
from flatproxy.forward.listeners.stream import TcpListener
from flatproxy.forward.nameservers.pool import Upstreams
from flatproxy.forward.packet_loop import PacketLoop
from flatproxy.forward.policy import Policy
from flatproxy.forward.rate_limits import Limits
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IListeningPort

    from flatproxy.config.settings import Endpoint, Settings
    from flatproxy.forward.listeners.sockets import Sockets
    from flatproxy.forward.nameservers.pool import Upstream
    from flatproxy.table.table import Table

TICK_S = 0.05
DRAIN_S = 1.0


@define(eq=False)
class Listener:
    """What is read of one listen address."""

    udp: UdpListener
    port: IListeningPort


class Forwarder:
    """Takes packets from `listen` to `stop`. `reactor` is Twisted's, on asyncio.

    `listen_at` returns the bound sockets of a listen address; those of the first settings stay until the end.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - many interfaces
        table: Table,
        listen_at: Callable[[Endpoint], Sockets] = bind,
    ) -> None:
        self.traffic = Traffic()
        self._reactor = reactor
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PacketLoop), "another loop reads no packets"
        self._readers = loop.packets
        self._listen_at = listen_at
        self._table = table
        self._road = Road(self.traffic)
        self._connections = Connections(self.traffic)
        self._settings: Settings | None = None
        self._opened: tuple[Settings, Upstreams, Callable[..., Policy]] | None = None
        self._upstreams: Upstreams | None = None
        self._retired: list[tuple[float, Upstreams]] = []
        self._listeners: list[Listener] = []
        self._bound: list[Sockets] = []

    def prepare(self, settings: Settings) -> None:
        """Make ready for these settings; `FlatproxyError` where a socket is not to be had."""
        try:
            if self._settings is None:
                self._bind(settings)
            self._open(settings)
        except BaseException:
            self.abort()
            raise

    def _open(self, settings: Settings) -> None:
        current, upstreams = self._settings, self._upstreams
        if (
            upstreams is None
            or current is None
            or settings.upstream != current.upstream
            or settings.access.zones[0] != current.access.zones[0]
        ):
            upstreams = self._new_upstreams(settings)
        access = settings.access
        make = partial(
            Policy,
            upstreams=upstreams,
            zones=None if names.ROOT in access.zones else frozenset(access.zones),
            query=Networks(access.query),
            transfer=Networks(access.transfer),
            update=Networks(access.update),
            notify=Networks(access.notify),
            limits=Limits.of(settings.limits),
        )
        self._opened = settings, upstreams, make

    def abort(self) -> None:
        """Give back what was made ready."""
        if self._opened is not None and self._opened[1] is not self._upstreams:
            self._opened[1].close()
        self._opened = None
        for pair in self._bound:
            pair.udp.close()
            pair.tcp.close()
        self._bound.clear()

    def commit(self) -> None:
        """Go over to what was made ready: what is under way ends as it began, what comes is judged by the new."""
        assert self._opened is not None, "nothing was opened"
        settings, upstreams, make = self._opened
        self._opened = None
        if upstreams is not self._upstreams:
            if self._upstreams is not None:
                self._retired.append((monotonic() + self._upstreams.timeout_s, self._upstreams))
            self._upstreams = upstreams
        self._settings = settings
        self._road.policy = make(table=self._table, signing=self._table.zones)
        self._listen(settings)

    def _bind(self, settings: Settings) -> None:
        """Have one pair of sockets for each listen address; `FlatproxyError` where one is not to be had."""
        share_descriptors(len(settings.upstream.servers))
        for endpoint in settings.listen.dns:
            self._bound.append(self._listen_at(endpoint))

    def _new_upstreams(self, settings: Settings) -> Upstreams:
        upstream = settings.upstream
        upstreams = Upstreams(
            self._readers,
            upstream.servers,
            upstream.timeout_s,
            settings.access.zones[0],
            self._road,
            tells_client=upstream.proxy_protocol,
        )
        shares = share_descriptors(len(upstreams.servers))
        try:
            upstreams.open(shares.sockets, shares.one_shots)
        except OSError as error:
            upstreams.close()
            raise FlatproxyError(f"cannot open a socket to every upstream server: {error.strerror}") from None
        return upstreams

    def _listen(self, settings: Settings) -> None:
        """Begin to read from the sockets that were bound, if any were."""
        self._connections.limit = share_descriptors(len(settings.upstream.servers)).connections
        proxies = Networks(settings.listen.proxy_from)
        for pair in self._bound:
            udp = UdpListener(
                pair.udp, self._road, self._readers, proxies, tell_client=settings.upstream.proxy_protocol
            )
            tcp = TcpListener(self._road, self._reactor, self._connections, proxies)
            self._readers.add(udp)
            port = self._reactor.adoptStreamPort(pair.tcp.fileno(), pair.tcp.family, tcp)
            pair.tcp.close()  # Twisted listens on a duplicate
            self._listeners.append(Listener(udp, port))
        self._bound.clear()

    @property
    def listening(self) -> list[Endpoint]:
        """The addresses that are read from."""
        return [each.udp.endpoint for each in self._listeners]

    @property
    def servers(self) -> list[Upstream]:
        """The nameservers of the settings in force."""
        return self._upstreams.servers if self._upstreams is not None else []

    def missing(self) -> Iterator[str]:
        """Yield what is not ready yet."""
        if not self.listening:
            yield "not listening"
        if not any(server.up and server.health.answered_at for server in self.servers):
            yield "upstream: no server answers"

    def parts(self, now: float) -> Iterator[Callable[[], None]]:
        """Yield what is to be done many times a second."""
        if self._upstreams is not None:
            yield self._upstreams.sweep
        yield lambda: self._connections.sweep(now)
        for until, upstreams in list(self._retired):
            yield upstreams.sweep
            if now > until + TICK_S:
                self._retired.remove((until, upstreams))
                yield upstreams.close

    async def stop(self) -> None:
        """Take nothing new, let what is under way end for up to a second, then close."""
        for each in self._listeners:
            each.udp.read(monotonic())  # what the kernel has already taken is ours to answer
            self._readers.remove(each.udp)
        for each in self._listeners:
            stopped = each.port.stopListening()
            if stopped is not None:
                await stopped.asFuture(asyncio.get_running_loop())
        deadline = monotonic() + DRAIN_S
        while self._busy() and monotonic() < deadline:  # noqa: ASYNC110 - many things to wait for, once
            await asyncio.sleep(TICK_S / 5)
        self._connections.close()
        self.abort()
        for upstreams in self._all_upstreams():
            upstreams.close()
        for each in self._listeners:
            each.udp.close()

    def _all_upstreams(self) -> Iterator[Upstreams]:
        if self._upstreams is not None:
            yield self._upstreams
        for _until, upstreams in self._retired:
            yield upstreams

    def _busy(self) -> bool:
        return bool(
            any(upstreams.pending for upstreams in self._all_upstreams())
            or not self._connections.finish()
            or self._table.tally.waiting
        )
