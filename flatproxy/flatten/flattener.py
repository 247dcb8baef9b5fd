"""The flattening half put together: targets, zones, the state file, and the table of answers that comes of them.

No packet of a client passes here.
"""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from flatproxy.config.settings import Rules
from flatproxy.flatten.refresher import Refresher
from flatproxy.flatten.resolvers.plain import Servers, expand
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.flatten.stores.sqlite import Row, Store
from flatproxy.flatten.zone_probes import ZoneFacts
from flatproxy.table import answers, status
from flatproxy.wire import names, proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from flatproxy.config.settings import Settings
    from flatproxy.counts import BucketTable
    from flatproxy.table.answers import Table, Target


def _nobody() -> None:
    """Tell nobody."""


class Flattener:
    """From `start` to `stop`; `parts` yields what is to be done many times a second."""

    def __init__(self) -> None:
        self.table: Table = {}
        self.signed_changed: Callable[[], None] = _nobody
        """Called when `signed` has changed."""
        self._prepared: tuple[Settings, Servers] | None = None
        self._flatten: Rules = Rules()
        self._begun = False
        self._store: Store | None = None
        nobody = Servers((), 0.0, recursion=False)
        self.zones = ZoneFacts(nobody, self._tell_signed_changed)
        self._refresher = Refresher(
            resolvers=nobody,
            upstream=nobody,
            scope=ConfiguredScope(self._flatten, frozenset()),
            cold_s=0.0,
            clock=monotonic,
            saved=self._save,
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
        self._refresher.cold_s = settings.resolver.timeout_s
        self._refresher.resolvers = resolvers
        self._refresher.upstream = self.zones.upstream = _servers(settings)
        self._refresher.scope = _scope(settings)
        self._flatten = settings.flatten
        self._adopt()

    def start(self) -> None:
        """Take what the state file knows."""
        if self._store is not None:
            now, wall = monotonic(), time()
            self._refresher.keep({(row.target, row.rdtype): row.resolution(now, wall) for row in self._store.load()})

    def _adopt(self) -> None:
        """Build the table and put it in place in one assignment."""
        for target in self._refresher.targets.values():
            target.answers.clear()
        table = answers.build(self._flatten, self._refresher.target_for, self.zones)
        table.carry(self.table)
        self.table = table
        self._refresher.retire_unused()
        self.zones.cover(self._flatten)

    def _save(self, target: Target) -> None:
        resolution = target.resolution
        if self._store is not None and resolution is not None:
            self._store.save(
                Row(target.name, target.rdtype, resolution.rdatas, resolution.ttl_s, resolution.names, time())
            )

    def _tell_signed_changed(self) -> None:
        self.signed_changed()

    def parts(self, now: float) -> Iterator[Callable[[], None]]:
        """Yield what is to be done now."""
        yield lambda: self._refresher.tick(now)
        yield lambda: self.zones.tick(now)
        store = self._store
        if store is not None:
            yield lambda: store.tick(now)

    @property
    def targets(self) -> Collection[Target]:
        """Every target of the table."""
        return self._refresher.targets.values()

    @property
    def signed(self) -> Collection[bytes]:
        """The flagged names whose zone is signed; the object stays the same and changes."""
        return self.zones.signed

    @property
    def signed_zones(self) -> list[str]:
        """The signed zones in text."""
        return [names.to_text(zone) for zone in self.zones.signed_zones]

    @property
    def latency(self) -> BucketTable:
        """How long resolutions took."""
        return self._refresher.latency

    @property
    def state_errors(self) -> int:
        """Failed reads and writes of the state file."""
        return self._store.errors if self._store else 0

    def waits(self) -> bool:
        """Tell whether a query in this process waits for a target's first resolution."""
        return any(target.waiters for target in self.targets)

    def missing(self) -> Iterator[str]:
        """Yield what has no answer yet."""
        now = monotonic()
        for target in self.targets:
            if target.is_cold(now):
                for answer in target.answers:
                    yield f"{names.to_text(answer.first_name)} {target.type_text}: not resolved yet"

    def statuses(self, now: float) -> Iterator[status.NameStatus]:
        """Yield what each flagged name answers at `now`."""
        return status.statuses(self._flatten, self.table, now)

    async def stop(self) -> None:
        """End what is under way, and write what is left to write."""
        await self._refresher.stop()
        await self.zones.stop()
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
