"""The loop with real sockets: packets are served, and nothing of asyncio waits for their end."""

from __future__ import annotations

import asyncio
import socket
import threading
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from attrs import define, field

from flatproxy.forward.packet_loop import PacketLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@define(eq=False)
class Packets:
    """A packet socket that sends itself the next datagram with each that it reads, and so never rests."""

    sock: socket.socket
    on_read: Callable[[], object] = lambda: None
    echo: bool = False
    reads: list[float] = field(factory=list)
    flushes: int = 0

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

    def flush(self) -> None:
        self.flushes += 1


@pytest.fixture
def loop() -> Iterator[PacketLoop]:
    made = PacketLoop()
    yield made
    made.close()


@pytest.fixture
def packets(loop: PacketLoop) -> Iterator[Packets]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        made = Packets(sock)
        loop.packets.add(made)
        yield made
        if sock.fileno() in loop.packets.get_map():
            loop.packets.remove(made)


def run(loop: PacketLoop, main: object) -> None:
    loop.run_until_complete(asyncio.wait_for(main, 10))  # type: ignore[arg-type]


def test_a_packet_is_read_with_the_time(loop: PacketLoop, packets: Packets) -> None:
    done = loop.create_future()
    packets.on_read = lambda: done.set_result(None)
    before = monotonic()
    packets.poke()
    run(loop, done)
    assert before <= packets.reads[0] <= monotonic()


def test_timers_are_on_time_under_a_flood(loop: PacketLoop, packets: Packets) -> None:
    packets.echo = True
    packets.poke()
    began = monotonic()
    run(loop, asyncio.sleep(0.2))
    assert monotonic() - began < 1
    assert len(packets.reads) > 50


def test_other_descriptors_are_served_under_a_flood(loop: PacketLoop, packets: Packets) -> None:
    packets.echo = True
    packets.poke()
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        loop.call_later(0.05, other.send, b"hello")

        async def hear() -> None:
            assert await loop.sock_recv(one, 9) == b"hello"

        run(loop, hear())


def test_what_a_packet_gives_asyncio_to_do_is_done_at_once(loop: PacketLoop, packets: Packets) -> None:
    at: list[float] = []
    done = loop.create_future()

    def task() -> None:
        at.append(monotonic())
        done.set_result(None)

    packets.on_read = lambda: loop.call_soon(task)
    loop.call_later(5, lambda: None)  # without more, it would be the next thing to wait for
    loop.call_soon(packets.poke)
    run(loop, done)
    assert at[0] - packets.reads[0] < 1


def test_a_timer_set_by_a_packet_is_not_overslept(loop: PacketLoop, packets: Packets) -> None:
    done = loop.create_future()
    packets.on_read = lambda: loop.call_later(0.05, done.set_result, None)
    loop.call_soon(packets.poke)
    run(loop, done)
    assert monotonic() - packets.reads[0] < 2


def test_a_round_says_whether_it_had_to_wait(loop: PacketLoop, packets: Packets) -> None:
    done = loop.create_future()
    rested: list[bool] = []

    def note() -> None:
        rested.append(loop.packets.rested)
        if len(rested) < 5:
            packets.poke()
        else:
            done.set_result(None)

    packets.on_read = note
    loop.call_later(0.05, packets.poke)
    run(loop, done)
    assert not all(rested), "what was there already was taken for what came alone"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        rested.clear()
        packets.on_read = lambda: rested.append(loop.packets.rested)
        timer = threading.Timer(0.1, sender.sendto, (b"x", packets.sock.getsockname()))
        timer.start()
        run(loop, asyncio.sleep(0.3))
        timer.join()
    assert rested == [True]


def test_a_read_that_breaks_stops_nothing(loop: PacketLoop, packets: Packets) -> None:
    done = loop.create_future()

    def break_then_end() -> None:
        if len(packets.reads) == 3:
            done.set_result(None)
        packets.poke()
        raise ZeroDivisionError

    packets.on_read = break_then_end
    packets.poke()
    run(loop, done)


def test_who_enters_itself_is_flushed_once_before_the_next_wait(loop: PacketLoop, packets: Packets) -> None:
    done = loop.create_future()

    def enter() -> None:
        loop.packets.unflushed.append(packets)
        done.set_result(None)

    packets.on_read = enter
    packets.poke()
    run(loop, done)
    assert packets.flushes == 1
    loop.packets.unflushed.append(packets)
    run(loop, asyncio.sleep(0))
    assert packets.flushes == 2


def test_a_removed_socket_is_not_read_even_in_the_same_round(loop: PacketLoop, packets: Packets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        other = Packets(sock)
        loop.packets.add(other)
        packets.on_read = lambda: loop.packets.remove(other)
        other.on_read = lambda: loop.packets.remove(packets)
        packets.poke()
        other.poke()
        run(loop, asyncio.sleep(0.05))
        assert len(packets.reads) + len(other.reads) == 1
        if other.reads:
            loop.packets.remove(other)


def test_without_epoll_it_works_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import select  # noqa: PLC0415 - taken apart here

    monkeypatch.delattr(select, "epoll")
    loop = PacketLoop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        packets = Packets(sock, echo=True)
        loop.packets.add(packets)
        packets.poke()
        run(loop, asyncio.sleep(0.1))
        loop.packets.remove(packets)
    loop.close()
    assert len(packets.reads) > 20
