"""A resolver that is asked over TLS, HTTPS or QUIC: one connection that is kept, and what becomes of it.

The connections themselves are in `over_tls`, `over_https` and `over_quic`, imported where they are configured.
There is no way back to clear text: whoever cannot show a certificate for its name gives no answer.
"""

from __future__ import annotations

import asyncio
import copy
import ssl
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import dns.exception
import dns.flags
from attrs import define, field, frozen

from flatproxy.errors import ChainBroken, FlatproxyError, UpstreamTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    import dns.message

    from flatproxy.config.settings import EncryptedServer

_MODULES = {scheme: f"flatproxy.flatten.resolvers.over_{scheme}" for scheme in ("tls", "https", "quic")}
CLOSE_S = 0.5


class ConnectionLost(Exception):
    """The connection has ended."""


class ResolverConnection(Protocol):
    """A connection to a server; it opens with the first question, and never again."""

    async def ask(self, query: dns.message.Message) -> dns.message.Message:
        """Return the response. Raises `ConnectionLost` where an open connection has ended; also whatever libraries do.

        The query may be changed.
        """

    async def close(self) -> None:
        """End it, with everything that waits for a response."""


@frozen(kw_only=True)
class Authorities:
    """Whose certificates are good: PEM text of the authorities, None for the system's."""

    authorities: str | None = None

    @classmethod
    def read(cls, ca_file: Path | None) -> Authorities:
        """Return what a file has; `FlatproxyError` where that is none."""
        if ca_file is None:
            return cls()
        try:
            trust = cls(authorities=ca_file.read_text(encoding="ascii", errors="replace"))
            trust.context()
        except OSError as error:  # as is what `ssl` says
            reason = "no certificates in PEM form" if isinstance(error, ssl.SSLError) else str(error.strerror).lower()
            raise FlatproxyError(f"resolver.ca_file: {ca_file}: {reason}") from None
        return trust

    def context(self) -> ssl.SSLContext:
        """Return what verifies certificates and names; TLS 1.2 and later."""
        context = ssl.create_default_context(cadata=self.authorities)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


@define(eq=False)
class EncryptedResolver:
    """A server and the connection to it: opened when there is something to ask, used by all questions, kept."""

    server: EncryptedServer
    trust: Authorities
    _connect: Callable[[], ResolverConnection]
    _connection: ResolverConnection | None = None
    _answered_at: float = float("-inf")
    """When the connection last had an answer."""
    _closing: set[asyncio.Task[None]] = field(factory=set)

    @classmethod
    def opened(cls, server: EncryptedServer, trust: Authorities) -> EncryptedResolver:
        """Return it, without a connection yet; `FlatproxyError` where the library for it is missing."""
        try:
            module: Any = import_module(_MODULES[server.scheme])
        except ImportError as error:
            raise FlatproxyError(f"{server} needs more ({error}): pip install 'flatproxy[encrypted]'") from None
        return cls(server, trust, module.connector(server, trust))

    def __str__(self) -> str:
        return str(self.server)

    async def ask(self, query: dns.message.Message, timeout_s: float) -> dns.message.Message:
        """Return the response; what is unanswered after half of the time is sent again.

        Raises `UpstreamTimeout` where nothing comes in time, `ChainBroken` where nobody answers who may.
        """
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._ask(query, timeout_s / 2)
        except (TimeoutError, dns.exception.Timeout):
            raise UpstreamTimeout(f"{self}: no answer within {timeout_s:g} s") from None
        except FlatproxyError:
            raise
        except Exception as error:  # noqa: BLE001 - three libraries have errors of many kinds
            raise ChainBroken(f"{self}: {_reason(error)}") from None
        if response.flags & dns.flags.TC:
            raise ChainBroken(f"{self}: a reply that is cut short, where it has all the room it needs")
        return response

    async def _ask(self, query: dns.message.Message, patience_s: float) -> dns.message.Message:
        began = monotonic()
        tries = {asyncio.create_task(self._ask_once(query))}
        try:
            done, waiting = await asyncio.wait(tries, timeout=patience_s)
            if not done:
                if self._answered_at < began:
                    self._let_go()  # it may be dead without having said so
                tries.add(asyncio.create_task(self._ask_once(query)))
                done, waiting = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
            if waiting and all(each.exception() for each in done):
                done, _ = await asyncio.wait(waiting)
            return min(done, key=lambda each: each.exception() is not None).result()
        finally:
            for each in tries:
                each.cancel()
            await asyncio.gather(*tries, return_exceptions=True)

    async def _ask_once(self, query: dns.message.Message) -> dns.message.Message:
        """Ask on the connection, on a new one where that was closed since it was last used."""
        kept = self._connection
        try:
            return await self._ask_on(kept or self._open(), query)
        except ConnectionLost:
            if kept is None:
                raise
        return await self._ask_on(self._open() if self._connection in (None, kept) else self._connection, query)

    def _open(self) -> ResolverConnection:
        self._let_go()
        self._connection = self._connect()
        return self._connection

    async def _ask_on(self, connection: ResolverConnection | None, query: dns.message.Message) -> dns.message.Message:
        assert connection is not None
        try:
            response = await connection.ask(copy.copy(query))
        except (asyncio.CancelledError, FlatproxyError):
            raise
        except Exception:
            if connection is self._connection:
                self._let_go()
            raise
        self._answered_at = monotonic()
        return response

    def _let_go(self) -> None:
        """Close the connection, beside everything else; the next question opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._begin(connection.close())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End the connection; a server that does not say goodbye is not waited for."""
        self._let_go()
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSE_S)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or (error.__doc__ or type(error).__name__).strip().partition("\n")[0].rstrip(".").lower()
