"""Client networks: is this host in the list? Nothing here knows what the list is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatproxy.wire.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.wire.prefixes import Network

KNOWN_HOSTS = 131_072


class Networks:
    """A set of networks. A look-up costs one dictionary get for an address that was seen before."""

    def __init__(self, networks: Iterable[Network]) -> None:
        labels = dict.fromkeys(networks, True)
        self._prefixes = Prefixes(labels)
        self._any = bool(labels)
        self.known: dict[bytes, bool] = {}
        """The hosts seen before, for who looks one up for each packet."""
        self.everyone = {each.version for each in labels if not each.prefixlen} == {4, 6}

    def __bool__(self) -> bool:
        return self._any

    def __contains__(self, host: bytes) -> bool:
        known = self.known.get(host)
        if known is None:
            if len(self.known) >= KNOWN_HOSTS:
                self.known.clear()
            known = self.known[host] = self._prefixes.get(host) is not None
        return known
