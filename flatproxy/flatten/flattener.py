"""The flattening half put together: targets are resolved, zones asked about, and the table is kept.

No packet of a client passes here.
"""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from flatproxy.flatten.controllers import hidden_from
from flatproxy.flatten.guards import sift
from flatproxy.flatten.refresher import Refresher
from flatproxy.flatten.resolvers.plain import Servers, expand
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.flatten.stores.sqlite import SqliteStore
from flatproxy.flatten.stores.store import Row
from flatproxy.flatten.zone_probes import ZoneProbes
from flatproxy.table.changes import Settled
from flatproxy.table.held import NO_HISTORY
from flatproxy.wire import proxy
from flatproxy.wire.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flatproxy.config.settings import Settings
    from flatproxy.counts import BucketTable
    from flatproxy.flatten.stores.store import Store
    from flatproxy.table.changes import Change
    from flatproxy.table.held import History
    from flatproxy.table.ladder import Resolution
    from flatproxy.table.table import Adopted, Table
    from flatproxy.table.target import Target


@frozen(kw_only=True)
class _Prepared:
    """What comes into force next."""

    settings: Settings
    resolvers: Servers
    upstream: Servers
    store: Store | None


class Flattener:
    """From `start` to `stop`; `parts` yields what is to be done many times a second.

    `serve_packets` is called between two pieces of work: packets come first.
    """

    def __init__(self, table: Table, serve_packets: Callable[[], None]) -> None:
        self._table = table
        self._serve_packets = serve_packets
        self._settings: Settings | None = None
        self._prepared: _Prepared | None = None
        self._store: Store | None = None
        self._views: Prefixes[str] = Prefixes({})
        nobody = Servers((), 0.0, recursion=False)
        self._zone_probes = ZoneProbes(nobody, table.zones, rest=serve_packets)
        self._refresher = Refresher(
            table=table,
            resolvers=nobody,
            upstream=nobody,
            scope=ConfiguredScope({}, frozenset()),
            clock=monotonic,
            serve_packets=serve_packets,
        )

    def prepare(self, settings: Settings) -> None:
        """Find out who resolves; `FlatproxyError` where that cannot be read. The first store stays."""
        resolver, upstream, rest = settings.resolver, settings.upstream, self._serve_packets
        first = self._settings is None
        self._prepared = _Prepared(
            settings=settings,
            resolvers=Servers(expand(resolver.servers), resolver.timeout_s, recursion=True, rest=rest),
            upstream=Servers(
                upstream.servers,
                upstream.timeout_s,
                recursion=False,
                header=proxy.LOCAL if upstream.proxy_protocol else b"",
                rest=rest,
            ),
            store=SqliteStore(settings.state.path) if first and settings.state else self._store,
        )

    def abort(self) -> None:
        """Forget what was prepared."""
        self._prepared = None

    def commit(self) -> None:
        """Go over to new settings: what is known stays, what is new is resolved as soon as there is room."""
        assert self._prepared is not None, "nothing was prepared"
        prepared, self._prepared = self._prepared, None
        self._settings = settings = prepared.settings
        self._store = prepared.store
        self._refresher.resolvers = prepared.resolvers
        self._refresher.upstream = self._zone_probes.upstream = prepared.upstream
        self._refresher.scope = ConfiguredScope(settings.flatten, frozenset(settings.access.zones))
        now = monotonic()
        adopted = self._table.adopt(settings.flatten, now, settings.resolver.timeout_s, self._serve_packets)
        self._keep(adopted, now)
        self._refresher.follow(adopted, now)
        self._views = settings.view_prefixes()
        self._zone_probes.hides = self._hides
        self._zone_probes.cover(settings.flatten, settings.flatten.added)

    def _hides(self, name: bytes) -> bool:
        settings = self._settings
        rule = settings.flatten.get(name) if settings is not None else None
        return rule is not None and bool(hidden_from(rule, self._views))

    @property
    def hidden_controllers(self) -> Iterator[tuple[bytes, int]]:
        """The flagged names that are domains, with the number of controllers that clients inside do not find there."""
        return ((name, there) for name, there in self._table.zones.controllers.items() if self._hides(name))

    def _keep(self, adopted: Adopted, now: float) -> None:
        """Where only the guards of a target have changed, what is known of it stays, as far as they let it through."""
        gone = {target.key[:2]: target for target in adopted.gone}
        for target in adopted.new:
            before = gone.get(target.key[:2])
            if before is not None and before.resolution is not None:
                _restore(target, before.resolution, before.history, now)

    def start(self) -> None:
        """Take what the state file knows."""
        if self._store is not None:
            now, wall = monotonic(), time()
            rows = {(row.target, row.rdtype): row for row in self._store.load()}
            for target in self._table.targets.values():
                row = rows.get(target.key[:2])
                if row is not None:
                    _restore(target, row.resolution(now, wall), row.history(now, wall), now)
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

    async def stop(self) -> None:
        """End what is under way, and write what is left to write."""
        await self._refresher.stop()
        await self._zone_probes.stop()
        if self._store is not None:
            await self._store.stop()


def _restore(target: Target, resolution: Resolution, history: History, now: float) -> None:
    rdatas, refused = sift(target.guarding, target.rdtype, resolution.rdatas)
    if refused and not rdatas:
        return
    held, _ = sift(target.guarding, target.rdtype, history.addresses)
    target.restore(evolve(resolution, rdatas=rdatas), now, evolve(history, addresses=held) if held else NO_HISTORY)
