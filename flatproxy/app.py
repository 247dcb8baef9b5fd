"""The composition root: settings in, running services out. The only place where the objects of both halves meet.

The packet half is in this process, or in worker processes of its own; the flattening half is always here.
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import CollectorRegistry
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from flatproxy.errors import FlatproxyError
from flatproxy.flattening import Flattening, Told
from flatproxy.forward.listen import bind_all
from flatproxy.observe import metrics
from flatproxy.observe.http import HttpSide
from flatproxy.observe.sources import Sources
from flatproxy.packets import TICK_S, Packets
from flatproxy.workers import link
from flatproxy.workers.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flatproxy.config.settings import Endpoint, Settings
    from flatproxy.flatten.status import NameStatus
    from flatproxy.forward.listen import Sockets
    from flatproxy.observe.sources import Reload, Server, Traffic, Worker

    Bind = Callable[[Endpoint, int], Sequence[Sockets]]
    """Gives a listen address so many pairs of sockets, one for each process that reads."""

log = Logger()


class PacketSide(Told, Protocol):
    """The packet half, wherever it is."""

    @property
    def listening(self) -> list[Endpoint]:
        """Where it listens, in the configuration's order."""

    @property
    def traffic(self) -> Traffic:
        """What was counted; always the same object."""

    @property
    def servers(self) -> Sequence[Server]:
        """The nameservers of the settings in force."""

    @property
    def workers(self) -> Sequence[Worker]:
        """The processes that take packets."""

    @property
    def restarts(self) -> int:
        """How many of them took the place of one that had ended."""

    def bind(self, settings: Settings, listen_at: Bind) -> None:
        """Have the sockets; `FlatproxyError` where one is not to be had."""

    def begin(self, settings: Settings) -> None:
        """Begin to take packets; `FlatproxyError` where that cannot be."""

    async def apply(self, settings: Settings, go_over: Callable[[], None]) -> None:
        """Go over to new settings, with the other half as `go_over` is called; `FlatproxyError` changes nothing."""

    def missing(self) -> Iterator[str]:
        """Yield what is not ready yet."""

    def parts(self, now: float) -> Iterator[Callable[[], None]]:
        """Yield what is to be done many times a second."""

    async def stop(self) -> None:
        """Take nothing new, let what is under way end for up to a second, then close."""


class App:
    """Everything that runs, from `start` to `stop`. `reactor` is Twisted's, on asyncio; workers log as `log_format`."""

    def __init__(
        self,
        settings: Settings,
        reactor: Any,  # noqa: ANN401 - many interfaces
        record: Reload,
        log_format: str = "text",
    ) -> None:
        self.settings = settings
        self._reactor = reactor
        self._record = record
        self._flattening = Flattening(settings)
        self._packets: PacketSide
        if settings.listen.workers > 1:
            start = partial(link.start, log_format)
            self._packets = Fleet(reactor, settings.listen.workers, self._flattening, start)
        else:
            self._packets = Packets(reactor, self._flattening)
        self._flattening.told = self._packets
        self._http: HttpSide | None = None
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = reactor
        self._ready = False
        self.ticked_at = 0.0  # when the periodic tasks last went through, on the monotonic clock

    @property
    def listening(self) -> list[Endpoint]:
        """Where it listens, in the configuration's order."""
        return self._packets.listening

    def start(self, listen_at: Bind = bind_all, bound: Callable[[], None] | None = None) -> None:
        """Bind, load the state, and begin; `FlatproxyError` where an address is not to be had.

        `bound` is called once all sockets are there, before any other thing is done.
        """
        self._packets.bind(self.settings, listen_at)
        self._start_http()
        if bound is not None:
            bound()
        self._flattening.start()
        self._packets.begin(self.settings)
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

    def _start_http(self) -> None:
        endpoint = self.settings.listen.http
        if endpoint is None:
            return
        registry = CollectorRegistry()
        metrics.register(registry, self._sources(), monotonic)
        self._http = HttpSide(
            reactor=self._reactor, endpoint=endpoint, registry=registry, missing=self.missing, alive=self._alive
        )
        try:
            self._http.startService()
        except CannotListenError as error:
            raise FlatproxyError(f"cannot listen on {endpoint} (HTTP): {error}") from None

    def _sources(self) -> Sources:
        packets, flattening = self._packets, self._flattening
        return Sources(
            traffic=packets.traffic,
            servers=lambda: packets.servers,
            statuses=self.statuses,
            resolve_latency=flattening.latency,
            state_errors=lambda: flattening.state_errors,
            signed_zones=lambda: flattening.signed_zones,
            reload=lambda: self._record,
            workers=lambda: packets.workers,
            worker_restarts=lambda: packets.restarts,
        )

    @property
    def http(self) -> Endpoint | None:
        """Where the HTTP side listens, None where it does not."""
        return self._http.address if self._http is not None else None

    def statuses(self, now: float) -> Iterator[NameStatus]:
        """Yield what each flagged name answers at `now`."""
        return self._flattening.statuses(now)

    async def apply(self, settings: Settings) -> None:
        """Go over to new settings; `FlatproxyError` changes nothing."""
        if settings.listen != self.settings.listen or settings.state != self.settings.state:
            log.warn("[listen] and [state] changed: these take effect after a restart", event="restart_needed")

        def go_over() -> None:
            self._flattening.apply(settings)
            self.settings = settings

        await self._packets.apply(settings, go_over)

    def missing(self) -> list[str]:
        """Say what is not ready yet; nothing when all is."""
        return [*self._packets.missing(), *self._flattening.missing()]

    def _alive(self) -> bool:
        """Tell whether anybody takes packets."""
        return any(worker.serving for worker in self._packets.workers)

    def _tick(self) -> None:
        now = monotonic()
        for parts in (self._packets.parts(now), self._flattening.parts(now)):
            for part in parts:
                try:
                    part()
                except Exception:  # noqa: BLE001 - one part's fault must not stop the others
                    log.failure("a periodic task went wrong", event="tick_failed")
        if not self._ready and not self.missing():
            self._ready = True
            log.info("ready", event="ready")
        self.ticked_at = now

    async def stop(self) -> None:
        """Take nothing new, let what is under way end for up to a second, then close."""
        await self._packets.stop()
        self._ticker.stop()
        await self._flattening.stop()
        if self._http is not None:
            self._http.stopService()
