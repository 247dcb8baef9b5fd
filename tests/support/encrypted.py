"""A resolver over TLS, HTTPS or QUIC on loopback, with the names of a `FakeInternet`; it can go deaf, or away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import threading
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import parse_qs, urlsplit

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived
from attrs import define, field

from . import packets
from .lifetime import Startable
from .scripted import TCP, Query

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .internet import FakeInternet
    from .ports import Address


@define(eq=False, kw_only=True)
class EncryptedFront(Startable):
    """Started again, it has the same port. `opened` counts connections, `asked` questions."""

    scheme: Literal["tls", "https", "quic"]
    internet: FakeInternet
    files: tuple[Path, Path]
    """Certificate chain and key."""
    deaf: bool = False
    """Whether it takes questions and answers none, on the connections that were open when this was set."""
    backwards: bool = False
    """Over TLS: whether two questions are answered in the other order."""
    opened: int = field(default=0, init=False)
    asked: int = field(default=0, init=False)
    port: int = field(default=0, init=False)
    _deaf: set[object] = field(factory=set, init=False)
    _open: set[object] = field(factory=set, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _ready: threading.Event = field(factory=threading.Event, init=False)
    _over: asyncio.Event | None = field(default=None, init=False)

    @property
    def address(self) -> Address:
        return "127.0.0.1", self.port

    def go_deaf(self) -> None:
        """Answer nothing more on what is open now, and hold it open."""
        self._deaf |= self._open

    def start(self) -> None:
        self._ready.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def stop(self) -> None:
        assert self._loop is not None
        assert self._over is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._deaf.clear()
        self._open.clear()
        chain, key = self.files
        if self.scheme == "quic":
            configuration = QuicConfiguration(is_client=False, alpn_protocols=["doq"])
            configuration.load_cert_chain(chain, key)
            server: Any = await serve(
                "127.0.0.1",
                self.port,
                configuration=configuration,
                create_protocol=lambda *a, **k: _Quic(self, *a, **k),
            )
            transport = server._transport
            self.port = transport.get_extra_info("sockname")[1]
            self._ready.set()
            await self._over.wait()
            server.close()
            transport.close()
            return
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(chain, key)
        context.set_alpn_protocols(["dot"] if self.scheme == "tls" else ["http/1.1"])
        talk = self._dot if self.scheme == "tls" else self._http
        listener = await asyncio.start_server(self._kept(talk), "127.0.0.1", self.port, ssl=context)
        self.port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        listener.close()
        for writer in list(self._open):
            cast("asyncio.StreamWriter", writer).transport.abort()
        await asyncio.sleep(0)

    def _kept(self, talk: Callable[..., Any]) -> Callable[..., Any]:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.opened += 1
            self._open.add(writer)
            with contextlib.suppress(OSError, EOFError):
                await talk(reader, writer)
            self._open.discard(writer)
            writer.transport.abort()

        return run

    def answer(self, message: bytes, connection: object) -> bytes | None:
        self.asked += 1
        if connection in self._deaf:
            return None
        return self.internet.answer(Query(message, TCP, ("127.0.0.1", 1), cast("Any", None)))

    async def _dot(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held: list[bytes] = []
        while True:
            size = int.from_bytes(await reader.readexactly(2), "big")
            reply = self.answer(await reader.readexactly(size), writer)
            if reply is not None:
                held.insert(0, packets.frame(reply))
            if not self.backwards or len(held) > 1:
                writer.write(b"".join(held))
                held.clear()

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _version = head[0].split(" ")
            fields = {key.lower(): value for key, _, value in (line.partition(": ") for line in head[1:] if line)}
            if urlsplit(target).path != "/dns-query":
                writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\n\r\nnothing")
                continue
            if method == "POST":
                message = await reader.readexactly(int(fields["content-length"]))
            else:
                message = base64.urlsafe_b64decode(parse_qs(urlsplit(target).query)["dns"][0] + "==")
            reply = self.answer(message, writer)
            if reply is not None:
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/dns-message\r\n"
                    b"content-length: %d\r\n\r\n" % len(reply) + reply
                )


class _Quic(QuicConnectionProtocol):
    def __init__(self, front: EncryptedFront, *more: Any, **options: Any) -> None:
        super().__init__(*more, **options)
        self._front = front
        self._streams: dict[int, bytes] = {}
        front.opened += 1
        front._open.add(self)

    def quic_event_received(self, event: Any) -> None:
        if not isinstance(event, StreamDataReceived):
            return
        data = self._streams[event.stream_id] = self._streams.get(event.stream_id, b"") + event.data
        if event.end_stream:
            reply = self._front.answer(data[2:], self)
            if reply is not None:
                self._quic.send_stream_data(event.stream_id, packets.frame(reply), end_stream=True)
                self.transmit()
