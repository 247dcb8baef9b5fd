"""Servers to be probed, on loopback and a port of the kernel's, in the loop of the test."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from attrs import define, field

from flatproxy.flatten.health.probes import Prober

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Coroutine

LOOPBACK = b"\x7f\0\0\1"


@define
class Server:
    """What was asked, in octets, by connection; `gone` is set when a client went away."""

    port: int = 0
    asked: list[bytes] = field(factory=list)
    was_asked: asyncio.Event = field(factory=asyncio.Event)
    names: list[str | None] = field(factory=list)
    gone: asyncio.Event = field(factory=asyncio.Event)


@asynccontextmanager
async def serving(*says: bytes, holds: bool = False, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Answer each request with these pieces and close, unless it `holds`; without pieces it says nothing.

    The last piece is said again and again where it is `ENDLESS`.
    """

    server = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server.asked.append(await reader.readuntil(b"\r\n\r\n"))
            server.was_asked.set()
            for piece in says:
                while piece is ENDLESS:
                    writer.write(bytes(4096))
                    await writer.drain()
                writer.write(piece)
                await writer.drain()
            if holds:
                await reader.read()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client went away, as some must
        finally:
            server.gone.set()
            writer.close()

    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: server.names.append(name)
    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


ENDLESS = b"without end"


def run(script: Callable[[Prober], Coroutine[Any, Any, None]]) -> None:
    """Run a script with a prober on a loop of its own."""
    asyncio.run(script(Prober()))
