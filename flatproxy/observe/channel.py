"""How the HTTP side takes connections: one request each, short lines, few headers, no body.

There is a deadline for each step, and a fixed number of connections.
"""

# ruff: noqa: N802, N815 - the methods and attributes in mixed case are Twisted's, overridden here
# mypy: allow-untyped-calls, allow-subclassing-any
# (twisted.web has hardly any annotations)
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.protocol import connectionDone
from twisted.web.http import HTTPChannel
from twisted.web.server import Site

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress
    from twisted.python.failure import Failure
    from twisted.web.resource import Resource
    from twisted.web.server import Request

    from flatproxy.observe.replies import Turns

CONNECTION_LIMIT: Final = 64
"""Connections open at once; the ones above it are closed as they come."""
STEP_LIMIT_S: Final = 10
"""A whole request must arrive within this time, and its reply must be taken within it."""


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

    def __init__(self, pages: Resource, reactor: Turns) -> None:
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
