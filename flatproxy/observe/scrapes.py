"""`/metrics`: a scrape is rendered in pieces, with a turn of the reactor between them.

There is one rendering at a time: whoever comes meanwhile waits for it, too.
"""

# mypy: allow-untyped-calls
# (twisted.web has hardly any annotations)
from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from twisted.logger import Logger

from flatproxy.observe.families import Pieces
from flatproxy.observe.replies import TEXT, send

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry
    from prometheus_client.samples import Sample
    from twisted.internet.task import Cooperator
    from twisted.python.failure import Failure
    from twisted.web.server import Request

_METRICS: Final = b"text/plain; version=0.0.4; charset=utf-8"

log = Logger()


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


class Scrapes:
    """The requests that wait for the rendering of a scrape; there is one rendering at a time."""

    def __init__(self, registry: CollectorRegistry, turns: Cooperator) -> None:
        self._registry = registry
        self._waiting: list[Request] = []
        self._running = False
        self._turns = turns

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
        self._finish(500, TEXT, b"The metrics could not be rendered; the log says why.\n")

    def _finish(self, code: int, kind: bytes, body: bytes) -> None:
        self._running = False
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            send(request, code, kind, body)
