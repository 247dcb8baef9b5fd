"""DNS over TLS to a resolver (RFC 7858): many questions on one connection, answered in any order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import dns.asyncbackend
import dns.asyncquery
import dns.entropy
import dns.exception
import dns.inet
from attrs import define, field

from flatproxy.flatten.resolvers.encrypted import ConnectionLost

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    import dns.message

    from flatproxy.config.settings import EncryptedServer
    from flatproxy.flatten.resolvers.encrypted import Authorities, ResolverConnection


def connector(server: EncryptedServer, trust: Authorities) -> Callable[[], ResolverConnection]:
    """Return what makes a connection that is not open yet."""
    context = trust.context()
    context.set_alpn_protocols(["dot"])
    return lambda: TlsConnection(server, context)


@define(eq=False)
class TlsConnection:
    """Each question has an ID that no other one under way has."""

    server: EncryptedServer
    context: ssl.SSLContext
    _opening: asyncio.Task[Any] | None = None
    _reading: asyncio.Task[None] | None = None
    _waiting: dict[int, tuple[dns.message.Message, asyncio.Future[dns.message.Message]]] = field(factory=dict)
    _is_over: bool = False

    async def ask(self, query: dns.message.Message) -> dns.message.Message:
        """Return the response."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        sock = await asyncio.shield(self._opening)  # others wait for it, too
        if self._is_over:
            raise ConnectionLost
        query.id = dns.entropy.random_16()
        while query.id in self._waiting:
            query.id = dns.entropy.random_16()
        answer: asyncio.Future[dns.message.Message] = asyncio.get_running_loop().create_future()
        number = query.id
        self._waiting[number] = query, answer
        try:
            await dns.asyncquery.send_tcp(sock, query)
            return await answer
        except OSError as error:
            raise ConnectionLost from error
        finally:
            self._waiting.pop(number, None)

    async def _open(self) -> Any:  # noqa: ANN401 - dnspython's
        host, port = self.server.endpoint.host, self.server.endpoint.port
        backend = dns.asyncbackend.get_default_backend()
        sock = await backend.make_socket(  # type: ignore[no-untyped-call] # dnspython
            dns.inet.af_for_address(host),
            socket.SOCK_STREAM,
            destination=(host, port),
            ssl_context=self.context,
            server_hostname=self.server.name,
        )
        self._reading = asyncio.create_task(self._read(sock))
        return sock

    async def _read(self, sock: Any) -> None:  # noqa: ANN401 - dnspython's
        """Give each response to who waits for it, until the connection ends."""
        try:
            while True:
                with contextlib.suppress(dns.exception.FormError):
                    response, _at = await dns.asyncquery.receive_tcp(sock, ignore_trailing=True)
                    query, answer = self._waiting.get(response.id, (None, None))
                    if query is not None and answer is not None and query.is_response(response) and not answer.done():
                        answer.set_result(response)
        except (OSError, EOFError, dns.exception.DNSException):
            pass
        finally:
            self._is_over = True
            for _query, answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(ConnectionLost())
            with contextlib.suppress(OSError):
                await sock.close()

    async def close(self) -> None:
        """End it."""
        self._is_over = True
        for task in (self._opening, self._reading):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
