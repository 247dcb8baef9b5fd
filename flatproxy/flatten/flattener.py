"""The flattening half put together: targets are resolved, zones asked about, and the table is told.

No packet of a client passes here.
"""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from flatproxy.flatten.refresher import Refresher
from flatproxy.flatten.resolvers.plain import Servers, expand
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.flatten.stores.sqlite import Row, Store
from flatproxy.flatten.zone_probes import ZoneProbes
from flatproxy.table.changes import Settled
from flatproxy.wire import names, proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flatproxy.config.settings import Settings
    from flatproxy.counts import BucketTable
    from flatproxy.table.changes import Change
    from flatproxy.table.table import Table


class Flattener:
    """From `start` to `stop`; `parts` yields what is to be done many times a second."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._prepared: tuple[Settings, Servers] | None = None
        self._begun = False
        self._store: Store | None = None
        nobody = Servers((), 0.0, recursion=False)
        self._zone_probes = ZoneProbes(nobody, table.zones)
        self._refresher = Refresher(
            table=table, resolvers=nobody, upstream=nobody, scope=ConfiguredScope({}, frozenset()), clock=monotonic
        )

    def prepare(self, settings: Settings) -> None:
        """Find out who resolves; `FlatproxyError` where that cannot be read."""
        self._prepared = settings, _resolvers(settings)

    def abort(self) -> None:
        """Forget what was prepared."""
        self._prepared = None

    def commit(self) -> None:
        """Go over to new settings: what is known stays, what is new is resolved as soon as there is room."""
        assert self._prepared is not None, "nothing was prepared"
        (settings, resolvers), self._prepared = self._prepared, None
        if not self._begun:
            self._store = Store(settings.state.path) if settings.state else None
            self._begun = True
        self._refresher.resolvers = resolvers
        self._refresher.upstream = self._zone_probes.upstream = _servers(settings)
        self._refresher.scope = _scope(settings)
        now = monotonic()
        new = self._table.adopt(settings.flatten, now, settings.resolver.timeout_s)
        self._refresher.begin(new, now)
        self._zone_probes.cover(settings.flatten)

    def start(self) -> None:
        """Take what the state file knows."""
        if self._store is not None:
            now, wall = monotonic(), time()
            for row in self._store.load():
                target = self._table.targets.get((row.target, row.rdtype))
                if target is not None:
                    target.restore(row.resolution(now, wall), now)
            self._table.feed.subscribe(self._save)

    def _save(self, change: Change) -> None:
        if isinstance(change, Settled) and self._store is not None:
            self._store.save(Row.of(change.target, time()))

    def parts(self, now: float) -> Iterator[Callable[[], None]]:
        """Yield what is to be done now."""
        yield lambda: self._refresher.tick(now)
        yield lambda: self._zone_probes.tick(now)
        store = self._store
        if store is not None:
            yield lambda: store.tick(now)

    @property
    def latency(self) -> BucketTable:
        """How long resolutions took."""
        return self._refresher.latency

    @property
    def state_errors(self) -> int:
        """Failed reads and writes of the state file."""
        return self._store.errors if self._store else 0

    def missing(self) -> Iterator[str]:
        """Yield what has no answer yet."""
        for answer in self._table.tally.cold:
            yield f"{names.to_text(answer.first_name)} {answer.target.type_text}: not resolved yet"

    async def stop(self) -> None:
        """End what is under way, and write what is left to write."""
        await self._refresher.stop()
        await self._zone_probes.stop()
        if self._store is not None:
            await self._store.stop()


def _servers(settings: Settings) -> Servers:
    upstream = settings.upstream
    header = proxy.LOCAL if upstream.proxy_protocol else b""
    return Servers(upstream.servers, upstream.timeout_s, recursion=False, header=header)


def _resolvers(settings: Settings) -> Servers:
    return Servers(expand(settings.resolver.servers), settings.resolver.timeout_s, recursion=True)


def _scope(settings: Settings) -> ConfiguredScope:
    return ConfiguredScope(settings.flatten, frozenset(settings.access.zones))
