"""DNS over QUIC to a resolver (RFC 9250), by dnspython on aioquic: the extra `flatproxy[encrypted]`."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import dns.asyncquery
from aioquic.quic.configuration import QuicConfiguration
from attrs import define
from dns.quic._asyncio import AsyncioQuicManager
from dns.quic._common import UnexpectedEOF

from flatproxy.flatten.resolvers.encrypted import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Callable

    import dns.message

    from flatproxy.config.settings import EncryptedServer
    from flatproxy.flatten.resolvers.encrypted import Authorities, ResolverConnection


def connector(server: EncryptedServer, trust: Authorities) -> Callable[[], ResolverConnection]:
    """Return what makes a connection that is not open yet; all of them resume the sessions of those before."""
    configuration = QuicConfiguration(alpn_protocols=["doq"], verify_mode=ssl.CERT_REQUIRED, server_name=server.name)
    if trust.authorities is not None:
        configuration.load_verify_locations(cadata=trust.authorities.encode())
    else:  # aioquic would take certifi's, not the system's
        paths = ssl.get_default_verify_paths()
        configuration.load_verify_locations(cafile=paths.cafile, capath=paths.capath)
    connections: Any = AsyncioQuicManager(configuration)  # type: ignore[no-untyped-call] # dnspython
    return lambda: QuicConnection(server, connections)


@define(eq=False)
class QuicConnection:
    """A stream for each question."""

    server: EncryptedServer
    _connections: Any
    _connection: Any = None

    async def ask(self, query: dns.message.Message) -> dns.message.Message:
        """Return the response."""
        host, port = self.server.endpoint.host, self.server.endpoint.port
        if self._connection is None:
            self._connection = self._connections.connect(host, port)
        try:
            return await dns.asyncquery.quic(query, host, port=port, connection=self._connection, ignore_trailing=True)
        except UnexpectedEOF:
            reason = f"the connection was refused or has ended; its certificate must be good for {self.server.name}"
            raise ConnectionLost(reason) from None

    async def close(self) -> None:
        """End it."""
        if self._connection is not None:
            await self._connection.close()
