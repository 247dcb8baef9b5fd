"""Asks a server one question and keeps the reply's octets as they came, which is what the tour compares."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.exception
import dns.message

from flatproxy.errors import UpstreamTimeout, WireError

if TYPE_CHECKING:
    from flatproxy.config.settings import Endpoint

TIMEOUT_S = 5.0


class _OneReply(asyncio.DatagramProtocol):
    """Waits for the reply to one datagram, on a connected socket."""

    def __init__(self, message_id: bytes) -> None:
        self._id = message_id
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - the signature of asyncio
        if data[:2] == self._id and not self.reply.done():
            self.reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


async def reply_to(query: bytes, server: Endpoint, *, tcp: bool) -> bytes:
    """Return the octets of the reply; `UpstreamTimeout` where none comes, `WireError` where the server hangs up."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await (_over_tcp if tcp else _over_udp)(query, server)
    except TimeoutError:
        raise UpstreamTimeout(f"{server} sent no answer within {TIMEOUT_S:g} s") from None
    except (OSError, EOFError) as error:
        raise WireError(f"{server} could not be asked: {error}") from None


async def _over_udp(query: bytes, server: Endpoint) -> bytes:
    there = (server.host, server.port)
    transport, waiting = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _OneReply(query[:2]), remote_addr=there
    )
    try:
        transport.sendto(query)
        return await waiting.reply
    finally:
        transport.close()


async def _over_tcp(query: bytes, server: Endpoint) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.close()


def message_in(reply: bytes) -> dns.message.Message:
    """Return the message in these octets; `WireError` where there is none."""
    try:
        return dns.message.from_wire(reply)
    except (dns.exception.DNSException, ValueError) as error:
        raise WireError(f"not a DNS message: {error}") from None
