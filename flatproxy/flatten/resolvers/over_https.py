"""DNS over HTTPS to a resolver (RFC 8484), by dnspython on httpx2: the extra `flatproxy[encrypted]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dns.asyncbackend
import dns.asyncquery
import httpx2
from attrs import define, field

from flatproxy.errors import ChainBroken
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
    return lambda: HttpsConnection(server, context)


@define(eq=False)
class HttpsConnection:
    """HTTP/2 where the server has it: many requests on one connection; else as many as are needed at once."""

    server: EncryptedServer
    context: ssl.SSLContext
    _client: httpx2.AsyncClient = field(init=False)

    def __attrs_post_init__(self) -> None:
        transport: Any = dns.asyncbackend.get_default_backend().get_transport_class()  # type: ignore[no-untyped-call]
        self._client = httpx2.AsyncClient(
            # The address is always the one in the configuration; the name is for certificate and request.
            transport=transport(
                verify=self.context, http1=True, http2=True, bootstrap_address=self.server.endpoint.host
            ),
            trust_env=False,
        )

    async def ask(self, query: dns.message.Message) -> dns.message.Message:
        """Return the response."""
        query.id = 0  # RFC 8484 section 4.1
        try:
            return await dns.asyncquery.https(query, self.server.url, client=self._client, ignore_trailing=True)
        except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError) as error:
            raise ConnectionLost(str(error)) from error
        except ValueError as error:  # dnspython's word for a status other than 2xx, with the whole body
            raise ChainBroken(f"{self.server}: {str(error).partition(chr(10))[0]}") from None

    async def close(self) -> None:
        """End it."""
        await self._client.aclose()
