"""A DNS server with a script: UDP and TCP on one loopback port, each message shown to a function that says what goes
back and when. It runs in a thread of its own and knows nothing about what a message means.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, cast

from attrs import define, field, frozen

from .ports import Address, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UDP: Final = "udp"
TCP: Final = "tcp"


@frozen
class Reply:
    wire: bytes
    after_s: float = 0.0


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, owner: StandIn) -> None:
        self._owner = owner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # not a subclass before Python 3.12

    def datagram_received(self, data: bytes, addr: Address) -> None:
        for reply in self._owner.take(data, UDP):
            if reply.after_s:
                asyncio.get_running_loop().call_later(reply.after_s, self._transport.sendto, reply.wire, addr)
            else:
                self._transport.sendto(reply.wire, addr)


@define(eq=False)
class StandIn:
    """`script(wire, transport)` gives the replies to one message. It may be replaced at any time."""

    script: Callable[[bytes, str], Sequence[Reply]]
    host: str = "127.0.0.1"
    port: int = 0
    received: list[tuple[str, bytes]] = field(factory=list, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _stopping: asyncio.Event = field(init=False)
    _writers: set[asyncio.StreamWriter] = field(factory=set, init=False)

    @property
    def address(self) -> Address:
        return self.host, self.port

    def take(self, wire: bytes, transport: str) -> Sequence[Reply]:
        self.received.append((transport, wire))
        return self.script(wire, transport)

    def start(self) -> None:
        """Listen, on the port that it had before where there is one."""
        bound: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(bound)), daemon=True)
        self._thread.start()
        self.port = bound.result(10)

    async def _serve(self, bound: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            datagrams, stream = await self._bind()
        except BaseException as error:
            bound.set_exception(error)
            raise
        bound.set_result(stream.sockets[0].getsockname()[1])
        try:
            await self._stopping.wait()
        finally:
            datagrams.close()
            stream.close()
            for writer in self._writers:
                writer.transport.abort()

    async def _bind(self) -> tuple[asyncio.BaseTransport, asyncio.Server]:
        loop = asyncio.get_running_loop()
        for _ in range(20):
            port = self.port or free_port(self.host)
            try:
                stream = await asyncio.start_server(self._connection, self.host, port)
            except OSError:
                continue
            try:
                datagrams, _protocol = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), local_addr=(self.host, port)
                )
            except OSError:
                stream.close()
                continue
            return datagrams, stream
        raise OSError("no port for the stand-in")

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                for reply in self.take(await reader.readexactly(length), TCP):
                    framed = len(reply.wire).to_bytes(2, "big") + reply.wire
                    asyncio.get_running_loop().call_later(reply.after_s, writer.write, framed)
        self._writers.discard(writer)
        writer.close()

    def stop(self) -> None:
        """Close the port: from now on the kernel refuses what comes."""
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)
            assert not self._thread.is_alive()
            self._thread = None
