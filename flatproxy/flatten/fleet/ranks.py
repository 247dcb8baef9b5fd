"""Which node is first for what: by rendezvous hashing, so that all who see the same nodes say the same.

When a node comes or goes, only what it was first for changes. No state of the store lives here.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final
from zlib import crc32

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterable

SLOTS: Final = 256
"""Parts of all that is shared; a part has its order of nodes."""


def slot_of(place: str) -> int:
    """Return the slot of a field of the store."""
    return crc32(place.encode()) % SLOTS


def _weights(node: str) -> list[bytes]:
    """Return a node's weight in each slot."""
    return [blake2b(b"%d/" % slot + node.encode(), digest_size=8).digest() for slot in range(SLOTS)]


@define(eq=False)
class Ranks:
    """The nodes of a fleet, this one included, and its rank among them in each slot."""

    node: str
    nodes: frozenset[str] = frozenset()
    _known: dict[str, list[bytes]] = field(factory=dict)
    _ranks: list[int] = field(factory=lambda: [0] * SLOTS)

    def see(self, nodes: Iterable[str]) -> None:
        """Take note of which nodes there are."""
        seen = frozenset(nodes) | {self.node}
        if seen == self.nodes:
            return
        self.nodes = seen
        self._known = {node: self._known.get(node) or _weights(node) for node in seen}
        own = self._known[self.node]
        others = [weights for node, weights in self._known.items() if node != self.node]
        self._ranks = [sum(weights[slot] > own[slot] for weights in others) for slot in range(SLOTS)]

    def rank(self, place: str) -> int:
        """Return this node's rank for a field, 0 for the first."""
        return self._ranks[slot_of(place)]
