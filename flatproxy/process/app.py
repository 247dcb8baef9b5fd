"""The composition root: settings in, running services out. The only place where the objects of both halves meet."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from flatproxy.errors import FlatproxyError
from flatproxy.flatten.flattener import Flattener
from flatproxy.forward.forwarder import TICK_S, Forwarder
from flatproxy.forward.listeners.sockets import bind
from flatproxy.observe import metrics
from flatproxy.observe.http import HttpSide
from flatproxy.observe.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flatproxy.config.settings import Endpoint, Settings
    from flatproxy.forward.listeners.sockets import ListenSocket
    from flatproxy.observe.sources import Reload
    from flatproxy.table.status import NameStatus

    Bind = Callable[[Endpoint], Sequence[ListenSocket]]

log = Logger()


class App:
    """Everything that runs, from `start` to `stop`. `reactor` is Twisted's, on asyncio."""

    def __init__(
        self,
        settings: Settings,
        reactor: Any,  # noqa: ANN401 - many interfaces
        record: Reload,
        listen_at: Bind = bind,
    ) -> None:
        self.settings = settings
        self._reactor = reactor
        self._record = record
        self._flattener = Flattener(settings)
        self._forwarder = Forwarder(reactor, self._flattener, listen_at)
        self._flattener.signed_changed = self._forwarder.signed_changed
        self._http: HttpSide | None = None
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = reactor
        self._ready = False
        self.ticked_at = 0.0  # when the periodic tasks last went through, on the monotonic clock

    @property
    def listening(self) -> list[Endpoint]:
        """Where it listens, in the configuration's order."""
        return self._forwarder.listening

    def start(self, bound: Callable[[], None] | None = None) -> None:
        """Bind, load the state, and begin; `FlatproxyError` where an address is not to be had.

        `bound` is called once all sockets are there, before any other thing is done.
        """
        self._forwarder.prepare(self.settings)
        self._start_http()
        if bound is not None:
            bound()
        self._flattener.start()
        self._forwarder.commit()
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
            reactor=self._reactor,
            endpoint=endpoint,
            registry=registry,
            missing=self.missing,
            alive=lambda: bool(self.listening),
        )
        try:
            self._http.startService()
        except CannotListenError as error:
            raise FlatproxyError(f"cannot listen on {endpoint} (HTTP): {error}") from None

    def _sources(self) -> Sources:
        forwarder, flattener = self._forwarder, self._flattener
        return Sources(
            traffic=forwarder.traffic,
            servers=lambda: forwarder.servers,
            statuses=self.statuses,
            resolve_latency=flattener.latency,
            state_errors=lambda: flattener.state_errors,
            signed_zones=lambda: flattener.signed_zones,
            reload=lambda: self._record,
        )

    @property
    def http(self) -> Endpoint | None:
        """Where the HTTP side listens, None where it does not."""
        return self._http.address if self._http is not None else None

    def statuses(self, now: float) -> Iterator[NameStatus]:
        """Yield what each flagged name answers at `now`."""
        return self._flattener.statuses(now)

    def apply(self, settings: Settings) -> None:
        """Go over to new settings; `FlatproxyError` changes nothing."""
        if settings.listen != self.settings.listen or settings.state != self.settings.state:
            log.warn("[listen] and [state] changed: these take effect after a restart", event="restart_needed")
        self._forwarder.prepare(settings)
        try:
            self._flattener.apply(settings)
        except BaseException:
            self._forwarder.abort()
            raise
        self.settings = settings
        self._forwarder.commit()

    def missing(self) -> list[str]:
        """Say what is not ready yet; nothing when all is."""
        return [*self._forwarder.missing(), *self._flattener.missing()]

    def _tick(self) -> None:
        now = monotonic()
        for parts in (self._forwarder.parts(now), self._flattener.parts(now)):
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
        await self._forwarder.stop()
        self._ticker.stop()
        await self._flattener.stop()
        if self._http is not None:
            self._http.stopService()
