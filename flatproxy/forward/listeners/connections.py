"""The clients' connections, counted and bounded in all and per client. It closes, and never reads or writes.

At a bound the connection that has been idle for longest makes room, so that idle ones cannot keep anybody out; where
none is idle one whose client has closed its half, and may be gone altogether; else the new one is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from flatproxy.forward.bounds import CONNECTIONS, CONNECTIONS_A_CLIENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.counts import Traffic


class CountedConnection(Protocol):
    """What is asked of a connection."""

    @property
    def host(self) -> bytes:
        """The client's address, 4 or 16 octets."""

    @property
    def active_at(self) -> float:
        """When a whole message last passed, monotonic seconds."""

    @property
    def busy(self) -> bool:
        """Whether the client still waits for something."""

    @property
    def half_closed(self) -> bool:
        """Whether the client will send no more."""

    def finish(self) -> None:
        """Close it once everything that was sent is with the client."""

    def abort(self) -> None:
        """Cut it off."""

    def sweep(self, now: float) -> None:
        """Close what is idle, give up what is overdue."""


@define(eq=False)
class Connections:
    """The open connections of all listeners."""

    traffic: Traffic
    limit: int = CONNECTIONS
    _by_host: dict[bytes, dict[CountedConnection, None]] = field(factory=dict)
    _count: int = 0

    def has_room(self, host: bytes) -> bool:
        """Make room for one more from `host`; False where that cannot be done."""
        same = self._by_host.get(host, {})
        if len(same) >= CONNECTIONS_A_CLIENT and not self._evict(same):
            return False
        return self._count < self.limit or self._evict(self.all())

    def _evict(self, candidates: Iterable[CountedConnection]) -> bool:
        candidates = list(candidates)
        idle = [connection for connection in candidates if not connection.busy]
        spare = idle or [connection for connection in candidates if connection.half_closed]
        if not spare:
            self.traffic.tcp_refused += 1
            return False
        longest = min(spare, key=lambda connection: connection.active_at)
        self.traffic.tcp_evicted += 1
        self.remove(longest)
        longest.abort()
        return True

    def add(self, connection: CountedConnection) -> None:
        """Count a connection in."""
        self._by_host.setdefault(connection.host, {})[connection] = None
        self._count += 1
        self.traffic.tcp_connections += 1

    def remove(self, connection: CountedConnection) -> None:
        """Count a connection out, if it is still in."""
        same = self._by_host.get(connection.host)
        if same is None or connection not in same:
            return
        del same[connection]
        if not same:
            del self._by_host[connection.host]
        self._count -= 1
        self.traffic.tcp_connections -= 1

    def all(self) -> list[CountedConnection]:
        """Return every connection."""
        return [connection for same in self._by_host.values() for connection in same]

    def sweep(self, now: float) -> None:
        """Sweep every connection; to be called several times a second."""
        for connection in self.all():
            connection.sweep(now)

    def finish(self) -> bool:
        """Close those whose client waits for nothing; tell whether all are closed."""
        for connection in self.all():
            if not connection.busy:
                connection.finish()
        return not self._count

    def close(self) -> None:
        """Cut every connection off."""
        for connection in self.all():
            connection.abort()
