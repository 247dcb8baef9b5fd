"""HTTP requests over connections that are there, by Twisted's client: for a status, and nothing else of what comes.

The client is the one that Twisted's `Agent` has inside, and `streams.py` carries its octets. What agent, endpoints and
transports put around them takes longer than the request, which counts with thousands of probes a second.

No redirect is followed, and at most `READ` octets are read. A server that goes on talking after that is as good as one
that came to an end.
"""

# ruff: noqa: N802, N815 - the methods in mixed case are Twisted's

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, field
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.internet.protocol import connectionDone
from twisted.web._newclient import HTTP11ClientProtocol, Request
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from flatproxy.errors import ProbeFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.python.failure import Failure
    from twisted.web.iweb import IResponse

    from flatproxy.config.rules import Check
    from flatproxy.flatten.health.streams import Stream

READ: Final = 65_536
"""Octets read from a server, its headers included."""
_USUAL: Final = {"http": 80, "https": 443}


async def status_of(stream: Stream, check: Check) -> int:
    """Return the status with which a server answers a check; who calls it closes the connection.

    Raises `OSError` where the connection breaks, `ProbeFailed` where it ends too early or what comes is no HTTP.
    """
    exchange = _Exchange()
    client = HTTP11ClientProtocol()
    client.makeConnection(exchange)
    client.request(_request(check)).addCallbacks(exchange.begin_body, exchange.end)
    await stream.send(b"".join(exchange.to_send))
    left = READ
    while exchange.ended is None:
        data = await stream.receive(left)
        if data:
            client.dataReceived(data)
        left -= len(data)
        if not data or not left:
            client.connectionLost(connectionDone)
            break
    return exchange.result(is_full=not left)


def _request(check: Check) -> Request:
    port = "" if check.port == _USUAL[check.kind] else f":{check.port}"
    headers = Headers({b"User-Agent": [b"flatproxy"], b"Host": [f"{check.host}{port}".encode()]})
    return Request(b"GET", check.path.encode(), headers, None, persistent=False)


def _text(error: BaseException | None) -> str:
    """Return what an error says, or what the first of those in it says."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        return _text(reasons[0].value)
    return str(error) or type(error).__name__


@define(eq=False)
class _Exchange(StreamProtocol):
    """One request and what comes back: for Twisted's client the connection, and the reader of the body."""

    to_send: list[bytes] = field(factory=list)
    status: int | None = None
    ended: BaseException | None = None
    """Why it ended, also where all went well."""

    def result(self, *, is_full: bool) -> int:
        """Return the status; `is_full`: no more was read."""
        if self.status is None:
            raise ProbeFailed(_text(self.ended))
        if not is_full and not isinstance(self.ended, (ResponseDone, PotentialDataLoss)):
            raise ProbeFailed(f"body cut: {_text(self.ended)}")
        return self.status

    def begin_body(self, response: IResponse) -> None:
        """Take note of the status, and let the body go by."""
        self.status = response.code
        response.deliverBody(self)

    def end(self, failure: Failure) -> None:
        """Take note that there is no response."""
        self.ended = failure.value

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take note of the body's end."""
        self.ended = reason.value

    def write(self, data: bytes) -> None:
        self.to_send.append(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.to_send.extend(data)

    def getPeer(self) -> None:
        """Nothing: nobody asks, and whoever has opened the connection ends it."""

    getHost = loseConnection = abortConnection = pauseProducing = resumeProducing = stopProducing = getPeer
