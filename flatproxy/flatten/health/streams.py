"""Connections of probes: octets to a socket and from it, plain or by TLS. Whoever has the socket closes it.

The loop's calls for sockets, and `ssl` on octets in memory, are what asyncio's transports are made of; a probe needs no
more of these.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

T = TypeVar("T")

_RECORD: Final = 16_384 + 256
"""The longest record of TLS (RFC 8446 section 5.2)."""


class Stream(Protocol):
    """A connection that is there. Its methods raise `OSError`."""

    async def send(self, data: bytes) -> None:
        """Send all of it."""

    async def receive(self, most: int) -> bytes:
        """Return so many octets at most, none where there will be none any more."""


@define(eq=False)
class PlainStream:
    """A socket that is connected and never blocks."""

    _socket: socket

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def receive(self, most: int) -> bytes:
        """Return so many octets at most, none at the end."""
        return await asyncio.get_running_loop().sock_recv(self._socket, most)


@define(eq=False)
class TlsStream:
    """TLS over a stream. `open` comes first; every method raises `ssl.SSLError`, too."""

    _below: Stream
    _context: ssl.SSLContext
    _name: str
    _incoming: ssl.MemoryBIO = field(factory=ssl.MemoryBIO)
    _outgoing: ssl.MemoryBIO = field(factory=ssl.MemoryBIO)
    _tls: ssl.SSLObject = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_hostname=self._name)

    async def open(self) -> None:
        """Shake hands."""
        await self._do(self._tls.do_handshake)

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        await self._do(lambda: self._tls.write(data))

    async def receive(self, most: int) -> bytes:
        """Return so many octets at most, none at the end, whether or not the server said that it is one."""
        try:
            return await self._do(lambda: self._tls.read(most))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def _do(self, step: Callable[[], T]) -> T:
        """Do a step, with what it needs to be sent and received for it."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                pass
            finally:
                if self._outgoing.pending:
                    await self._below.send(self._outgoing.read())  # an alert, too
            data = await self._below.receive(_RECORD)
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()
