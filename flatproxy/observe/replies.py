"""What every reply of the HTTP side has in common: its headers, and the turns of the reactor while it is made.

No page of the HTTP side may be changed, loaded or framed by anybody else: see `HEADERS`.
"""

# ruff: noqa: N802 - the methods in mixed case are Twisted's
# mypy: allow-untyped-calls
# (twisted.web has hardly any annotations)
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.task import Cooperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall
    from twisted.web.server import Request

TEXT: Final = b"text/plain; charset=utf-8"
HTML: Final = b"text/html; charset=utf-8"
JSON: Final = b"application/json"
METHODS: Final = (b"GET", b"HEAD")

HEADERS: Final = {
    b"Server": b"flatproxy",
    b"Cache-Control": b"no-store",
    b"X-Content-Type-Options": b"nosniff",
    b"Referrer-Policy": b"no-referrer",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Content-Security-Policy": (
        b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}


class Turns(Protocol):
    """The part of a Twisted reactor that gives turns."""

    def callLater(self, delay: float, callable: Callable[..., object]) -> IDelayedCall:  # noqa: A002 - Twisted's name
        """As `IReactorTime.callLater`."""


def send(request: Request, code: int, kind: bytes, body: bytes) -> None:
    """Send a whole reply. Twisted leaves the body out where the method is HEAD."""
    request.setResponseCode(code)
    for name, value in HEADERS.items():
        request.setHeader(name, value)
    request.setHeader(b"Content-Type", kind)
    request.setHeader(b"Content-Length", str(len(body)).encode())
    request.write(body)
    request.finish()


def send_json(request: Request, code: int, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Send a value as JSON."""
    send(request, code, JSON, json.dumps(value).encode() + b"\n")


def turns_of(reactor: Turns) -> Cooperator:
    """Return what does one piece of work in each turn of the reactor, whoever has work to do."""
    return Cooperator(
        terminationPredicateFactory=lambda: lambda: True,  # one piece a turn
        scheduler=lambda call: reactor.callLater(0, call),
    )
