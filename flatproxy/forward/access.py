"""Client networks: is this host in the list? Nothing here knows what the list is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatproxy.wire.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.wire.prefixes import Network


class Networks:
    """A set of networks."""

    def __init__(self, networks: Iterable[Network]) -> None:
        labels = dict.fromkeys(networks, True)
        self._prefixes = Prefixes(labels)
        self._any = bool(labels)

    def __bool__(self) -> bool:
        return self._any

    def __contains__(self, host: bytes) -> bool:
        return self._prefixes.get(host) is not None
