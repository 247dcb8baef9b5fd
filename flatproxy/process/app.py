"""The composition root: settings in, running services out. The only place where the objects of both halves meet."""

from __future__ import annotations

import asyncio
from importlib import import_module
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from attrs import evolve
from prometheus_client import CollectorRegistry
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from flatproxy.errors import FlatproxyError
from flatproxy.flatten.flattener import Flattener
from flatproxy.forward.forwarder import TICK_S, Forwarder
from flatproxy.forward.listeners.sockets import bind
from flatproxy.forward.readers import Readers
from flatproxy.observe import metrics
from flatproxy.observe.change_log import ChangeLog
from flatproxy.observe.http import HttpSide
from flatproxy.observe.running import Explanation, Running
from flatproxy.observe.sources import Sources
from flatproxy.observe.watch import Watch
from flatproxy.process import phases
from flatproxy.sync.updater import Updater
from flatproxy.table import status
from flatproxy.table.table import Table
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flatproxy.config.settings import Endpoint, Settings
    from flatproxy.forward.listeners.sockets import ListenAt
    from flatproxy.observe.dnstap import DnstapWriter
    from flatproxy.observe.sources import Reload
    from flatproxy.table.status import NameStatus

log = Logger()


def _query_log(settings: Settings) -> DnstapWriter | None:
    """Return who writes the query log; `FlatproxyError` where what it needs is not installed."""
    if settings.dnstap is None:
        return None
    try:
        module = import_module("flatproxy.observe.dnstap")
    except ImportError as error:
        raise FlatproxyError(f"[dnstap] needs more ({error}): pip install 'flatproxy[dnstap]'") from None
    writer: DnstapWriter = module.DnstapWriter(settings.dnstap)
    return writer


class App:
    """Everything that runs, from `start` to `stop`. To be made within the running loop.

    `reactor` is Twisted's, on asyncio; `listen_at` returns the bound sockets of a listen address
    for so many threads.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - many interfaces
        record: Reload,
        listen_at: ListenAt = bind,
    ) -> None:
        self._settings: Settings | None = None
        self._record = record
        self._dnstap: DnstapWriter | None = None
        self._table = Table(wall=time)
        self._table.feed.subscribe(ChangeLog())
        self._readers = Readers(asyncio.get_running_loop())
        self._forwarder = Forwarder(reactor, self._table, self._readers, listen_at)
        self._flattener = Flattener(self._table, self._readers.serve, self._readers)
        self._updater = Updater(self._table, self._flattener.may_write)
        registry = CollectorRegistry()
        metrics.register(registry, self._sources(), monotonic)
        self._watch = Watch(self._running())
        self._http = HttpSide(reactor=reactor, registry=registry, watch=self._watch)
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = reactor
        self._ready = False
        self.ticked_at = 0.0  # when the periodic tasks last went through, on the monotonic clock

    def start(self, settings: Settings, bound: Callable[[], None] = lambda: None) -> None:
        """Open everything, load the state, and begin; after a `FlatproxyError` nothing is open.

        `bound` is called once all sockets are there, before anything is read or written.
        """
        self._dnstap = writer = _query_log(settings)
        self._flattener.tap = writer
        self._forwarder.tell(writer)
        phases.change((self._flattener, self._updater, self._forwarder, self._http), settings, bound)
        self._settings = settings
        if writer is not None:
            writer.start()
        self._flattener.start()
        self._ticker.start(TICK_S, now=False)
        path = self._forwarder.packet_path
        log.info(
            "packets are taken in {path}{in_threads}{why}",
            event="packet_path",
            path=path.text,
            threads=path.threads,
            in_threads=f", by {path.threads} threads" if path.threads > 1 else "",
            why=f": {path.why}" if path.why else "",
        )
        http = str(self.http) if self.http else None
        addresses = [str(endpoint) for endpoint in self.listening]
        tls = [str(endpoint) for endpoint in self._forwarder.listening_tls]
        log.info(
            "listening on {addresses}, UDP and TCP{and_tls}{and_http}",
            event="listening",
            addresses=", ".join(addresses),
            dns=addresses,
            tls=tls,
            and_tls=f"; TLS on {', '.join(tls)}" if tls else "",
            http=http,
            and_http=f"; HTTP on {http}" if http else "",
        )

    def reload(self, settings: Settings) -> None:
        """Go over to new settings; a `FlatproxyError` has changed nothing."""
        before = self.settings
        phases.change((self._flattener, self._updater, self._forwarder), settings)
        self._settings = settings
        # Certificate and key are read again; all else of [listen] stays as it was.
        same_files = evolve(settings.listen, certificate=before.listen.certificate, key=before.listen.key)
        in_force = (before.listen, before.state, before.fleet, before.dnstap)
        if (same_files, settings.state, settings.fleet, settings.dnstap) != in_force:
            what = "[listen], [state], [fleet] or [dnstap] changed: these take effect after a restart"
            log.warn(what, event="restart_needed")

    def _sources(self) -> Sources:
        forwarder, flattener = self._forwarder, self._flattener
        return Sources(
            traffic=lambda: forwarder.traffic,
            packet_path=lambda: forwarder.packet_path.text,
            dnstap_dropped=lambda: None if self._dnstap is None else self._dnstap.dropped,
            certificate_expires_at=lambda: forwarder.certificate_expires_at,
            servers=lambda: forwarder.servers,
            resolvers=lambda: flattener.resolvers,
            names_by_rung=lambda: {rung.name.lower(): count for rung, count in self._table.tally.names.items()},
            statuses=self.statuses,
            not_fresh=lambda now: status.not_fresh(self._table, now),
            resolve_latency=flattener.latency,
            probe_latency=flattener.health.latency,
            probes_late=lambda: flattener.health.late,
            checked_addresses=flattener.health.addresses,
            failing_open=flattener.health.failing_open,
            addresses_cut=lambda: self._table.tally.left_out,
            state_errors=lambda: flattener.state_errors,
            signed_zones=lambda: map(names.to_text, self._table.zones.signed),
            keys_by_state=lambda: status.keys_by_state(self._table),
            shadow_counts=lambda: status.shadow_counts(self._table),
            placeholders_missing=lambda: status.placeholders_missing(self._table),
            tailoring=lambda: self._table.tailoring,
            fleet=lambda: flattener.fleet,
            sync_states=self._updater.states,
            sync_outcomes=lambda: self._updater.outcomes,
            sync_conflicts=self._updater.conflicts,
            controllers=lambda: ((names.to_text(name), there) for name, there in flattener.hidden_controllers),
            reload=lambda: self._record,
        )

    def _running(self) -> Running:
        forwarder, flattener = self._forwarder, self._flattener
        return Running(
            table=self._table,
            settings=lambda: self.settings,
            listening=lambda: bool(forwarder.listening),
            servers=lambda: forwarder.servers,
            resolvers=lambda: flattener.resolvers,
            reload=lambda: self._record,
            state_fails=lambda: flattener.state_fails,
            next_resolution=flattener.next_resolution,
            checked_addresses=flattener.health.addresses,
            failing_open=flattener.health.failing_open,
            sync_state=self._updater.state_of,
            sync_conflicts=self._updater.conflicts,
            packet_path=lambda: forwarder.packet_path.text,
            explain=self._explain,
            now=monotonic,
            wall=time,
            started=time(),
        )

    async def _explain(self, name: bytes) -> Explanation:
        from flatproxy.diagnose.live import explain_live  # noqa: PLC0415 - only whoever asks needs it

        return await explain_live(self.settings, name, self._table)

    @property
    def settings(self) -> Settings:
        """What is in force, from the start on."""
        assert self._settings is not None, "not started"
        return self._settings

    @property
    def listening(self) -> list[Endpoint]:
        """Where it listens, in the configuration's order."""
        return self._forwarder.listening

    @property
    def http(self) -> Endpoint | None:
        """Where the HTTP side listens, None where it does not."""
        return self._http.address

    def statuses(self, now: float) -> Iterator[NameStatus]:
        """Yield what each flagged name answers at `now`."""
        return status.statuses(self._table, now)

    def missing(self) -> list[str]:
        """Say what is not ready yet; nothing when all is."""
        return list(self._watch.missing())

    def _tick(self) -> None:
        now = monotonic()
        for parts in (self._forwarder.parts(now), self._flattener.parts(now), self._updater.parts(now)):
            for part in parts:
                try:
                    part()
                except Exception:  # noqa: BLE001 - one part's fault must not stop the others
                    log.failure("a periodic task went wrong", event="tick_failed")
        self._watch.tick(now)
        if not self._ready and next(iter(self._watch.missing()), None) is None:
            self._ready = True
            log.info("ready", event="ready")
        self.ticked_at = now

    async def stop(self) -> None:
        """Take nothing new, let what is under way end for up to a second, then close."""
        await self._forwarder.stop()
        if self._ticker.running:
            self._ticker.stop()
        await self._updater.stop()
        await self._flattener.stop()
        self._http.stop()
        self._readers.close()
        if self._dnstap is not None:
            self._dnstap.stop()
