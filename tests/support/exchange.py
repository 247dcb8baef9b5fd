"""Many queries to one server at once, each given an ID of its own; what came back, octet for octet."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import islice
from typing import TYPE_CHECKING, Final

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .ports import Address

IN_FLIGHT: Final = 32
CONNECTIONS: Final = 8
"""Fewer than the shortest queue of connections to be accepted, BIND's 10: one that is full costs a second."""

Replies = list[bytes | None]


@define(eq=False, slots=False)
class _Client(asyncio.DatagramProtocol):
    waiting: dict[bytes, asyncio.Future[bytes]] = field(factory=dict)
    strays: list[bytes] = field(factory=list)

    def datagram_received(self, data: bytes, addr: Address) -> None:  # noqa: ARG002 - asyncio's signature
        future = self.waiting.get(data[:2])
        if future is not None and future.cancelled():
            del self.waiting[data[:2]]  # late, and the first one all the same
        elif future is None or future.done():
            self.strays.append(data)
        else:
            future.set_result(data)


def over_udp(address: Address, queries: Sequence[bytes], patience_s: float) -> Replies:
    """Ask each query; None where nothing came, also not for a second try. A reply too many is an error."""
    return asyncio.run(_over_udp(address, queries, patience_s))


async def _over_udp(address: Address, queries: Sequence[bytes], patience_s: float) -> Replies:
    replies: Replies = [None] * len(queries)
    transport, client = await asyncio.get_running_loop().create_datagram_endpoint(_Client, remote_addr=address)
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def ask(number: int, identity: bytes) -> None:
        async with slots:
            future = client.waiting[identity] = asyncio.get_running_loop().create_future()
            transport.sendto(identity + queries[number][2:])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    replies[number] = await future

    try:
        for attempt in (0, 1):
            missing = [number for number, reply in enumerate(replies) if reply is None]
            identities = ((attempt * 0x8000 + index + 1).to_bytes(2, "big") for index in range(len(missing)))
            await asyncio.gather(*map(ask, missing, identities))
    finally:
        transport.close()
    assert not client.strays, client.strays[:3]
    return replies


def over_tcp(address: Address, queries: Sequence[bytes], patience_s: float, *, pipeline: int = 1) -> Replies:
    """Ask `pipeline` queries on each connection at once; None where the connection ended or stayed silent."""
    return asyncio.run(_over_tcp(address, queries, patience_s, pipeline))


async def _over_tcp(address: Address, queries: Sequence[bytes], patience_s: float, pipeline: int) -> Replies:
    replies: Replies = [None] * len(queries)
    slots = asyncio.Semaphore(CONNECTIONS)

    async def ask(numbers: Sequence[int]) -> None:
        async with slots:
            found = await _on_one_connection(address, [queries[number] for number in numbers], patience_s)
            for number, reply in zip(numbers, found, strict=True):
                replies[number] = reply

    await asyncio.gather(*map(ask, _chunks(range(len(queries)), pipeline)))
    return replies


@define(eq=False, slots=False)
class _Stream(asyncio.Protocol):
    """Keeps what came before a reset, which a StreamReader throws away."""

    buffer: bytearray = field(factory=bytearray)
    changed: asyncio.Event = field(factory=asyncio.Event)
    ended: bool = False

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.ended = True
        self.changed.set()

    def frames(self) -> list[bytes]:
        found, at = [], 0
        while len(self.buffer) >= at + 2:
            end = at + 2 + int.from_bytes(self.buffer[at : at + 2], "big")
            if len(self.buffer) < end:
                break
            found.append(bytes(self.buffer[at + 2 : end]))
            at = end
        return found


async def _on_one_connection(address: Address, queries: Sequence[bytes], patience_s: float) -> Replies:
    transport, stream = await asyncio.get_running_loop().create_connection(_Stream, *address)
    frames = (number.to_bytes(2, "big") + wire[2:] for number, wire in enumerate(queries))
    transport.write(b"".join(len(frame).to_bytes(2, "big") + frame for frame in frames))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            while len(stream.frames()) < len(queries) and not stream.ended:
                await stream.changed.wait()
                stream.changed.clear()
    transport.close()
    found = {int.from_bytes(message[:2], "big"): message for message in stream.frames()}
    return [found.get(number) for number in range(len(queries))]


def _chunks(numbers: Iterable[int], size: int) -> Iterator[list[int]]:
    rest = iter(numbers)
    while chunk := list(islice(rest, size)):
        yield chunk
