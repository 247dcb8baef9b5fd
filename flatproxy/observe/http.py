"""The HTTP side: `/metrics`, `/healthz`, `/readyz` and the status page, for GET and HEAD.

It must never hold up the packets: whatever takes longer is made in pieces, with a turn of the reactor between them.
`channel.py` bounds what a client can ask for, `replies.py` has what every reply carries.
"""

# ruff: noqa: N802, N815 - the methods and attributes in mixed case are Twisted's, overridden here
# mypy: allow-untyped-calls, allow-subclassing-any
# (twisted.web has hardly any annotations)
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.error import CannotListenError
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from flatproxy.config.settings import Endpoint
from flatproxy.errors import FlatproxyError
from flatproxy.observe.channel import ObserveSite
from flatproxy.observe.replies import METHODS, TEXT, Turns, send, send_json, turns_of
from flatproxy.observe.scrapes import Scrapes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IListeningPort
    from twisted.internet.task import Cooperator

    from flatproxy.config.settings import Settings
    from flatproxy.observe.watch import Watch

Handler = Callable[[Request], None]


class Reactor(Turns, Protocol):
    """The part of a Twisted reactor that gives turns and listens."""

    def listenTCP(self, port: int, factory: Any, *, interface: str) -> IListeningPort:  # noqa: ANN401 - IFactory to some
        """As `IReactorTCP.listenTCP`."""


class Condition(Protocol):
    """What `/healthz` and `/readyz` tell."""

    def is_alive(self) -> bool:
        """Tell whether packets are taken by anybody."""

    def missing(self) -> Iterable[str]:
        """Return what is not ready, one phrase each; nothing means ready."""


def _nothing_more(_path: bytes) -> Handler | None:
    return None


class Pages(Resource):
    """Every page. `more` finds who sees to the path of a page that does not stand here."""

    isLeaf = True

    def __init__(
        self, scrapes: Scrapes, condition: Condition, more: Callable[[bytes], Handler | None] = _nothing_more
    ) -> None:
        super().__init__()
        self._condition = condition
        self._more = more
        self._pages: dict[bytes, Handler] = {
            b"/metrics": scrapes.join,
            b"/healthz": self._healthz,
            b"/readyz": self._readyz,
        }

    def render(self, request: Request) -> int:
        """Reply, now or a few turns later."""
        page = self._pages.get(request.path) or self._more(request.path)
        if page is None:
            send(request, 404, TEXT, b"Here are /, /metrics, /healthz, /readyz and /api/openapi.json.\n")
        elif request.method not in METHODS:
            request.setHeader(b"Allow", b", ".join(METHODS))
            send(request, 405, TEXT, b"Only GET and HEAD.\n")
        else:
            page(request)
        return NOT_DONE_YET

    def _healthz(self, request: Request) -> None:
        alive = self._condition.is_alive()
        send_json(request, 200 if alive else 503, {"ok": alive})

    def _readyz(self, request: Request) -> None:
        missing = list(self._condition.missing())
        send_json(request, 503 if missing else 200, {"ready": not missing, "missing": missing})


class HttpSide:
    """Listens where the settings of the start say, until `stop`."""

    def __init__(self, *, reactor: Reactor, registry: CollectorRegistry, watch: Watch) -> None:
        self._reactor = reactor
        self._registry = registry
        self._watch = watch
        self._site: ObserveSite | None = None
        self._port: IListeningPort | None = None

    @property
    def address(self) -> Endpoint | None:
        """Where it listens, the port being the one that the kernel chose where 0 was asked; None before and after."""
        if self._port is None:
            return None
        bound: Any = self._port.getHost()  # IPv4Address or IPv6Address
        return Endpoint(host=bound.host, port=bound.port)

    def prepare(self, settings: Settings) -> None:
        """Bind the socket, where there is to be one; `FlatproxyError` where it is not to be had."""
        endpoint = settings.listen.http
        if endpoint is None:
            return
        turns = turns_of(self._reactor)
        pages = Pages(Scrapes(self._registry, turns), self._watch, _status_pages(self._watch, turns))
        site = self._site = ObserveSite(pages, self._reactor)
        try:
            self._port = self._reactor.listenTCP(endpoint.port, site, interface=endpoint.host)
        except CannotListenError as error:
            raise FlatproxyError(f"cannot listen on {endpoint} (HTTP): {error}") from None

    def commit(self) -> None:
        """Have what is to be seen gathered; connections are taken from the next turn of the reactor on."""
        if self._port is not None:
            self._watch.begin()

    def abort(self) -> None:
        """Close the socket."""
        self.stop()

    def stop(self) -> Deferred[None] | None:
        """Close the socket and every connection."""
        port, self._port = self._port, None
        if self._site is not None:
            for channel in list(self._site.channels):
                channel.loseConnection()
        return None if port is None else port.stopListening()


def _status_pages(watch: Watch, turns: Cooperator) -> Callable[[bytes], Handler | None]:
    """Return what finds the status pages, imported only where somebody may look at them."""
    from flatproxy.observe.pages.site import StatusPages  # noqa: PLC0415 - Jinja2 takes memory

    return StatusPages(watch, turns).find
