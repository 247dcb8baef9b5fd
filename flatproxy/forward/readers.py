"""Which packet sockets are read when something has come. It knows sockets and the loop, and no packet.

They share a selector of their own, which the loop watches as one descriptor: so whoever has much to do can have the
packets served that are there now, between two pieces of it.
"""

from __future__ import annotations

import selectors
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from twisted.logger import Logger

from flatproxy.counts import worth_a_line

if TYPE_CHECKING:
    import asyncio

log = Logger()

READ_AT_ONCE: Final = 64
"""Datagrams read from one socket before others have their turn."""
MAX_DATAGRAM: Final = 65_535


class Readable(Protocol):
    """A packet socket."""

    def fileno(self) -> int:
        """Return the descriptor."""

    def read(self, now: float) -> None:
        """Read what has come, some of it or all; `now` is in monotonic seconds."""


class Readers:
    """The packet sockets of a process."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._selector = selectors.DefaultSelector()
        self._failures = 0
        loop.add_reader(self._selector, self.serve)

    def add(self, readable: Readable) -> None:
        """Have `read` called whenever there is something to read."""
        self._selector.register(readable.fileno(), selectors.EVENT_READ, readable)

    def remove(self, readable: Readable) -> None:
        """Stop doing so; to be called before the descriptor is closed."""
        self._selector.unregister(readable.fileno())

    def serve(self) -> None:
        """Have every socket read that something has come to; a read that breaks stops nothing."""
        registered = self._selector.get_map()
        for key, _events in self._selector.select(0):
            if registered.get(key.fd) is not key:  # one that was served before in this round has removed it
                continue
            try:
                key.data.read(monotonic())
            except Exception:  # noqa: BLE001 - no packet may stop the service
                self._failures += 1
                if worth_a_line(self._failures):
                    log.failure("a packet socket went wrong", event="packet_failed")

    def close(self) -> None:
        """Let go of the descriptor; the sockets stay open."""
        self._loop.remove_reader(self._selector)
        self._selector.close()
