"""HTTP requests to addresses, by Twisted's agent: for a status, and nothing else of what comes.

A request goes to the address that is given, whatever the name says elsewhere; no redirect is followed, and at most
`READ` octets are read. A server that goes on talking after that is as good as one that came to an end.
"""

# ruff: noqa: N802 - the methods in mixed case are Twisted's

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from flatproxy.errors import ProbeFailed

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocolFactory
    from twisted.python.failure import Failure
    from twisted.web.client import URI

    from flatproxy.config.settings import Check

READ: Final = 65_536
"""Octets read from a server, its certificates and headers included."""
_HEADERS: Final = Headers({b"User-Agent": [b"flatproxy"]})


class Trust(Protocol):
    """Puts TLS around a connection, see `tls`."""

    def wrap(self, factory: IProtocolFactory, check: Check, reactor: Any) -> IProtocolFactory:  # noqa: ANN401 - Twisted's
        """Return a factory whose protocols speak TLS to what the given one makes."""


async def status_of(reactor: Any, host: str, check: Check, trust: Trust | None) -> int:  # noqa: ANN401 - Twisted's
    """Return the status with which an address (in text) answers a check; `trust` is there for HTTPS.

    Raises `OSError` where no connection comes about, `ProbeFailed` where one ends too early. Ends the connection,
    also when it is cancelled.
    """
    way = _Way(reactor, host, check, trust if check.kind == "https" else None)
    try:
        return await _ask(Agent.usingEndpointFactory(reactor, way), way)
    except ConnectError as error:
        raise OSError(error.osError, _text(error)) from None
    except (ProbeFailed, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - Twisted and OpenSSL have many, with nothing in common
        raise ProbeFailed(_text(error)) from None
    finally:
        way.close()


async def _ask(agent: Any, way: _Way) -> int:  # noqa: ANN401 - as above
    check, loop = way.check, asyncio.get_running_loop()
    url = f"{check.kind}://{check.host}:{check.port}{check.path}"
    response = await agent.request(b"GET", url.encode(), _HEADERS).asFuture(loop)
    body = _Body()
    response.deliverBody(body)
    reason = await body.ended.asFuture(loop)
    if not way.is_full and not isinstance(reason, (ResponseDone, PotentialDataLoss)):
        raise ProbeFailed(f"body cut: {_text(reason)}")
    code: int = response.code
    return code


def _text(error: BaseException | None) -> str:
    """Return what an error says, or what the first of those in it says."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        return _text(reasons[0].value)
    if error is not None and error.args and isinstance(error.args[0], list) and error.args[0]:
        return f"TLS: {error.args[0][-1][-1]}"  # OpenSSL's errors come as lists, the last being what was asked for
    return str(error) or type(error).__name__


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
@define(eq=False)
class _Way:
    """The way of one request to its address, for an agent that asks where a URL leads; and how much came by it."""

    reactor: Any
    host: str
    check: Check
    trust: Trust | None
    is_full: bool = False
    transport: Any = None

    def endpointForURI(self, uri: URI) -> _Way:  # noqa: ARG002 - Twisted's
        """Return itself: there is one way."""
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:  # noqa: N803 - Twisted's
        """Connect, and return the protocol that the factory makes."""
        endpoint = TCP6ClientEndpoint if ":" in self.host else TCP4ClientEndpoint
        inner = self.trust.wrap(protocolFactory, self.check, self.reactor) if self.trust else protocolFactory
        connecting: Deferred[Any] = endpoint(self.reactor, self.host, self.check.port).connect(_Counting(inner, self))
        return connecting.addCallback(self._connected)

    def _connected(self, counted: Any) -> Any:  # noqa: ANN401 - as above
        return counted.wrappedProtocol.wrappedProtocol if self.trust else counted.wrappedProtocol

    def close(self) -> None:
        """End the connection, if there is one."""
        if self.transport is not None:
            self.transport.abortConnection()


class _Counted(ProtocolWrapper):
    """Counts the octets that come, and ends the connection at `READ`."""

    factory: _Counting
    received = 0

    def connectionMade(self) -> None:
        self.factory.way.transport = self.transport
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.received += len(data)
        if self.received >= READ:
            self.factory.way.is_full = True
            self.factory.way.close()


class _Counting(WrappingFactory):
    protocol = _Counted
    noisy = False

    def __init__(self, inner: IProtocolFactory, way: _Way) -> None:
        super().__init__(inner)
        self.way = way


@define(eq=False)
class _Body(StreamProtocol):
    """Lets a body go by. `ended` is called with why it ended."""

    ended: Deferred[BaseException | None] = field(factory=Deferred)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take note of the end."""
        self.ended.callback(reason.value)
