"""asyncio's event loop with a selector that serves the packet sockets itself. The one seam between the two.

For each wake-up asyncio (and Twisted more so) makes and runs objects that cost as much as forwarding a query. Here a
packet socket that has something to read is read at once, again and again, and asyncio comes to its turn when one of
its own descriptors is ready, when a packet gave it something to do, or when its next timer is due.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from twisted.logger import Logger

from flatproxy.counts import worth_a_line
from flatproxy.forward.batches import datagrams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flatproxy.forward.batches import Datagrams

log = Logger()

MAX_EVENTS = 256
RESTED_S = 0.00005
"""A wait as long as this shows that nothing had gathered."""


class Readable(Protocol):
    """A packet socket."""

    def fileno(self) -> int:
        """Return the descriptor."""

    def read(self, now: float) -> None:
        """Read what has come, some of it or all; `now` is in monotonic seconds."""


class Flushable(Protocol):
    """What gathers datagrams to send them in one go."""

    def flush(self) -> None:
        """Send them."""


class Readers(Protocol):
    """Where packet sockets are registered, and what they share."""

    datagrams: Datagrams
    rested: bool
    """Whether the process waited before this round: then datagrams come one by one."""
    unflushed: list[Flushable]
    """Who has something to flush before the process waits again; who enters itself is called once."""

    def add(self, readable: Readable) -> None:
        """Have `read` called whenever there is something to read."""

    def remove(self, readable: Readable) -> None:
        """Stop doing so; to be called before the descriptor is closed."""

    def serve(self) -> None:
        """Serve the packets that are there now."""


class PacketSelector(selectors.DefaultSelector):
    """Registers asyncio's descriptors as ever, and packet sockets beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.datagrams = datagrams()
        self.unflushed: list[Flushable] = []
        self.rested = False
        """Whether the process had nothing to do before this round: then what comes, comes one by one."""
        self.asked = False
        """Whether asyncio was given something to do since it last asked what is ready."""
        self._reads: dict[int, Callable[[float], None]] = {}
        self._failures = 0
        # The same epoll, without the objects that `selectors` makes of its events.
        self._epoll = select.epoll.fromfd(os.dup(self.fileno())) if hasattr(select, "epoll") else None

    def add(self, readable: Readable) -> None:
        """Have `read` called whenever there is something to read."""
        self._reads[readable.fileno()] = readable.read
        self.register(readable.fileno(), selectors.EVENT_READ)

    def remove(self, readable: Readable) -> None:
        """Stop doing so; to be called before the descriptor is closed."""
        del self._reads[readable.fileno()]
        self.unregister(readable.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve packet sockets until `timeout` (seconds) or until asyncio has something to do; return its events.

        A round may cost one wait, one look-up for each event, and what was flushed: no object for asyncio.
        """
        self._flush()
        self.asked = False
        until = None if timeout is None else monotonic() + timeout
        while True:
            began = monotonic()
            events = self._wait(timeout)
            now = monotonic()
            self.rested = now - began > RESTED_S
            others = self._read(events, now)
            if others or self.asked or not events:
                return self._keys(others)
            if until is not None:
                timeout = until - now
                if timeout <= 0:
                    return []

    def serve(self) -> None:
        """Serve the packets that are there now: for whoever has much to do, between two pieces of it."""
        self.rested = False
        self._read(self._wait(0), monotonic())

    def _read(self, events: Iterable[tuple[int, int]], now: float) -> list[tuple[int, int]]:
        """Have the packet sockets among these read; return the events of the others."""
        others = []
        for descriptor, mask in events:
            read = self._reads.get(descriptor)
            if read is None:
                others.append((descriptor, mask))
                continue
            try:
                read(now)
            except Exception:  # noqa: BLE001 - no packet may stop the service
                self._note_failure()
        self._flush()
        return others

    def _wait(self, timeout: float | None) -> Iterable[tuple[int, int]]:
        """Return descriptors and their events, in epoll(7)'s numbers where there is one, else in those of asyncio."""
        if self._epoll is not None:
            return self._epoll.poll(timeout, MAX_EVENTS)
        return [(key.fd, mask) for key, mask in super().select(timeout)]

    def close(self) -> None:
        """Let go of the descriptors."""
        if self._epoll is not None:
            self._epoll.close()
        super().close()

    def _keys(self, others: list[tuple[int, int]]) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what asyncio is to be told of these events of its own descriptors."""
        found = []
        for descriptor, mask in others:
            key = self.get_map().get(descriptor)  # one that was served before in this round may be gone
            if key is not None:
                events = _events(mask) if self._epoll is not None else mask
                found.append((key, events & key.events))
        return found

    def _flush(self) -> None:
        unflushed = self.unflushed
        while unflushed:
            try:
                unflushed.pop().flush()
            except Exception:  # noqa: BLE001 - as above
                self._note_failure()

    def _note_failure(self) -> None:
        self._failures += 1
        if worth_a_line(self._failures):
            log.failure("a packet socket went wrong", event="packet_failed")


def _events(mask: int) -> int:
    """Return what `selectors` calls these events of epoll(7): errors and hang-ups count as both."""
    return (selectors.EVENT_WRITE if mask & ~select.EPOLLIN else 0) | (
        selectors.EVENT_READ if mask & ~select.EPOLLOUT else 0
    )


class PacketLoop(asyncio.SelectorEventLoop):
    """asyncio's loop on such a selector, `packets`."""

    def __init__(self) -> None:
        self.packets = PacketSelector()
        super().__init__(self.packets)

    def call_soon(self, *args: Any, **kwargs: Any) -> asyncio.Handle:  # type: ignore[override]  # noqa: ANN401 - whatever
        """Take something to do at once."""
        self.packets.asked = True
        return super().call_soon(*args, **kwargs)

    def call_at(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:  # type: ignore[override]  # noqa: ANN401 - it is
        """Take something to do later: how long to wait is to be worked out anew."""
        self.packets.asked = True
        return super().call_at(*args, **kwargs)


def packets() -> Readers:
    """Return where packet sockets are registered, for the loop that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, PacketLoop), "another loop reads no packets"
    return loop.packets
