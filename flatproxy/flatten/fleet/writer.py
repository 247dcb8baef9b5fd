"""The one node of a fleet that writes the zone's own records: it has the lease. Without a store, nobody does.

Two nodes that see different addresses would undo each other's work, so a lost store is no reason to write.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from attrs import define

from flatproxy.flatten.fleet.operations import Hold, Release

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.flatten.fleet.sharing import Carrier

PLACE: Final = "sync"
WRITER_LEASE_S: Final = 45.0
RENEWED_S: Final = 10.0
LEASE_MARGIN_S: Final = 20.0
"""Before the lease ends, no update is begun any more: one takes less."""


@define(eq=False)
class WriterLease:
    """It is taken while `wanted`. `clock` returns monotonic seconds."""

    node: str
    asking: Carrier
    clock: Callable[[], float]
    wanted: bool = False
    _token: bytes = b""
    _until: float = float("-inf")
    _due: float = float("-inf")

    def __attrs_post_init__(self) -> None:
        self._token = f"{self.node}/{secrets.token_hex(8)}".encode()

    @property
    def held(self) -> bool:
        """Whether this node may begin an update."""
        return self.clock() < self._until - LEASE_MARGIN_S

    def tick(self, now: float) -> None:
        """Take the lease, or take it again."""
        if not self.asking.joined or not self.wanted or now < self._due:
            return
        self._due = now + RENEWED_S

        def then(result: Any) -> None:  # noqa: ANN401 - whatever a store says
            self._until = now + WRITER_LEASE_S if int(result[0]) else float("-inf")

        self.asking.ask(Hold(PLACE, self._token, int(WRITER_LEASE_S * 1000)), then)

    def rejoin(self) -> None:
        """Ask at once."""
        self._due = float("-inf")

    def leave(self) -> list[Release]:
        """Return what gives it back."""
        was_held, self._until = self._until > self.clock(), float("-inf")
        return [Release(PLACE, self._token)] if was_held else []
