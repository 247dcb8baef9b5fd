"""The flattening half put together: targets are resolved, zones asked about, and the table is kept.

No packet of a client passes here.
"""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from flatproxy.flatten import signings
from flatproxy.flatten.client_subnets import ClientSubnets
from flatproxy.flatten.controllers import hidden_from
from flatproxy.flatten.guards import sift
from flatproxy.flatten.health.preparing import prober_for
from flatproxy.flatten.health.watching import Watching
from flatproxy.flatten.key_probes import KeyProbes
from flatproxy.flatten.refresher import Refresher
from flatproxy.flatten.resolvers.asked import AskedResolver
from flatproxy.flatten.resolvers.datagrams import DatagramClient
from flatproxy.flatten.resolvers.opening import OpenResolvers
from flatproxy.flatten.resolvers.servers import Servers
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.flatten.shadowing import Shadowing
from flatproxy.flatten.stores.saving import Saving
from flatproxy.flatten.stores.sqlite import SqliteStore
from flatproxy.flatten.zone_probes import ZoneProbes
from flatproxy.table.held import NO_HISTORY
from flatproxy.wire import proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flatproxy.config.settings import Settings
    from flatproxy.counts import BucketTable
    from flatproxy.flatten.fleet.joining import FleetNode
    from flatproxy.flatten.health.probes import Prober
    from flatproxy.flatten.resolvers.datagrams import PortReaders
    from flatproxy.flatten.stores.store import Store
    from flatproxy.signing.zone import ZoneSigning
    from flatproxy.table.held import History
    from flatproxy.table.ladder import Resolution
    from flatproxy.table.table import Adopted, Table
    from flatproxy.table.target import Target
    from flatproxy.wire.tap import Tap


@frozen(kw_only=True)
class _Prepared:
    """What comes into force next."""

    settings: Settings
    opened: OpenResolvers
    resolvers: Servers
    upstream: Servers
    store: Store | None
    keys: signings.Keys
    fleet: FleetNode | None
    prober: Prober | None


class Flattener:
    """From `start` to `stop`; `parts` yields what is to be done many times a second.

    `serve_packets` is called between two pieces of work: packets come first. `readers` read the sockets to resolvers;
    without them, each resolution is a task with sockets of its own.
    """

    def __init__(
        self,
        table: Table,
        serve_packets: Callable[[], None],
        readers: PortReaders | None = None,
    ) -> None:
        self._table = table
        self._serve_packets = serve_packets
        self._settings: Settings | None = None
        self._prepared: _Prepared | None = None
        self._store: Store | None = None
        self._fleet: FleetNode | None = None
        self._saving: Saving | None = None
        self._shadowing = Shadowing(table.shadows)
        self._resolvers = OpenResolvers()
        self.tap: Tap | None = None
        """Who is told of what resolvers are asked, from the first settings on."""
        self.health = Watching(table, monotonic)
        table.feed.subscribe(self.health)
        nobody = Servers((), 0.0, recursion=False)
        self._zone_probes = ZoneProbes(nobody, table.zones, rest=serve_packets)
        self._key_probes = KeyProbes(nobody, table, wall=table.wall, keep=self._keep_keys)
        self._refresher = Refresher(
            table=table,
            resolvers=nobody,
            upstream=nobody,
            scope=ConfiguredScope({}, frozenset()),
            clock=monotonic,
            serve_packets=serve_packets,
        )
        self._subnets = ClientSubnets(
            tailoring=table.tailoring,
            resolvers=nobody,
            upstream=nobody,
            scope=self._refresher.scope,
            clock=monotonic,
            rest=serve_packets,
        )
        table.tailoring.resolve = self._subnets.begin
        if readers is not None:
            self._refresher.client = DatagramClient(readers, self._refresher.wake)

    def prepare(self, settings: Settings) -> None:
        """Find out who resolves; `FlatproxyError` where that cannot be read. The first store stays."""
        resolver, upstream, rest = settings.resolver, settings.upstream, self._serve_packets
        first = self._settings is None
        opened = self._resolvers.opened(resolver)
        self._prepared = _Prepared(
            settings=settings,
            opened=opened,
            resolvers=Servers(
                opened.servers,
                resolver.timeout_s,
                recursion=True,
                rest=rest,
                require_ad=resolver.require_ad,
                counts=opened.counts,
                tap=self.tap,
            ),
            upstream=Servers(
                upstream.servers,
                upstream.timeout_s,
                recursion=False,
                header=proxy.LOCAL if upstream.proxy_protocol else b"",
                rest=rest,
            ),
            store=SqliteStore(settings.state.path) if first and settings.state else self._store,
            keys=signings.keys_of(settings.dnssec),
            fleet=self._fleet_of(settings) if first else self._fleet,
            prober=prober_for(settings.flatten),
        )

    def _fleet_of(self, settings: Settings) -> FleetNode | None:
        if settings.fleet is None:
            return None
        from flatproxy.flatten.fleet.joining import FleetNode, StoreAccess  # noqa: PLC0415 - only fleets need it

        access = StoreAccess.of(settings.fleet)
        return FleetNode.of(access, self._refresher, settings.resolver.timeout_s, self._serve_packets)

    def abort(self) -> None:
        """Forget what was prepared."""
        self._prepared = None

    def commit(self) -> None:
        """Go over to new settings: what is known stays, what is new is resolved as soon as there is room."""
        assert self._prepared is not None, "nothing was prepared"
        prepared, self._prepared = self._prepared, None
        self._settings = settings = prepared.settings
        self._store = prepared.store
        self._fleet = prepared.fleet
        self._resolvers.close_others(prepared.opened)
        self._resolvers = prepared.opened
        self._refresher.resolvers = self._subnets.resolvers = prepared.resolvers
        self._refresher.upstream = self._zone_probes.upstream = self._key_probes.upstream = prepared.upstream
        self._subnets.upstream = prepared.upstream
        scope = ConfiguredScope(settings.flatten, frozenset(settings.access.zones))
        self._refresher.scope = self._subnets.scope = scope
        resolver, tailoring = settings.resolver, self._table.tailoring
        tailoring.v4_bits, tailoring.v6_bits = resolver.subnet_v4, resolver.subnet_v6
        tailoring.wait_s = resolver.timeout_s
        now = monotonic()
        if self._fleet is not None:
            self.health.seats = self._zone_probes.seats = self._fleet.seats
        self.health.probe_by(prepared.prober)
        adopted = self._table.adopt(settings.flatten, now, settings.resolver.timeout_s, self._serve_packets)
        self._keep(adopted, now)
        self.health.follow()
        self._refresher.follow(adopted, now)
        if self._fleet is not None:
            self._fleet.digest = settings.digest
            self._fleet.writer.wanted = any(group.rule.sync for group in settings.flatten.groups)
            self._fleet.follow(adopted)
        if self._saving is not None:
            self._saving.forget(adopted.gone)
        self._views = settings.view_prefixes()
        self._zone_probes.hides = self._hides
        self._zone_probes.cover(settings.flatten, settings.flatten.added)
        zones = self._table.zones
        self._table.shadows.keep_only(settings.flatten.items())
        zones.sign_with(signings.signings_of(prepared.keys, zones.signings))
        self._key_probes.cover(settings.flatten)

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
        """Take what the fleet's store and the state file know: of each target what is newer."""
        known = self._fleet.warm() if self._fleet is not None else {}
        now, wall = monotonic(), time()
        if self._store is not None:
            signings.restore(self._table.zones.signings, self._store.load_keys())
            self._shadowing.restore(self._store, self._table.rules)
            rows = {(row.target, row.rdtype): row for row in self._store.load()}
            for target in self._table.targets.values():
                row = rows.get(target.key[:2])
                if row is None:
                    continue
                resolution = row.resolution(now, wall)
                if target not in known or known[target][0].resolved_at < resolution.resolved_at:
                    known[target] = resolution, row.history(now, wall)
            self._saving = Saving(self._store, time)
            self._table.feed.subscribe(self._saving)
        for target, (resolution, history) in known.items():
            _restore(target, resolution, history, now)
        if self._fleet is not None:
            for target in known:
                self._fleet.sharing.note(target)
            self._refresher.sharing = self._fleet.sharing
            self._fleet.start()

    def _keep_keys(self, signing: ZoneSigning) -> None:
        if self._store is not None:
            signings.keep(signing, self._store)

    def parts(self, now: float) -> Iterator[Callable[[], None]]:
        """Yield what is to be done now."""
        yield lambda: self._refresher.tick(now)
        yield lambda: self._table.tailoring.expire(now)
        yield lambda: self.health.tick(now)
        yield lambda: self._zone_probes.tick(now)
        yield lambda: self._key_probes.tick(now)
        store = self._store
        if store is not None:
            yield lambda: self._shadowing.tick(store, now)
            yield lambda: store.tick(now)
        fleet = self._fleet
        if fleet is not None:
            yield lambda: fleet.tick(now)

    @property
    def latency(self) -> BucketTable:
        """How long resolutions took."""
        return self._refresher.latency

    def may_write(self) -> bool:
        """Tell whether it is this node's part to write the zone's own records."""
        return self._fleet is None or self._fleet.writer.held

    @property
    def fleet(self) -> FleetNode | None:
        """The node's part in a fleet, None where there is none."""
        return self._fleet

    @property
    def resolvers(self) -> list[AskedResolver]:
        """The resolvers of the settings in force, in order of preference."""
        return [AskedResolver(each, counts) for each, counts in self._resolvers.counted()]

    def next_resolution(self, target: Target) -> float | None:
        """Return when a target is resolved next (monotonic seconds), None where that is under way or never."""
        return self._refresher.due_at(target)

    @property
    def state_fails(self) -> bool:
        """Whether the state file could not be read or written the last time."""
        return self._store is not None and self._store.failing

    @property
    def state_errors(self) -> int:
        """Failed reads and writes of the state file."""
        return self._store.errors if self._store else 0

    async def stop(self) -> None:
        """End what is under way, and write what is left to write."""
        await self._refresher.stop()
        await self._subnets.stop()
        await self._resolvers.close()
        await self.health.stop()
        await self._zone_probes.stop()
        await self._key_probes.stop()
        if self._fleet is not None:
            await self._fleet.stop()
        if self._store is not None:
            self._shadowing.keep(self._store)
            await self._store.stop()


def _restore(target: Target, resolution: Resolution, history: History, now: float) -> None:
    rdatas, refused = sift(target.guarding, target.rdtype, resolution.rdatas)
    if refused and not rdatas:
        return
    if refused:
        resolution = evolve(resolution, rdatas=rdatas)
    held, cut = sift(target.guarding, target.rdtype, history.addresses)
    if cut or not held:
        history = evolve(history, addresses=held) if held else NO_HISTORY
    target.restore(resolution, now, history)
