"""What a node answers, in short: a digest for each part of its targets, by which two nodes are compared.

Kept up to date with each change, so that nobody ever walks over all targets for it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flatproxy.table.target import Target

PARTS: Final = 64
DETAIL_OCTETS: Final = 96_000
"""Of the details that are told at once."""
DETAIL_RECORDS: Final = 32
"""Records of a target that are told."""


def part_of(place: str) -> int:
    """Return the part of a field."""
    return crc32(place.encode()) % PARTS


@define(eq=False)
class Digests:
    """The digests of one node: each is the sum, without carry, of those of its targets."""

    _parts: list[int] = field(factory=lambda: [0] * PARTS)
    _of_each: dict[str, int] = field(factory=dict)

    def note(self, place: str, target: Target) -> None:
        """Take note of what a target is now."""
        known = target.resolution
        digest = blake2b(place.encode(), digest_size=4)
        for rdata in sorted(known.rdatas if known is not None else ()):
            digest.update(len(rdata).to_bytes(2, "big") + rdata)
        number = int.from_bytes(digest.digest(), "big") if known is not None else 0
        self._parts[part_of(place)] ^= self._of_each.get(place, 0) ^ number
        self._of_each[place] = number

    def forget(self, place: str) -> None:
        """Let go of a target."""
        self._parts[part_of(place)] ^= self._of_each.pop(place, 0)

    def texts(self) -> str:
        """Return all of them, eight digits each."""
        return "".join(f"{part:08x}" for part in self._parts)


def details(places: Mapping[str, Target], parts: Iterable[int]) -> dict[str, Any]:
    """Return what the targets of some parts are: records in hex by field; as many as are told at once."""
    wanted, told, octets = set(parts), {}, 0
    for place, target in places.items():
        if part_of(place) not in wanted or target.resolution is None:
            continue
        told[place] = [rdata.hex() for rdata in sorted(target.resolution.rdatas)[:DETAIL_RECORDS]]
        octets += len(place) + 4 + sum(len(text) + 3 for text in told[place])
        if octets > DETAIL_OCTETS:
            break
    return told
