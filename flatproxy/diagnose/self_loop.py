"""Whether a server is flatproxy itself, as far as addresses tell."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flatproxy.config.settings import Endpoint


def own_endpoint(server: Endpoint, listening: Iterable[Endpoint], is_own: Callable[[str], bool]) -> Endpoint | None:
    """Return the listen address at which a query to this server arrives, None where it goes elsewhere.

    `is_own` tells whether this machine has an address. Port forwarding and address translation are not seen.
    """
    to = ip_address(server.host)
    for own in listening:
        if own.port != server.port or not own.port:
            continue
        at = ip_address(own.host)
        if at == to or (at.is_unspecified and at.version == to.version and is_own(server.host)):
            return own
    return None
