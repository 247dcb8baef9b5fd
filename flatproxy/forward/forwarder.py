"""The forwarding half put together: listeners, exchange, policy, nameservers and connections.

It answers from a table that the other half fills.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from flatproxy.counts import Traffic
from flatproxy.errors import FlatproxyError
from flatproxy.forward.access import Networks
from flatproxy.forward.descriptors import Descriptors, share_descriptors
from flatproxy.forward.exchange import ClientLimits, Exchange
from flatproxy.forward.listeners.connections import Connections
from flatproxy.forward.listeners.listening import Listening
from flatproxy.forward.listeners.sockets import bind
from flatproxy.forward.nameservers.pool import Pool, Surroundings
from flatproxy.forward.native.choice import Choice, choose
from flatproxy.forward.native.packets import PacketPath
from flatproxy.forward.policy import Policy
from flatproxy.forward.rate_limits import RateLimits
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flatproxy.config.settings import Endpoint, Settings
    from flatproxy.forward.listeners.sockets import ListenAt
    from flatproxy.forward.nameservers.pool import Nameserver
    from flatproxy.forward.readers import Readers
    from flatproxy.table.table import Table
    from flatproxy.wire.tap import Tap

TICK_S = 0.05
DRAIN_S = 1.0


@frozen
class _Prepared:
    """What new settings need. The pool is the one in force where they ask for nothing else."""

    settings: Settings
    shares: Descriptors
    pool: Pool
    access: dict[str, Networks]
    limits: ClientLimits | None


class Forwarder:
    """Takes packets from the first `commit` to `stop`. `reactor` is Twisted's, on asyncio.

    `listen_at` returns the bound sockets of a listen address for so many threads; those of the first settings stay
    until the end.

    nothing ──prepare──► prepared ──commit──► in force      prepared ──abort──► as before
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - many interfaces
        table: Table,
        readers: Readers,
        listen_at: ListenAt = bind,
    ) -> None:
        self._traffic = Traffic()
        self._reactor = reactor
        self._table = table
        self._readers = readers
        self._exchange = Exchange(self._traffic)
        self._connections = Connections(self._traffic)
        self._listening = Listening(listen_at, self._exchange, self._connections, readers)
        self._listen_at = listen_at
        self._choice = Choice(None)
        self._path: PacketPath | None = None
        self._settings: Settings | None = None
        self._prepared: _Prepared | None = None
        self._retired: list[tuple[float, Pool]] = []

    def prepare(self, settings: Settings) -> None:
        """Open what these settings need; `FlatproxyError` where a socket is not to be had."""
        self.abort()
        try:
            current, access = self._settings, settings.access
            if current is None:
                self._choice = choice = choose(settings)
                made = None if choice.core is None else PacketPath(choice, self._exchange, self._table, self._listen_at)
                self._path = made
            shares = share_descriptors(len(settings.upstream.servers), threads=self._choice.threads)
            if self._path is not None and settings.listen.tls:  # each counts its own connections
                shares = evolve(shares, connections=max(shares.connections // 2, 1))
            pool = self._pool_for(settings, shares)
            self._prepared = _Prepared(
                settings,
                shares,
                pool,
                {kind: Networks(getattr(access, kind)) for kind in ("query", "transfer", "update", "notify")},
                self._exchange.limits
                if current is not None and settings.limits == current.limits
                else RateLimits.of(settings.limits),
            )
            if self._path is not None:
                self._path.prepare(settings, shares, pool)
            self._listening.prepare(settings, plain=self._path is None)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Give back what was prepared."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared.pool not in self._pools():
            prepared.pool.close()
        self._listening.abort()
        if self._path is not None:
            self._path.abort()
        if self._settings is None:
            self._choice, self._path = Choice(None), None

    def commit(self) -> None:
        """Go over to what was prepared: what is under way ends as it began, what comes is judged by the new."""
        prepared, self._prepared = self._prepared, None
        assert prepared is not None, "nothing was prepared"
        exchange, access = self._exchange, prepared.settings.access
        if self._settings is not None and exchange.nameservers is not prepared.pool:
            self._retired.append((monotonic() + exchange.nameservers.timeout_s, exchange.nameservers))
        exchange.nameservers = prepared.pool
        exchange.rehearsing = self._table if self._table.shadows.any else None
        if self._path is None:
            exchange.limits = prepared.limits
        exchange.policy = Policy(
            zones=None if names.ROOT in access.zones else frozenset(access.zones),
            table=self._table,
            signing=self._table.zones,
            views=prepared.settings.view_prefixes() if prepared.settings.views else None,
            **prepared.access,
        )
        self._connections.limit = prepared.shares.connections
        self._settings = prepared.settings
        if self._path is not None:
            self._path.commit()
        self._listening.commit(self._reactor)

    def _pool_for(self, settings: Settings, shares: Descriptors) -> Pool:
        """Return the pool in force where it serves, else a new one with its sockets open."""
        current = self._settings
        if (
            current is not None
            and settings.upstream == current.upstream
            and settings.access.zones[0] == current.access.zones[0]
        ):
            return self._exchange.nameservers
        surroundings = Surroundings(self._readers, self._reactor, self._exchange)
        pool = Pool(surroundings, settings.upstream, settings.access.zones[0])
        try:
            # Ordinary queries leave from the path's own sockets.
            pool.open(shares if self._path is None else evolve(shares, sockets=0))
        except OSError as error:
            pool.close()
            raise FlatproxyError(f"cannot open a socket to every upstream server: {error.strerror}") from None
        return pool

    @property
    def packet_path(self) -> Choice:
        """What takes packets."""
        return self._choice

    @property
    def traffic(self) -> Traffic:
        """What was counted so far."""
        if self._path is not None:
            self._path.count(self._traffic)
        return self._traffic

    @property
    def listening(self) -> list[Endpoint]:
        """The addresses that are read from."""
        return self._path.endpoints if self._path is not None else self._listening.endpoints

    def tell(self, tap: Tap | None) -> None:
        """Have somebody told of every message from and to clients."""
        self._exchange.tap = tap

    @property
    def listening_tls(self) -> list[Endpoint]:
        """The addresses that are read from over TLS."""
        return self._listening.tls_endpoints

    @property
    def certificate_expires_at(self) -> float | None:
        """Unix time; None without DNS over TLS."""
        return self._listening.certificate_expires_at

    @property
    def servers(self) -> list[Nameserver]:
        """The nameservers of the settings in force."""
        return self._exchange.nameservers.servers if self._settings is not None else []

    def parts(self, now: float) -> Iterator[Callable[[], None]]:
        """Yield what is to be done many times a second."""
        if self._settings is not None:
            yield self._exchange.nameservers.sweep
        if self._path is not None:
            yield self._path.sweep
        yield lambda: self._connections.sweep(now)
        for until, pool in list(self._retired):
            yield pool.sweep
            if now > until + TICK_S:
                self._retired.remove((until, pool))
                yield pool.close

    async def stop(self) -> None:
        """Take nothing new, let what is under way end for up to a second, then close."""
        if self._path is not None:
            self._path.drain()
        await self._listening.stop()
        deadline = monotonic() + DRAIN_S
        while self._busy() and monotonic() < deadline:  # noqa: ASYNC110 - many things to wait for, once
            await asyncio.sleep(TICK_S / 5)
        self._connections.close()
        if self._path is not None:
            self._path.close()
        self.abort()
        for pool in self._pools():
            pool.close()
        self._listening.close()

    def _pools(self) -> Iterator[Pool]:
        if self._settings is not None:
            yield self._exchange.nameservers
        for _until, pool in self._retired:
            yield pool

    def _busy(self) -> bool:
        return bool(
            (self._path is not None and self._path.busy)
            or any(pool.pending for pool in self._pools())
            or not self._connections.finish()
            or self._listening.waiting
        )
