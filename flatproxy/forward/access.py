"""Client networks: is this address in the list? Nothing here knows what the list is for."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network, IPv6Network

MEMO_SIZE = 65_536


class Networks:
    """A set of networks. A look-up costs one dictionary get for an address that was seen before."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._prefixes: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            self._prefixes.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)
        self.known: dict[str, bool] = {}
        """The addresses seen before, for who looks one up for each packet."""
        self.everyone = (4, 32) in self._prefixes and (6, 128) in self._prefixes

    def __bool__(self) -> bool:
        return bool(self._prefixes)

    def __contains__(self, host: str) -> bool:
        known = self.known.get(host)
        if known is None:
            if len(self.known) >= MEMO_SIZE:
                self.known.clear()
            known = self.known[host] = self._look_up(host)
        return known

    def _look_up(self, host: str) -> bool:
        address = ip_address(host.partition("%")[0])
        number = int(address)
        return any(
            number >> shift in prefixes
            for (version, shift), prefixes in self._prefixes.items()
            if version == address.version
        )
