"""Clients that go on for a while: a steady stream of queries, and stub resolvers that ask again and again."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

from attrs import define, field

from . import dnsio, packets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .ports import Address


@define(eq=False)
class Steady:
    """In a `with` block: UDP queries for one name after the other at a steady rate, from a thread of its own."""

    address: Address
    rate: float
    right: Callable[[bytes, bytes], bool]
    name: Callable[[int], str]
    wait_s: float = 2.0
    sent: int = 0
    answered: int = 0
    wrong: list[bytes] = field(factory=list)
    rcodes: Counter[int] = field(factory=Counter)
    _waiting: dict[tuple[int, bytes], bytes] = field(factory=dict)
    _over: threading.Event = field(factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()

    @property
    def lost(self) -> int:
        """Queries without an answer so far; after the block those that will never have one."""
        return len(self._waiting)

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            sockets = [stack.enter_context(dnsio.udp_socket(self.address)) for _ in range(16)]
            for number, sock in enumerate(sockets):
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ, number)
            began = time.monotonic()
            while not self._over.is_set():
                while self.sent < (time.monotonic() - began) * self.rate:
                    self._send(sockets)
                self._take(selector, 1 / self.rate)
            until = time.monotonic() + self.wait_s
            while self._waiting and (left := until - time.monotonic()) > 0:
                self._take(selector, left)

    def _send(self, sockets: list[socket.socket]) -> None:
        number = self.sent % len(sockets)
        message = packets.query(self.name(self.sent), ident=self.sent // len(sockets))
        self.sent += 1
        self._waiting[number, message[:2]] = message
        with contextlib.suppress(OSError):
            sockets[number].send(message)

    def _take(self, selector: selectors.BaseSelector, wait_s: float) -> None:
        for key, _ in selector.select(wait_s):
            assert isinstance(key.fileobj, socket.socket)
            try:
                reply = key.fileobj.recv(65535)
            except OSError:
                continue
            message = self._waiting.pop((key.data, reply[:2]), None)
            if message is None:
                self.wrong.append(reply)
                continue
            self.answered += 1
            self.rcodes[packets.rcode_of(reply)] += 1
            if not self.right(message, reply) and packets.rcode_of(reply) != packets.SERVFAIL:
                self.wrong.append(reply)


@define
class Insisted:
    """How it went: how many of the queries got the right answer, and every wrong one that came."""

    asked: int
    right: int = 0
    wrong: list[bytes] = field(factory=list)

    @property
    def share(self) -> float:
        return self.right / self.asked


@define(eq=False)
class _Insistent:
    message: bytes
    again_at: float
    tries: int = 1


def insist(
    where: Address,
    messages: Sequence[bytes],
    right: Callable[[bytes, bytes], bool],
    *,
    tries: int = 5,
    try_s: float = 1.5,
    rate: float = 100.0,
) -> Insisted:
    """Ask as stub resolvers do: the same datagram again after `try_s`, `tries` times; SERVFAIL is no answer.

    Each message has a socket of its own; `rate` new ones begin each second.
    """
    outcome = Insisted(len(messages))
    waiting: dict[socket.socket, _Insistent] = {}
    began, next_one = time.monotonic(), 0
    with selectors.DefaultSelector() as selector:

        def end(sock: socket.socket) -> None:
            selector.unregister(sock)
            del waiting[sock]
            sock.close()

        while waiting or next_one < len(messages):
            now = time.monotonic()
            while next_one < len(messages) and next_one <= (now - began) * rate:
                sock = dnsio.udp_socket(where)
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ)
                waiting[sock] = _Insistent(messages[next_one], now + try_s)
                _send(sock, messages[next_one])
                next_one += 1
            for key, _ in selector.select(0.01):
                assert isinstance(key.fileobj, socket.socket)
                if _heard(key.fileobj, waiting[key.fileobj].message, right, outcome):
                    end(key.fileobj)
            for sock, one in [(sock, one) for sock, one in waiting.items() if one.again_at <= time.monotonic()]:
                if one.tries >= tries:
                    end(sock)
                    continue
                one.tries += 1
                one.again_at += try_s
                _send(sock, one.message)
    return outcome


def _send(sock: socket.socket, message: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.send(message)


def _heard(sock: socket.socket, message: bytes, right: Callable[[bytes, bytes], bool], outcome: Insisted) -> bool:
    """Read one datagram; tell whether the client has its answer, right or wrong."""
    try:
        reply = sock.recv(65535)
    except OSError:
        return False
    if reply[:2] != message[:2] or packets.rcode_of(reply) == packets.SERVFAIL:
        return False
    if right(message, reply):
        outcome.right += 1
    else:
        outcome.wrong.append(reply)
    return True
