"""Longest-prefix matching: which network, of many, an address is in. Nothing here knows what the networks are for.

Networks nest or are apart, so they cut the addresses into ranges that each have one label. Only the starts of the
ranges are kept, as octets: they sort as addresses do, and a look-up is one binary search, whatever the prefix lengths.
"""

from __future__ import annotations

from bisect import bisect_right
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Network = IPv4Network | IPv6Network
Label = TypeVar("Label")


class Prefixes(Generic[Label]):
    """Labels by network, over both families. A mapping has each network once: who reads a file reports the second."""

    def __init__(self, labels: Mapping[Network, Label]) -> None:
        ordered = sorted(labels.items(), key=lambda item: (int(item[0].network_address), item[0].prefixlen))
        self._v4 = _ranges((item for item in ordered if item[0].version == 4), 4)
        self._v6 = _ranges((item for item in ordered if item[0].version == 6), 16)

    def get(self, octets: bytes) -> Label | None:
        """Return the label of the longest network around an address of 4 or 16 octets, None where there is none."""
        starts, labels = self._v4 if len(octets) == 4 else self._v6
        return labels[bisect_right(starts, octets) - 1]

    def within(self, network: Network) -> set[Label | None]:
        """Return the labels that the addresses of a network have, with None where some of them have none."""
        starts, labels = self._v4 if network.version == 4 else self._v6
        first = bisect_right(starts, network.network_address.packed) - 1
        return set(labels[first : bisect_right(starts, network.broadcast_address.packed)])


def _ranges(ordered: Iterable[tuple[Network, Label]], size: int) -> tuple[list[bytes], list[Label | None]]:
    """Return the start of each range and its label; a network must come after those around it."""
    starts: list[bytes] = [bytes(size)]
    labels: list[Label | None] = [None]
    around: list[tuple[int, Label]] = []
    """The networks that are open, the innermost last: the number after each one's last address, and its label."""

    def begin(number: int, label: Label | None) -> None:
        if number >> 8 * size:
            return  # after the last address of all
        start = number.to_bytes(size, "big")
        if start == starts[-1]:
            labels[-1] = label
        else:
            starts.append(start)
            labels.append(label)

    def close_until(number: int) -> None:
        while around and around[-1][0] <= number:
            end, _label = around.pop()
            begin(end, around[-1][1] if around else None)

    for network, label in ordered:
        first = int(network.network_address)
        close_until(first)
        begin(first, label)
        around.append((int(network.broadcast_address) + 1, label))
    close_until(1 << 8 * size)
    return starts, labels
