"""Packet sockets on a real loop: they are read, and nothing of asyncio waits for their end."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from attrs import define, field

from flatproxy.forward.readers import Readers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


@define(eq=False)
class Packets:
    """A packet socket that sends itself the next datagram with each that it reads, and so never rests."""

    sock: socket.socket
    on_read: Callable[[], object] = lambda: None
    echo: bool = False
    reads: list[float] = field(factory=list)

    def fileno(self) -> int:
        return self.sock.fileno()

    def read(self, now: float) -> None:
        self.reads.append(now)
        self.sock.recv(9)
        if self.echo:
            self.poke()
        self.on_read()

    def poke(self) -> None:
        self.sock.sendto(b"x", self.sock.getsockname())


@define(eq=False)
class Stand:
    loop: asyncio.AbstractEventLoop
    readers: Readers
    sockets: list[socket.socket] = field(factory=list)

    def packets(self) -> Packets:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        self.sockets.append(sock)
        made = Packets(sock)
        self.readers.add(made)
        return made

    def run(self, main: Awaitable[object]) -> None:
        self.loop.run_until_complete(asyncio.wait_for(main, 10))


@pytest.fixture
def stand() -> Iterator[Stand]:
    loop = asyncio.SelectorEventLoop()
    made = Stand(loop, Readers(loop))
    yield made
    made.readers.close()
    for sock in made.sockets:
        sock.close()
    loop.close()


def test_a_packet_is_read_with_the_time(stand: Stand) -> None:
    packets, done = stand.packets(), stand.loop.create_future()
    packets.on_read = lambda: done.set_result(None)
    before = monotonic()
    packets.poke()
    stand.run(done)
    assert before <= packets.reads[0] <= monotonic()


def test_timers_and_other_descriptors_have_their_turn_under_a_flood(stand: Stand) -> None:
    packets = stand.packets()
    packets.echo = True
    packets.poke()
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        stand.loop.call_later(0.1, other.send, b"hello")

        async def hear() -> None:
            assert await stand.loop.sock_recv(one, 9) == b"hello"

        stand.run(hear())
    assert len(packets.reads) > 20


def test_a_read_that_breaks_stops_nothing(stand: Stand) -> None:
    packets, done = stand.packets(), stand.loop.create_future()

    def break_then_end() -> None:
        if len(packets.reads) == 3:
            done.set_result(None)
        packets.poke()
        raise ZeroDivisionError

    packets.on_read = break_then_end
    packets.poke()
    stand.run(done)


def test_packets_are_served_between_two_pieces_of_work(stand: Stand) -> None:
    packets = stand.packets()
    packets.poke()
    stand.readers.serve()
    assert len(packets.reads) == 1
    stand.readers.serve()
    assert len(packets.reads) == 1, "nothing more was there"


def test_a_removed_socket_is_not_read_even_in_the_same_round(stand: Stand) -> None:
    one, other = stand.packets(), stand.packets()
    one.on_read = lambda: stand.readers.remove(other)
    other.on_read = lambda: stand.readers.remove(one)
    one.poke()
    other.poke()
    stand.readers.serve()
    assert len(one.reads) + len(other.reads) == 1
