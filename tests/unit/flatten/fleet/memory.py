"""A store in memory, for tests of what speaks to one: each operation at once, as the scripts say, with a clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from flatproxy.flatten.fleet.operations import Claim, Hold, Publish, Read, Release

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.flatten.fleet.operations import Operation


def version(raw: bytes | None) -> int:
    return int(raw[1:17]) if raw else 0


@define(eq=False)
class MemoryStore:
    """Shared by several `MemoryCarrier`s; `told` gets the field and version of each change."""

    clock: Callable[[], float]
    entries: dict[str, bytes] = field(factory=dict)
    leases: dict[str, tuple[bytes, float]] = field(factory=dict)
    told: list[Callable[[str, int], object]] = field(factory=list)
    done: list[Operation] = field(factory=list)

    def lease(self, place: str) -> bytes | None:
        token, until = self.leases.get(place, (b"", 0.0))
        return token if self.clock() < until else None

    def do(self, operation: Operation) -> Any:  # noqa: C901 - one case for each kind
        self.done.append(operation)
        if isinstance(operation, Read):
            return self.entries.get(operation.places[0])
        if isinstance(operation, Release):
            if self.lease(operation.place) == operation.token:
                del self.leases[operation.place]
            return [b"released"]
        if isinstance(operation, Hold):
            if self.lease(operation.place) not in {None, operation.token}:
                return [0]
            self.leases[operation.place] = operation.token, self.clock() + operation.lease_ms / 1000
            return [1]
        assert isinstance(operation, Claim | Publish)
        raw = self.entries.get(operation.place)
        if raw is not None and raw[:49] == operation.ignored:
            raw = None
        if isinstance(operation, Claim):
            return self._claim(operation, raw)
        if version(raw) >= version(operation.raw):
            return [b"entry", raw]
        self.entries[operation.place] = operation.raw
        if operation.token and self.lease(operation.place) == operation.token:
            del self.leases[operation.place]
        if operation.changed == 1:
            for tell in self.told:
                tell(operation.place, version(operation.raw))
        return [b"published"]

    def _claim(self, claim: Claim, raw: bytes | None) -> list[Any]:
        if version(raw) > claim.known:
            return [b"entry", raw]
        if self.lease(claim.place) is not None:
            return [b"held", int((self.leases[claim.place][1] - self.clock()) * 1000)]
        self.leases[claim.place] = claim.token, self.clock() + claim.lease_ms / 1000
        return [b"granted"]


@define(eq=False)
class MemoryCarrier:
    store: MemoryStore
    joined: bool = True
    hold_until: float = float("-inf")
    offset: float = 1_800_000_000.0

    def ask(self, operation: Operation, then: Callable[[Any], None]) -> None:
        if self.joined:
            then(self.store.do(operation))
