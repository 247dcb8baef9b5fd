"""The packet path in C at work: its sockets and threads, the nameservers it asks, and what it counts.

It is prepared and committed with the forwarder that it belongs to. It judges no message.
"""

from __future__ import annotations

import asyncio
import os
from time import monotonic
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from flatproxy.config.settings import Endpoint
from flatproxy.errors import FlatproxyError
from flatproxy.forward import bounds
from flatproxy.forward.native.handover import Handover, PathLimits
from flatproxy.forward.native.publish import Publisher
from flatproxy.forward.native.servers import PathServers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flatproxy.config import settings as config
    from flatproxy.config.settings import Settings
    from flatproxy.counts import Traffic
    from flatproxy.forward.descriptors import Descriptors
    from flatproxy.forward.exchange import Exchange
    from flatproxy.forward.listeners.sockets import ListenAt, ListenSocket
    from flatproxy.forward.nameservers.pool import Pool
    from flatproxy.forward.native import _core
    from flatproxy.forward.native.choice import Choice
    from flatproxy.table.table import Table

_ADDED = ("forwarded", "flattened", "dropped")
_ADDED_ALL = ("malformed", "overloaded", "limited", "unsent", "tcp_connections", "tcp_evicted", "tcp_refused")
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - recognises them, binds nothing


@frozen
class _Prepared:
    """What comes into force next; `servers` is None where those in force stay."""

    limits: config.Limits
    servers: PathServers | None


@define(eq=False)
class PacketPath:
    """Takes packets from the first `commit` to `close`, beside the loop.

    `listen_at` returns the bound sockets of a listen address for so many threads.
    """

    choice: Choice
    exchange: Exchange
    table: Table
    listen_at: ListenAt
    _endpoints: list[Endpoint] = field(factory=list)
    _path: _core.Path | None = None
    _publisher: Publisher = field(init=False)
    _handover: Handover = field(init=False)
    _servers: PathServers | None = None
    _limits: config.Limits | None = None
    _prepared: _Prepared | None = None
    _counted: Mapping[str, Any] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self._publisher = Publisher(self.choice.core, self.table)
        self._handover = Handover(self.exchange, self.choice.core)

    def prepare(self, settings: Settings, shares: Descriptors, pool: Pool) -> None:
        """Open what these settings need; `FlatproxyError` where a socket is not to be had."""
        if self._path is None:
            self._open(settings, shares)
        in_force = self._servers is not None and self._servers.pool is pool
        servers = None if in_force else PathServers.opened(self.choice, settings.upstream, shares.sockets, pool)
        self._publisher.prepare(settings)
        self._prepared = _Prepared(settings.limits, servers)

    def _open(self, settings: Settings, shares: Descriptors) -> None:
        """Make the path, which does not run yet, and bind every listen address."""
        try:
            # Nothing else may hold it: it gives back what it has when it is forgotten.
            self._path = self.choice.core.Path(
                self.choice.threads,
                pending=bounds.PENDING,
                pending_share=bounds.PENDING_SHARE,
                connections=shares.connections,
                connections_a_client=bounds.CONNECTIONS_A_CLIENT,
                pipeline=bounds.PIPELINE,
                pipeline_octets=bounds.PIPELINE_OCTETS,
                idle_s=bounds.IDLE_S,
                stalled_s=bounds.STALLED_S,
                setting_up=bounds.SETTING_UP,
                settled_s=bounds.SETTLED_S,
            )
            for endpoint in settings.listen.dns:
                self._listen(self.listen_at(endpoint, self.choice.threads))
        except OSError as error:
            raise FlatproxyError(f"cannot set up the packet threads: {error.strerror}") from None

    def _listen(self, bound: Sequence[ListenSocket]) -> None:
        """Give each thread its socket of each transport; where there are fewer than threads they share one."""
        for transport in ("udp", "tcp"):
            sockets = [each.socket for each in bound if each.transport == transport]
            host, port = sockets[0].getsockname()[:2]
            for thread in range(self.choice.threads):
                sock = sockets[thread % len(sockets)]
                sock.setblocking(False)  # noqa: FBT003 - the socket module's signature
                self._running.listen(
                    os.dup(sock.fileno()), thread=thread, tcp=transport == "tcp", wildcard=host in _WILDCARDS
                )
            for sock in sockets:
                sock.close()
        self._endpoints.append(Endpoint(host, port))

    def abort(self) -> None:
        """Give back what was prepared."""
        self._prepared = None
        self._publisher.abort()
        if self._servers is None:  # never committed
            self._path = None
            self._endpoints.clear()

    def commit(self) -> None:
        """Go over to what was prepared; the first time the threads begin."""
        prepared, self._prepared, path = self._prepared, None, self._running
        assert prepared is not None, "nothing was prepared"
        self._publisher.commit(path)
        if prepared.limits != self._limits:
            self._limits = limits = prepared.limits
            path.limit(limits.responses_per_second, limits.slip, limits.queries_per_second)
            wanted = limits.responses_per_second or limits.queries_per_second
            self.exchange.limits = PathLimits(path) if wanted else None
        begins = self._servers is None
        if prepared.servers is not None:
            if self._servers is not None:
                self._servers.retire()
            self._servers = prepared.servers
            self._servers.publish(path)
        if begins:
            self.table.feed.subscribe(self._publisher)
            path.start()
            asyncio.get_running_loop().add_reader(path.fileno(), self.take)

    @property
    def endpoints(self) -> list[Endpoint]:
        """The addresses that are read from, in the configuration's order."""
        return self._endpoints if self._servers is not None else []

    @property
    def _running(self) -> _core.Path:
        assert self._path is not None, "the path is not open"
        return self._path

    def take(self) -> None:
        """See to what was handed over, and to a nameserver that is silent."""
        self._handover.take(self._running, monotonic())
        self.sweep()

    def sweep(self) -> None:
        """Tell the path what has changed; to be called several times a second."""
        if self._servers is not None and self._path is not None:
            self._publisher.follow(self._path)
            self._servers.judge()
            self._path.reclaim()

    def count(self, traffic: Traffic) -> None:
        """Bring the counts up to date. What others have counted stays."""
        if self._path is None:
            return
        before, self._counted = self._counted, self._path.counts()
        grown = {name: value - before.get(name, 0) for name, value in self._counted.items() if isinstance(value, int)}
        for transport, verdicts in (("udp", traffic.udp), ("tcp", traffic.tcp)):
            for name in _ADDED:
                setattr(verdicts, name, getattr(verdicts, name) + grown[f"{transport}_{name}"])
        traffic.udp.refused += grown["udp_refused"]
        traffic.tcp.refused += grown["tcp_refused_queries"]
        for name in _ADDED_ALL:
            setattr(traffic, name, getattr(traffic, name) + grown[name])
        traffic.latency.total += grown["latency_ns"] / 1e9
        for name, counts in (("rcodes", traffic.rcodes), ("latency", traffic.latency.counts)):
            old = before.get(name, (0,) * len(counts))
            for place, (now, then) in enumerate(zip(self._counted[name], old, strict=True)):
                counts[place] += now - then

    def drain(self) -> None:
        """Take nothing new."""
        if self._path is not None:
            self._path.drain()

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return self._path is not None and self._path.under_way > 0

    def close(self) -> None:
        """End the threads and close every socket."""
        if self._path is not None:
            asyncio.get_running_loop().remove_reader(self._path.fileno())
            self._path.stop()
            self._path = None
            self.exchange.limits = None
            if self._servers is not None:
                self._servers.retire()
                self._servers = None
