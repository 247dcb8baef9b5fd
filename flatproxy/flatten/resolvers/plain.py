"""Asks one server over UDP and, where the answer was cut, TCP.

Each socket is on a port of its own and connected, so that the kernel tells when nobody is there. dnspython's own
exchanges are not used: to import them takes a third of the start where HTTP and QUIC are installed for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

import dns.entropy
import dns.exception
import dns.flags
import dns.inet
import dns.message

from flatproxy.config.settings import Endpoint
from flatproxy.errors import ChainBroken, UpstreamTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flatproxy.config.settings import EncryptedServer, ResolverServer


def system_resolvers() -> list[Endpoint]:
    """Return the servers of the system's resolver configuration; `ChainBroken` where there is none."""
    import dns.resolver  # noqa: PLC0415 - it brings with it whatever dnspython can do

    try:
        resolver = dns.resolver.Resolver()
    except dns.exception.DNSException as error:
        raise ChainBroken(f"the system's resolver configuration cannot be used: {error}") from None
    return [Endpoint(str(server), resolver.port) for server in resolver.nameservers]


def expand(servers: Sequence[ResolverServer]) -> list[Endpoint | EncryptedServer]:
    """Return the servers with `"system"` replaced by what it stands for now."""
    expanded: list[Endpoint | EncryptedServer] = []
    for server in servers:
        expanded += system_resolvers() if server == "system" else [server]
    return expanded


def is_own_address(host: str) -> bool:
    """Tell whether this machine has the address: only then a socket can be bound to it."""
    with socket.socket(dns.inet.af_for_address(host), socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(dns.inet.low_level_address_tuple((host, 0)))
        except OSError:
            return False
    return True


def _no_rest() -> None:
    """Go on at once."""


async def exchange(
    query: dns.message.Message,
    endpoint: Endpoint,
    timeout_s: float,
    *,
    tcp: bool | None = None,
    header: bytes = b"",
    rest: Callable[[], None] = _no_rest,
) -> dns.message.Message:
    """Return one server's response. `tcp` None means UDP, then TCP where that was cut; `header` comes before the query.

    Over UDP it is sent again in half of the time. `rest` is called between two pieces of work.

    Raises `UpstreamTimeout` where nothing comes in time, `ChainBroken` where nobody listens or speaks DNS.
    """
    query.id = dns.entropy.random_16()
    try:
        async with asyncio.timeout(timeout_s):
            if not tcp:
                response = await _over_udp(query, endpoint, header, rest, timeout_s / 2)
                if tcp is False or not response.flags & dns.flags.TC:
                    return response
            return await _over_tcp(query, endpoint, header)
    except TimeoutError:
        raise UpstreamTimeout(f"{endpoint}: no answer within {timeout_s:g} s") from None
    except (OSError, EOFError, dns.exception.DNSException) as error:
        reason = _reason(error)
        _forget_frames(error)
        raise ChainBroken(f"{endpoint}: {reason}") from None


async def _over_udp(
    query: dns.message.Message, endpoint: Endpoint, header: bytes, rest: Callable[[], None], again_s: float
) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    with socket.socket(dns.inet.af_for_address(endpoint.host), socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)  # noqa: FBT003 - the socket module's signature
        sock.connect(dns.inet.low_level_address_tuple((endpoint.host, endpoint.port)))
        rest()
        wire = header + query.to_wire()
        await loop.sock_sendall(sock, wire)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(again_s):
                return await _response(sock, query, rest)
        await loop.sock_sendall(sock, wire)
        return await _response(sock, query, rest)


async def _response(sock: socket.socket, query: dns.message.Message, rest: Callable[[], None]) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    while True:
        wire = await loop.sock_recv(sock, 65535)
        rest()
        try:
            response = dns.message.from_wire(wire, ignore_trailing=True)
        except dns.exception.DNSException:
            continue  # whoever sent it: the answer may still come
        if query.is_response(response):
            return response


async def _over_tcp(query: dns.message.Message, endpoint: Endpoint, header: bytes) -> dns.message.Message:
    """Return the response over a connection of its own, each message after its size (RFC 1035 section 4.2.2)."""
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    try:
        writer.write(header + query.to_wire(prepend_length=True))
        size = int.from_bytes(await reader.readexactly(2))
        response = dns.message.from_wire(await reader.readexactly(size), ignore_trailing=True)
    finally:
        writer.close()
    if not query.is_response(response):
        raise ChainBroken(f"{endpoint}: the response is to another question")
    return response


def _forget_frames(error: BaseException | None) -> None:
    """Break the circles of dnspython's frames with what was raised in them: each would wait for the collector."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    if isinstance(error, EOFError):
        return "closed the connection"
    return str(error) or type(error).__name__
