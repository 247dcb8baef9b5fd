"""Client networks: is this address in the list? Nothing here knows what the list is for.

A host is its address's 4 or 16 octets everywhere on the road: that is what the kernel gives.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from flatproxy.wire.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.wire.prefixes import Network

MEMO_SIZE = 131_072
EVERYONE = {IPv4Network("0.0.0.0/0"), IPv6Network("::/0")}


def octets_of(host: str) -> bytes:
    """Return the octets of an address in text form."""
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return socket.inet_aton(host)


class Networks:
    """A set of networks. A look-up costs one dictionary get for an address that was seen before."""

    def __init__(self, networks: Iterable[Network]) -> None:
        labels = dict.fromkeys(networks, True)
        self._prefixes = Prefixes(labels)
        self._any = bool(labels)
        self.known: dict[bytes, bool] = {}
        """The hosts seen before, for who looks one up for each packet."""
        self.everyone = labels.keys() >= EVERYONE

    def __bool__(self) -> bool:
        return self._any

    def __contains__(self, host: bytes) -> bool:
        known = self.known.get(host)
        if known is None:
            if len(self.known) >= MEMO_SIZE:
                self.known.clear()
            known = self.known[host] = self._prefixes.get(host) is not None
        return known
