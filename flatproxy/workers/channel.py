"""One end of the socket between the control process and a worker: pickled messages, each after its length.

Both ends are processes of ours, of one user, and no other has the socket: that alone makes unpickling safe. It never
blocks, and what the other end does not take is kept until it does; whoever uses it bounds that by `unsent_since`.
"""

from __future__ import annotations

import pickle
from collections import deque
from struct import Struct
from time import monotonic
from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from flatproxy.workers.messages import Message

log = Logger()

_LENGTH = Struct("!Q")
_READ = 1 << 18


def frame(message: Message) -> bytes:
    """Return the octets of a message, to be sent once or to many."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


class Channel:
    """Calls `told` with each message, and `lost` once: when the other end is gone or cannot be understood."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        told: Callable[[Message], None],
        lost: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._told = told
        self._lost = lost
        self._come = bytearray()
        self._unsent: deque[tuple[float, memoryview]] = deque()
        self._open = True
        sock.setblocking(False)  # noqa: FBT003 - the socket module's signature
        loop.add_reader(sock.fileno(), self._read)

    @property
    def unsent_since(self) -> float | None:
        """When the oldest of what the other end has not taken was sent, monotonic seconds; None where there is none."""
        return self._unsent[0][0] if self._unsent else None

    def send(self, octets: bytes) -> None:
        """Send a frame, or put it behind those that wait; without a word where the other end is gone."""
        if not self._open:
            return
        self._unsent.append((monotonic(), memoryview(octets)))
        if len(self._unsent) == 1:
            self._write()

    def _write(self) -> None:
        while self._unsent:
            since, octets = self._unsent[0]
            try:
                taken = self._socket.send(octets)
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._write)
                return
            except OSError:
                self._loop.call_soon(self._end)  # not from within somebody's `send`
                return
            if taken < len(octets):
                self._unsent[0] = since, octets[taken:]
            else:
                self._unsent.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _read(self) -> None:
        try:
            octets = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if not octets:
            self._end()
            return
        self._come += octets
        while self._open and (message := self._next()) is not None:
            try:
                self._told(pickle.loads(message))  # noqa: S301 - from a process of our own, see above
            except Exception:  # noqa: BLE001 - half understood is not understood: begin again with another process
                log.failure("a message between processes went wrong", event="channel_failed")
                self._end()

    def _next(self) -> bytes | None:
        """Take the next whole message from what has come."""
        if len(self._come) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._come)[0]
        if len(self._come) < end:
            return None
        message = bytes(memoryview(self._come)[_LENGTH.size : end])
        del self._come[:end]
        return message

    def _end(self) -> None:
        if self._open:
            self.close()
            self._lost()

    def close(self) -> None:
        """Close this end; what is unsent is lost."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._unsent.clear()
            self._socket.close()
