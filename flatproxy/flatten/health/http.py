"""HTTP requests over connections that are there, by Twisted's client: for a status, and nothing else of what comes.

The client is the one that Twisted's `Agent` has inside. What the agent puts around it (pools, URLs, endpoints) takes as
long again, which counts with thousands of probes a second.

No redirect is followed, and at most `READ` octets are read. A server that goes on talking after that is as good as one
that came to an end.
"""

# ruff: noqa: N802, N815 - the methods in mixed case are Twisted's

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol, Request
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from flatproxy.errors import ProbeFailed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ssl import SSLContext

    from flatproxy.config.rules import Check

READ: Final = 65_536
"""Octets read from a server, its headers included."""
_USUAL: Final = {"http": 80, "https": 443}


async def status_of(sock: Any, check: Check, tls: SSLContext | None) -> int:  # noqa: ANN401 - a socket
    """Return the status with which a server answers a check over a connected socket; `tls` is there for HTTPS.

    Raises `OSError` where TLS does not come about, `ProbeFailed` where the connection ends too early or what comes is
    no HTTP. Ends the connection, also when it is cancelled.
    """
    loop = asyncio.get_running_loop()
    name = check.host if tls is not None else None
    _transport, connection = await loop.create_connection(_Connection, sock=sock, ssl=tls, server_hostname=name)
    try:
        return await _ask(connection, check)
    except ProbeFailed:
        raise
    except Exception as error:  # noqa: BLE001 - Twisted has many, with nothing in common
        raise ProbeFailed(_text(error)) from None
    finally:
        connection.abort()


async def _ask(connection: _Connection, check: Check) -> int:
    loop = asyncio.get_running_loop()
    response = await connection.client.request(_request(check)).asFuture(loop)
    body = _Body()
    response.deliverBody(body)
    reason = await body.ended.asFuture(loop)
    if not connection.is_full and not isinstance(reason, (ResponseDone, PotentialDataLoss)):
        raise ProbeFailed(f"body cut: {_text(reason)}")
    code: int = response.code
    return code


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


class _Connection(asyncio.Protocol):
    """Brings what comes over a connection to Twisted's client, counts it, and ends the connection at `READ`."""

    def __init__(self) -> None:
        self.client = HTTP11ClientProtocol()
        self.is_full = False
        self._received = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - plain or TLS
        self._transport = transport
        self.client.makeConnection(_Transport(transport))

    def data_received(self, data: bytes) -> None:
        self.client.dataReceived(data)
        self._received += len(data)
        if self._received >= READ:
            self.is_full = True
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.client.connectionLost(connectionDone if exc is None else Failure(ConnectionLost(str(exc))))

    def abort(self) -> None:
        """End the connection."""
        self._transport.abort()


class _Transport:
    """An asyncio transport as Twisted's client uses it. Reading is never paused, since so little is read."""

    def __init__(self, transport: Any) -> None:  # noqa: ANN401 - plain or TLS
        self.write = transport.write
        self.loseConnection = transport.close
        self.abortConnection = transport.abort

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def getPeer(self) -> None:
        """Nothing: nobody asks."""

    getHost = pauseProducing = resumeProducing = stopProducing = getPeer


@define(eq=False)
class _Body(StreamProtocol):
    """Lets a body go by. `ended` is called with why it ended."""

    ended: Deferred[BaseException | None] = field(factory=Deferred)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take note of the end."""
        self.ended.callback(reason.value)
