from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from flatproxy.config.settings import Endpoint
from flatproxy.demo import asking
from flatproxy.errors import UpstreamTimeout, WireError

from .asks import query

WIRE = query("example.com", id=0x1234).to_wire()


def test_a_datagram_with_another_id_is_passed_over() -> None:
    """Whoever answers first with the wrong ID must not end the wait."""

    class TwoReplies(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(b"\0\0wrong", addr)
            self.transport.sendto(data[:2] + b"right", addr)

    async def run() -> bytes:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(TwoReplies, local_addr=("127.0.0.1", 0))
        try:
            return await asking.reply_to(WIRE, Endpoint(*transport.get_extra_info("sockname")[:2]), tcp=False)
        finally:
            transport.close()

    assert asyncio.run(run()) == WIRE[:2] + b"right"


def test_silence_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "TIMEOUT_S", 0.01)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(UpstreamTimeout, match="sent no answer"):
            asyncio.run(asking.reply_to(WIRE, Endpoint(*silent.getsockname()), tcp=False))


def test_a_connection_that_ends_early_is_an_error() -> None:
    async def run() -> bytes:
        async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"\0")
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            return await asking.reply_to(WIRE, Endpoint(*server.sockets[0].getsockname()), tcp=True)

    with pytest.raises(WireError, match="could not be asked"):
        asyncio.run(run())


def test_what_is_no_message_is_an_error() -> None:
    with pytest.raises(WireError, match="not a DNS message"):
        asking.message_in(b"\0" * 11)
