"""A network that misbehaves: a relay that loses datagrams, or passes them on late, twice or damaged."""

from __future__ import annotations

import contextlib
import heapq
import random
import selectors
import socket
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

from attrs import define, field, frozen

from . import packets
from .ports import bind_pair

if TYPE_CHECKING:
    from .ports import Address


@frozen(kw_only=True)
class Weather:
    """What becomes of datagrams, the same in each direction. Shares are between 0 and 1, delays in seconds."""

    loss: float = 0.0
    twice: float = 0.0
    reorder: float = 0.0
    flip: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0


FAIR = Weather()


@define(order=True)
class _Due:
    at: float
    order: int
    sock: socket.socket = field(order=False)
    data: bytes = field(order=False)
    peer: Address | None = field(order=False)


class Relay:
    """A UDP relay to one address, in a thread of its own. Set `weather` to change what becomes of datagrams.

    A datagram's fate follows from the seed, its direction, its question and how many of these came before, not from
    when it comes: the same run loses the same ones. There is no TCP here.
    """

    def __init__(self, target: Address, seed: int, weather: Weather = FAIR, *, port: int = 0) -> None:
        self.weather = weather
        self._target = target
        self._seed = seed
        self._front, tcp = bind_pair("127.0.0.1", port)
        tcp.close()
        self._front.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._front.setblocking(False)
        self.address: Address = self._front.getsockname()
        self._backs: dict[Address, socket.socket] = {}
        self._seen: Counter[tuple[str, bytes]] = Counter()
        self._due: list[_Due] = []
        self._order = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._front, selectors.EVENT_READ, None)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._selector.close()
        for sock in (self._front, *self._backs.values()):
            sock.close()

    def _run(self) -> None:
        while not self._over.is_set():
            wait_s = min(0.05, max(0.0, self._due[0].at - time.monotonic())) if self._due else 0.05
            for key, _ in self._selector.select(wait_s):
                assert isinstance(key.fileobj, socket.socket)
                self._read(key.fileobj, key.data)
            while self._due and self._due[0].at <= time.monotonic():
                due = heapq.heappop(self._due)
                with contextlib.suppress(OSError):
                    due.sock.sendto(due.data, due.peer) if due.peer else due.sock.send(due.data)

    def _read(self, sock: socket.socket, client: Address | None) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = sock.recvfrom(65535)
                if client is None:
                    self._pass_on("to", data, self._back(peer), None)
                else:
                    self._pass_on("from", data, self._front, client)

    def _back(self, client: Address) -> socket.socket:
        if client not in self._backs:
            back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            back.setblocking(False)
            back.connect(self._target)
            self._selector.register(back, selectors.EVENT_READ, client)
            self._backs[client] = back
        return self._backs[client]

    def _pass_on(self, direction: str, data: bytes, sock: socket.socket, peer: Address | None) -> None:
        weather, key = self.weather, (direction, packets.question_of(data))
        self._seen[key] += 1
        rng = random.Random(f"{self._seed} {direction} {key[1].hex()} {self._seen[key]}")
        lost, twice, late, flipped = (rng.random() for _ in range(4))
        if lost < weather.loss:
            return
        if flipped < weather.flip and data:
            at = rng.randrange(len(data))
            data = data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]
        for _ in range(2 if twice < weather.twice else 1):
            delay_s = weather.delay_s + rng.uniform(-1, 1) * weather.jitter_s
            if late < weather.reorder:
                delay_s += 3 * weather.jitter_s
            self._order += 1
            heapq.heappush(self._due, _Due(time.monotonic() + delay_s, self._order, sock, data, peer))
