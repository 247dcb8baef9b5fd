"""The HTTP side: `/metrics`, `/healthz` and `/readyz`, for GET and HEAD.

It is kept small on purpose: one request a connection, short lines, few headers, no body, a deadline for each step and
a fixed number of connections. It must never hold up the packets: a scrape is rendered in pieces, with a turn of the
reactor between them, and scrapes that meet share one rendering.
"""

# ruff: noqa: N802, N815 - the methods and attributes in mixed case are Twisted's, overridden here
# mypy: allow-untyped-calls, allow-subclassing-any
# (twisted.web has hardly any annotations)
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Cooperator
from twisted.logger import Logger
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from flatproxy.config.settings import Endpoint
from flatproxy.errors import FlatproxyError
from flatproxy.observe.families import Pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import CollectorRegistry
    from prometheus_client.samples import Sample
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort
    from twisted.python.failure import Failure

    from flatproxy.config.settings import Settings

CONNECTION_LIMIT: Final = 64
"""Connections open at once; the ones above it are closed as they come."""
STEP_LIMIT_S: Final = 10
"""A whole request must arrive within this time, and its reply must be taken within it."""

_TEXT: Final = b"text/plain; charset=utf-8"
_METRICS: Final = b"text/plain; version=0.0.4; charset=utf-8"
_JSON: Final = b"application/json"
_METHODS: Final = (b"GET", b"HEAD")

log = Logger()


class Turns(Protocol):
    """The part of a Twisted reactor that gives turns."""

    def callLater(self, delay: float, callable: Callable[..., object]) -> IDelayedCall:  # noqa: A002 - Twisted's name
        """As `IReactorTime.callLater`."""


class Reactor(Turns, Protocol):
    """The part of a Twisted reactor that gives turns and listens."""

    def listenTCP(self, port: int, factory: Any, *, interface: str) -> IListeningPort:  # noqa: ANN401 - IFactory to some
        """As `IReactorTCP.listenTCP`."""


class _Part:
    """A registry of one family with a piece of its samples."""

    def __init__(self, family: Metric, piece: list[Sample]) -> None:
        self._family = Metric(family.name, family.documentation, family.type)
        self._family.samples = piece

    def collect(self) -> list[Metric]:
        return [self._family]


def _pieces(family: Metric) -> Iterator[list[Sample]]:
    if isinstance(family, Pieces):
        yield from family.pieces()
    else:
        yield family.samples


def exposition(registry: CollectorRegistry) -> Iterator[bytes]:
    """Render a scrape in the text format 0.0.4, in pieces that make one whole, about a millisecond of work each."""
    for family in registry.collect():
        begun = False
        for piece in _pieces(family):
            text = generate_latest(_Part(family, piece))
            yield text.split(b"\n", 2)[2] if begun else text  # HELP and TYPE stand once, before the first piece
            begun = True


def _reply(request: Request, code: int, kind: bytes, body: bytes) -> None:
    """Send a whole reply. Twisted leaves the body out where the method is HEAD."""
    request.setResponseCode(code)
    request.setHeader(b"Server", b"flatproxy")
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    request.setHeader(b"Content-Type", kind)
    request.setHeader(b"Content-Length", str(len(body)).encode())
    request.write(body)
    request.finish()


class Scrapes:
    """The requests that wait for the rendering of a scrape; there is one rendering at a time."""

    def __init__(self, registry: CollectorRegistry, reactor: Turns) -> None:
        self._registry = registry
        self._waiting: list[Request] = []
        self._running = False
        self._turns = Cooperator(
            terminationPredicateFactory=lambda: lambda: True,  # one piece a turn
            scheduler=lambda call: reactor.callLater(0, call),
        )

    def join(self, request: Request) -> None:
        """Reply to `request` when the rendering, begun now if none is under way, is done."""
        self._waiting.append(request)
        request.notifyFinish().addErrback(lambda _gone: self._forget(request))
        if not self._running:
            self._running = True
            self._turns.cooperate(self._render()).whenDone().addErrback(self._failed)

    def _forget(self, request: Request) -> None:
        if request in self._waiting:
            self._waiting.remove(request)

    def _render(self) -> Iterator[None]:
        parts: list[bytes] = []
        for part in exposition(self._registry):
            parts.append(part)
            yield
        self._finish(200, _METRICS, b"".join(parts))

    def _failed(self, failure: Failure) -> None:
        log.failure("A scrape could not be rendered", failure, event="scrape_failed")
        self._finish(500, _TEXT, b"The metrics could not be rendered; the log says why.\n")

    def _finish(self, code: int, kind: bytes, body: bytes) -> None:
        self._running = False
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            _reply(request, code, kind, body)


class Pages(Resource):
    """The three pages. `missing` says what is not ready, one phrase each; an empty list means ready.

    `alive` tells whether packets are taken by anybody.
    """

    isLeaf = True

    def __init__(self, scrapes: Scrapes, missing: Callable[[], list[str]], alive: Callable[[], bool]) -> None:
        super().__init__()
        self._missing = missing
        self._alive = alive
        self._pages: dict[bytes, Callable[[Request], None]] = {
            b"/metrics": scrapes.join,
            b"/healthz": self._healthz,
            b"/readyz": self._readyz,
        }

    def render(self, request: Request) -> int:
        """Reply, now or a few turns later."""
        page = self._pages.get(request.path)
        if page is None:
            _reply(request, 404, _TEXT, b"Here are /metrics, /healthz and /readyz.\n")
        elif request.method not in _METHODS:
            request.setHeader(b"Allow", b", ".join(_METHODS))
            _reply(request, 405, _TEXT, b"Only GET and HEAD.\n")
        else:
            page(request)
        return NOT_DONE_YET

    def _healthz(self, request: Request) -> None:
        alive = self._alive()
        _reply(request, 200 if alive else 503, _JSON, json.dumps({"ok": alive}).encode() + b"\n")

    def _readyz(self, request: Request) -> None:
        missing = self._missing()
        body = json.dumps({"ready": not missing, "missing": missing}).encode() + b"\n"
        _reply(request, 503 if missing else 200, _JSON, body)


class Channel(HTTPChannel):
    """One connection with one request."""

    MAX_LENGTH = 2048
    totalHeadersSize = 8192
    maxHeaders = 64
    site: ObserveSite  # set by Twisted's Site

    def resetTimeout(self) -> None:
        """Do nothing: the deadline is for the whole request, so that single octets cannot hold a connection open."""

    def checkPersistence(self, request: Request, _version: bytes) -> bool:
        """Say that the connection closes after this request: the next scrape is farther away than the deadline."""
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    def allHeadersReceived(self) -> None:
        """Take the request as complete: no page has a use for a body, so none is read."""
        self.length = 0
        super().allHeadersReceived()

    def requestDone(self, request: Request) -> None:
        """Close once the reply is sent, and cut off a client that does not take it."""
        super().requestDone(request)
        self.setTimeout(STEP_LIMIT_S)

    def timeoutConnection(self) -> None:
        """Cut off a client that was too slow."""
        transport: Any = self.transport  # ITransport, which leaves this one out
        transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Make room for another connection."""
        super().connectionLost(reason)
        self.site.channels.discard(self)


class ObserveSite(Site):
    """Builds the channels, `CONNECTION_LIMIT` at once, and writes no access log."""

    noisy = False
    protocol = Channel  # type: ignore[assignment] # declared as the wrapper that also speaks HTTP/2
    displayTracebacks = False

    def __init__(self, pages: Pages, reactor: Turns) -> None:
        super().__init__(pages, timeout=STEP_LIMIT_S, reactor=reactor, parsePOSTFormSubmission=False)
        self.channels: set[Channel] = set()

    def startFactory(self) -> None:
        """Open no access log, and keep no clock for it: a scrape is not news."""

    def buildProtocol(self, addr: IAddress | None) -> Channel | None:  # type: ignore[override] # as above
        """Give a channel, or None (Twisted then closes the connection) where there are enough of them."""
        if len(self.channels) >= CONNECTION_LIMIT:
            return None
        channel: Channel = super().buildProtocol(addr)
        self.channels.add(channel)
        return channel


class HttpSide:
    """Listens where the settings of the start say, until `stop`; `missing` and `alive` are those of `Pages`."""

    def __init__(
        self,
        *,
        reactor: Reactor,
        registry: CollectorRegistry,
        missing: Callable[[], list[str]],
        alive: Callable[[], bool],
    ) -> None:
        self._reactor = reactor
        self._site = ObserveSite(Pages(Scrapes(registry, reactor), missing, alive), reactor)
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
        try:
            self._port = self._reactor.listenTCP(endpoint.port, self._site, interface=endpoint.host)
        except CannotListenError as error:
            raise FlatproxyError(f"cannot listen on {endpoint} (HTTP): {error}") from None

    def commit(self) -> None:
        """Do nothing: connections are taken from the next turn of the reactor on."""

    def abort(self) -> None:
        """Close the socket."""
        self.stop()

    def stop(self) -> Deferred[None] | None:
        """Close the socket and every connection."""
        port, self._port = self._port, None
        for channel in list(self._site.channels):
            channel.loseConnection()
        return None if port is None else port.stopListening()
