"""What every store keeps, and what is asked of it. Nothing of the service waits for a store or depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve, frozen

from flatproxy.table.held import NO_HISTORY, History
from flatproxy.table.ladder import Resolution

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flatproxy.table.target import Target


@frozen
class Row:
    """One resolution with the wall-clock time it was made at."""

    target: bytes
    rdtype: int
    rdatas: tuple[bytes, ...]
    ttl_s: int
    names: tuple[str, ...]
    resolved_at: float
    held: tuple[bytes, ...] = ()
    """The addresses that it had before it had none, found last at `seen_at`; none since `absent_since`."""
    seen_at: float = 0.0
    absent_since: float = 0.0

    @classmethod
    def of(cls, target: Target, resolved_at: float) -> Row:
        """Return the row of a target that was resolved at this wall-clock time."""
        known = target.resolution
        if known is None:
            raise ValueError(f"{target} was never resolved")
        row = cls(target.name, target.rdtype, known.rdatas, known.ttl_s, known.names, resolved_at)
        history, ahead = target.history, resolved_at - known.resolved_at
        if history.absent_since is None:
            return row
        return evolve(
            row, held=history.addresses, seen_at=history.seen_at + ahead, absent_since=history.absent_since + ahead
        )

    def resolution(self, now: float, wall: float) -> Resolution:
        """Return it on the monotonic clock; a time in the future (the clock was set back) counts as now."""
        age = max(wall - self.resolved_at, 0.0)
        return Resolution(rdatas=self.rdatas, ttl_s=self.ttl_s, names=self.names, resolved_at=now - age)

    def history(self, now: float, wall: float) -> History:
        """Return what was found of its addresses, on the monotonic clock."""
        behind = now - wall
        if self.held:
            since = min(self.absent_since + behind, now)
            return History(addresses=self.held, seen_at=min(self.seen_at + behind, since), absent_since=since)
        if not self.rdatas:
            return NO_HISTORY
        return History(addresses=self.rdatas, seen_at=min(self.resolved_at + behind, now))


ShadowRow = tuple[float, int]
"""Since when a name is rehearsed without a failure (Unix time), and how often it was compared."""


class Store(Protocol):
    """Where resolutions survive a restart."""

    errors: int
    """Failed reads and writes."""
    failing: bool
    """Whether the last one failed."""

    def load_keys(self) -> list[tuple[Any, ...]]:
        """Return what it holds of keys: the values of `KeyRow`s; nothing where it cannot be read."""

    def save_keys(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Keep the values of `KeyRow`s, now or soon."""

    def load_shadows(self) -> Mapping[bytes, ShadowRow]:
        """Return what it holds of names in shadow mode; nothing where it cannot be read."""

    def save_shadows(self, rows: Mapping[bytes, ShadowRow | None]) -> None:
        """Keep these, now or soon; None: forget it."""

    def load(self) -> list[Row]:
        """Return what it holds; nothing where it cannot be read."""

    def save(self, row: Row) -> None:
        """Keep a row, now or soon."""

    def tick(self, now: float) -> None:
        """Begin what is due. `now` is in monotonic seconds."""

    async def stop(self) -> None:
        """Keep what is not kept yet."""
