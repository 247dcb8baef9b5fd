"""What every store keeps, and what is asked of it. Nothing of the service waits for a store or depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from flatproxy.table.ladder import Resolution

if TYPE_CHECKING:
    from collections.abc import Iterable

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

    @classmethod
    def of(cls, target: Target, resolved_at: float) -> Row:
        """Return the row of a target that was resolved at this wall-clock time."""
        known = target.resolution
        if known is None:
            raise ValueError(f"{target} was never resolved")
        return cls(target.name, target.rdtype, known.rdatas, known.ttl_s, known.names, resolved_at)

    def resolution(self, now: float, wall: float) -> Resolution:
        """Return it on the monotonic clock; a time in the future (the clock was set back) counts as now."""
        age = max(wall - self.resolved_at, 0.0)
        return Resolution(rdatas=self.rdatas, ttl_s=self.ttl_s, names=self.names, resolved_at=now - age)


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

    def load(self) -> list[Row]:
        """Return what it holds; nothing where it cannot be read."""

    def save(self, row: Row) -> None:
        """Keep a row, now or soon."""

    def tick(self, now: float) -> None:
        """Begin what is due. `now` is in monotonic seconds."""

    async def stop(self) -> None:
        """Keep what is not kept yet."""
