"""Client networks: is this host in the list? Nothing here knows what the list is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network, IPv6Network

KNOWN_HOSTS = 131_072


class Networks:
    """A set of networks. A look-up costs one dictionary get for an address that was seen before."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._prefixes: dict[int, dict[int, set[int]]] = {4: {}, 16: {}}
        """By the octets of an address, by how many bits are left out."""
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            prefixes = self._prefixes[network.max_prefixlen // 8]
            prefixes.setdefault(shift, set()).add(int(network.network_address) >> shift)
        self.known: dict[bytes, bool] = {}
        """The hosts seen before, for who looks one up for each packet."""
        self.everyone = 32 in self._prefixes[4] and 128 in self._prefixes[16]

    def __bool__(self) -> bool:
        return any(self._prefixes.values())

    def __contains__(self, host: bytes) -> bool:
        known = self.known.get(host)
        if known is None:
            if len(self.known) >= KNOWN_HOSTS:
                self.known.clear()
            known = self.known[host] = self._look_up(host)
        return known

    def _look_up(self, host: bytes) -> bool:
        number = int.from_bytes(host, "big")
        for shift, prefixes in self._prefixes[len(host)].items():  # noqa: SIM110 - `any` would take twice as long
            if number >> shift in prefixes:
                return True
        return False
