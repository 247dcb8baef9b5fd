"""The composition root: settings in, running services out. The only place where the objects of both halves meet."""

from __future__ import annotations

import asyncio
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from flatproxy.counts import Traffic
from flatproxy.errors import FlatproxyError
from flatproxy.flatten import answers, status
from flatproxy.flatten.refresher import Refresher
from flatproxy.flatten.resolver import Servers, expand
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.flatten.store import Row, Store
from flatproxy.flatten.zones import ZoneFacts
from flatproxy.forward.access import Networks
from flatproxy.forward.connections import Connections
from flatproxy.forward.limits import share_descriptors
from flatproxy.forward.listen import bind
from flatproxy.forward.policy import Policy
from flatproxy.forward.rates import Limits
from flatproxy.forward.readers import LoopReaders
from flatproxy.forward.road import Road
from flatproxy.forward.tcp import TcpListener
from flatproxy.forward.udp import UdpListener
from flatproxy.forward.upstreams import Upstreams
from flatproxy.observe import metrics
from flatproxy.observe.http import HttpSide
from flatproxy.observe.sources import Sources
from flatproxy.wire import names, proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IListeningPort

    from flatproxy.config.settings import Endpoint, Settings
    from flatproxy.flatten.answers import Table, Target
    from flatproxy.forward.listen import Sockets
    from flatproxy.observe.sources import Reload

log = Logger()

TICK_S = 0.05
DRAIN_S = 1.0


class App:
    """Everything that runs, from `start` to `stop`. `reactor` is Twisted's, on asyncio."""

    def __init__(self, settings: Settings, reactor: Any, record: Reload) -> None:  # noqa: ANN401 - many interfaces
        self.settings = settings
        self.listening: list[Endpoint] = []
        self._reactor = reactor
        self._readers = LoopReaders(reactor._asyncioEventloop)  # noqa: SLF001 - Twisted names no other way to the loop
        self._record = record
        self._table: Table = {}
        self._traffic = Traffic()
        self._store = Store(settings.state.path) if settings.state else None
        self._zones = ZoneFacts(self._servers(settings), self._forget)
        self._refresher = Refresher(
            resolvers=self._resolvers(settings),
            upstream=self._servers(settings),
            scope=self._scope(settings),
            cold_s=settings.resolver.timeout_s,
            clock=monotonic,
            saved=self._save,
        )
        self._road = Road(self._traffic)
        self._upstreams = self._new_upstreams(settings)
        self._retired: list[tuple[float, Upstreams]] = []
        self._udp: list[UdpListener] = []
        shares = share_descriptors(len(settings.upstream.servers))
        self._connections = Connections(self._traffic, shares.connections)
        self._ports: list[IListeningPort] = []
        self._http: HttpSide | None = None
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = reactor
        self._ready = False
        self.ticked_at = 0.0  # when the periodic tasks last went through, on the monotonic clock

    @staticmethod
    def _servers(settings: Settings) -> Servers:
        upstream = settings.upstream
        header = proxy.LOCAL if upstream.proxy_protocol else b""
        return Servers(upstream.servers, upstream.timeout_s, recursion=False, header=header)

    @staticmethod
    def _resolvers(settings: Settings) -> Servers:
        return Servers(expand(settings.resolver.servers), settings.resolver.timeout_s, recursion=True)

    @staticmethod
    def _scope(settings: Settings) -> ConfiguredScope:
        return ConfiguredScope(settings.flatten, frozenset(settings.access.zones))

    def _new_upstreams(self, settings: Settings) -> Upstreams:
        upstream = settings.upstream
        return Upstreams(
            self._readers,
            upstream.servers,
            upstream.timeout_s,
            settings.access.zones[0],
            self._road,
            tells_client=upstream.proxy_protocol,
        )

    def _open_upstreams(self, upstreams: Upstreams) -> None:
        shares = share_descriptors(len(upstreams.servers))
        try:
            upstreams.open(shares.sockets, shares.one_shots)
        except OSError as error:
            upstreams.close()
            raise FlatproxyError(f"cannot open a socket to every upstream server: {error.strerror}") from None

    def _policy(self, settings: Settings) -> Policy:
        access = settings.access
        return Policy(
            upstreams=self._upstreams,
            zones=None if names.ROOT in access.zones else frozenset(access.zones),
            query=Networks(access.query),
            transfer=Networks(access.transfer),
            update=Networks(access.update),
            notify=Networks(access.notify),
            table=self._table,
            signed=self._zones.signed,
            limits=Limits.of(settings.limits),
        )

    def start(self, listen_at: Callable[[Endpoint], Sockets] = bind, bound: Callable[[], None] | None = None) -> None:
        """Bind, load the state, and begin; `FlatproxyError` where an address is not to be had.

        `listen_at` gives an address its sockets. `bound` is called once all are there, before any other thing is done.
        """
        sockets = [listen_at(endpoint) for endpoint in self.settings.listen.dns]
        self._start_http()
        if bound is not None:
            bound()
        self._open_upstreams(self._upstreams)
        self._adopt(self.settings)
        if self._store is not None:
            now, wall = monotonic(), time()
            self._refresher.keep({(row.target, row.rdtype): row.resolution(now, wall) for row in self._store.load()})
        for pair in sockets:
            self._listen(pair)
        self._ticker.start(TICK_S, now=False)
        http = str(self.http) if self.http else None
        addresses = [str(endpoint) for endpoint in self.listening]
        log.info(
            "listening on {addresses}, UDP and TCP{and_http}",
            event="listening",
            addresses=", ".join(addresses),
            dns=addresses,
            http=http,
            and_http=f"; HTTP on {http}" if http else "",
        )

    def _listen(self, sockets: Sockets) -> None:
        proxies = Networks(self.settings.listen.proxy_from)
        udp = UdpListener(sockets.udp, self._road, proxies, tell_client=self.settings.upstream.proxy_protocol)
        tcp = TcpListener(self._road, self._reactor, self._connections, proxies)
        self._readers.add(udp)
        port = self._reactor.adoptStreamPort(sockets.tcp.fileno(), sockets.tcp.family, tcp)
        sockets.tcp.close()  # Twisted listens on a duplicate
        self._udp.append(udp)
        self._ports.append(port)
        self.listening.append(udp.endpoint)

    def _start_http(self) -> None:
        endpoint = self.settings.listen.http
        if endpoint is None:
            return
        registry = CollectorRegistry()
        metrics.register(registry, self._sources(), monotonic)
        self._http = HttpSide(reactor=self._reactor, endpoint=endpoint, registry=registry, missing=self.missing)
        try:
            self._http.startService()
        except CannotListenError as error:
            raise FlatproxyError(f"cannot listen on {endpoint} (HTTP): {error}") from None

    def _sources(self) -> Sources:
        return Sources(
            traffic=self._traffic,
            servers=lambda: self._upstreams.servers,
            statuses=self.statuses,
            resolve_latency=self._refresher.latency,
            state_errors=lambda: self._store.errors if self._store else 0,
            signed_zones=lambda: [names.to_text(zone) for zone in self._zones.signed_zones],
            reload=lambda: self._record,
        )

    @property
    def http(self) -> Endpoint | None:
        """Where the HTTP side listens, None where it does not."""
        return self._http.address if self._http is not None else None

    def statuses(self, now: float) -> Iterator[status.NameStatus]:
        """Yield what each flagged name answers at `now`."""
        return status.statuses(self.settings.flatten, self._table, now)

    def apply(self, settings: Settings) -> None:
        """Go over to new settings: what is under way ends as it began, what comes is judged by the new."""
        if settings.listen != self.settings.listen or settings.state != self.settings.state:
            log.warn("[listen] and [state] changed: these take effect after a restart", event="restart_needed")
        if settings.upstream != self.settings.upstream or settings.access.zones[0] != self.settings.access.zones[0]:
            upstreams = self._new_upstreams(settings)
            self._open_upstreams(upstreams)  # where that fails nothing has changed yet
            self._retired.append((monotonic() + self._upstreams.timeout_s, self._upstreams))
            self._upstreams = upstreams
        resolvers = self._resolvers(settings)
        self._refresher.cold_s = settings.resolver.timeout_s
        self._refresher.resolvers = resolvers
        self._refresher.upstream = self._zones.upstream = self._servers(settings)
        self._refresher.scope = self._scope(settings)
        self.settings = settings
        self._adopt(settings)

    def _adopt(self, settings: Settings) -> None:
        """Build table and policy, and put them in place in one assignment."""
        old = self._table
        for target in self._refresher.targets.values():
            target.answers.clear()
        self._table = answers.build(settings.flatten, self._refresher.target_for, self._zones)
        for question, answer in self._table.items():
            before = old.get(question)
            if isinstance(answer, answers.Answer) and isinstance(before, answers.Answer):
                answer.rung = before.rung
        self._refresher.retire_unused()
        self._zones.cover(settings.flatten)
        self._road.policy = self._policy(settings)

    def _forget(self) -> None:
        self._road.policy.forget()

    def missing(self) -> list[str]:
        """Say what is not ready yet; nothing when all is."""
        found = []
        if not self.listening:
            found.append("not listening")
        if not any(server.up and server.health.answered_at for server in self._upstreams.servers):
            found.append("upstream: no server answers")
        now = monotonic()
        found += [
            f"{names.to_text(answer.first_name)} {target.type_text}: not resolved yet"
            for target in self._refresher.targets.values()
            if target.is_cold(now)
            for answer in target.answers
        ]
        return found

    def _tick(self) -> None:
        now = monotonic()
        for part in self._parts(now):
            try:
                part()
            except Exception:  # noqa: BLE001 - one part's fault must not stop the others
                log.failure("a periodic task went wrong", event="tick_failed")
        if not self._ready and not self.missing():
            self._ready = True
            log.info("ready", event="ready")
        self.ticked_at = now

    def _parts(self, now: float) -> Iterator[Callable[[], None]]:
        yield self._upstreams.sweep
        yield lambda: self._connections.sweep(now)
        yield lambda: self._refresher.tick(now)
        yield lambda: self._zones.tick(now)
        if self._store is not None:
            yield lambda: self._store.tick(now) if self._store else None
        for until, upstreams in list(self._retired):
            yield upstreams.sweep
            if now > until + TICK_S:
                self._retired.remove((until, upstreams))
                yield upstreams.close

    def _save(self, target: Target) -> None:
        resolution = target.resolution
        if self._store is not None and resolution is not None:
            self._store.save(
                Row(target.name, target.rdtype, resolution.rdatas, resolution.ttl_s, resolution.names, time())
            )

    async def stop(self) -> None:
        """Take nothing new, let what is under way end for up to a second, then close."""
        for udp in self._udp:
            udp.read()  # what the kernel has already taken is ours to answer
            self._readers.remove(udp)
        for port in self._ports:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped.asFuture(asyncio.get_running_loop())
        deadline = monotonic() + DRAIN_S
        while self._busy() and monotonic() < deadline:  # noqa: ASYNC110 - many things to wait for, once
            await asyncio.sleep(TICK_S / 5)
        self._ticker.stop()
        self._connections.close()
        for upstreams in (self._upstreams, *(upstreams for _until, upstreams in self._retired)):
            upstreams.close()
        await self._refresher.stop()
        await self._zones.stop()
        if self._store is not None:
            await self._store.stop()
        for udp in self._udp:
            udp.close()
        if self._http is not None:
            self._http.stopService()

    def _busy(self) -> bool:
        return bool(
            self._upstreams.pending
            or any(upstreams.pending for _until, upstreams in self._retired)
            or not self._connections.finish()
            or any(target.waiters for target in self._refresher.targets.values())
        )
