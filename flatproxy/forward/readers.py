"""Calls a socket's `read` when there is something to read. The one seam to the event loop on the UDP road.

Straight on asyncio: Twisted's own way to a descriptor sets up a logging context for each wake-up, which costs as much
as forwarding a query. On Linux the many sockets of one nameserver share a wake-up through an epoll of their own.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

MAX_EVENTS = 256


class Readable(Protocol):
    """A socket with something to do when data comes."""

    def fileno(self) -> int:
        """Return the descriptor."""

    def read(self) -> None:
        """Read what has come, some of it or all."""


class Readers(Protocol):
    """Where a socket is registered."""

    def add(self, readable: Readable) -> None:
        """Have `read` called whenever there is something to read."""

    def remove(self, readable: Readable) -> None:
        """Stop doing so; to be called before the descriptor is closed."""


class LoopReaders:
    """Each socket with a wake-up of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def add(self, readable: Readable) -> None:
        """Have `read` called whenever there is something to read."""
        self._loop.add_reader(readable.fileno(), readable.read)

    def remove(self, readable: Readable) -> None:
        """Stop doing so; to be called before the descriptor is closed."""
        self._loop.remove_reader(readable.fileno())


class SharedReaders:
    """Many sockets behind one wake-up (epoll(7): an epoll descriptor can itself be waited for)."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._epoll = select.epoll()
        self._reads: dict[int, Callable[[], None]] = {}
        readers.add(self)

    def fileno(self) -> int:
        """Return the epoll's descriptor."""
        return self._epoll.fileno()

    def read(self) -> None:
        """Let every socket read that has something to read."""
        reads = self._reads
        for descriptor, _events in self._epoll.poll(0, MAX_EVENTS):
            # One socket's read may have closed another.
            read = reads.get(descriptor)
            if read is not None:
                read()

    def add(self, readable: Readable) -> None:
        """Have `read` called whenever there is something to read."""
        self._reads[readable.fileno()] = readable.read
        self._epoll.register(readable.fileno(), select.EPOLLIN)

    def remove(self, readable: Readable) -> None:
        """Stop doing so; to be called before the descriptor is closed."""
        del self._reads[readable.fileno()]
        self._epoll.unregister(readable.fileno())

    def close(self) -> None:
        """Let go of the wake-up."""
        self._readers.remove(self)
        self._epoll.close()
