"""Addresses that no public name should have, as the IANA registries list them; and what an owner allows beside that.

The table is our own: Python's `ipaddress` knows another set of networks in each of its versions.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from attrs import frozen

from flatproxy.wire.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flatproxy.wire.prefixes import Network

_REACHABLE: Final = ""
_NETWORKS: Final = {
    # IANA IPv4 Special-Purpose Address Registry (RFC 6890): what is not globally reachable, and what is, inside of
    # that. An entry for which the registry says "N/A" (6to4, Teredo, ORCHID) counts as not reachable.
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by carriers",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol assignments",
    "192.0.0.9/32": _REACHABLE,  # Port Control Protocol anycast
    "192.0.0.10/32": _REACHABLE,  # TURN anycast
    "192.0.2.0/24": "documentation",
    "192.88.99.0/24": "6to4 relays",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "240.0.0.0/4": "reserved",
    "255.255.255.255/32": "broadcast",
    "224.0.0.0/4": "multicast",  # RFC 5771
    # IANA IPv6 Special-Purpose Address Registry, likewise; the youngest entry is that of RFC 9780 (2025).
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::ffff:0:0/96": "IPv4-mapped",
    "64:ff9b:1::/48": "local translation",
    "100::/64": "discard",
    "100:0:0:1::/64": "dummy",
    "2001::/23": "protocol assignments",
    "2001::/32": "Teredo",
    "2001:1::1/128": _REACHABLE,  # Port Control Protocol anycast
    "2001:1::2/128": _REACHABLE,  # TURN anycast
    "2001:1::3/128": _REACHABLE,  # DNS-SD service registration anycast
    "2001:2::/48": "benchmarking",
    "2001:3::/32": _REACHABLE,  # AMT
    "2001:4:112::/48": _REACHABLE,  # AS112
    "2001:10::/28": "ORCHID",
    "2001:20::/28": _REACHABLE,  # ORCHIDv2
    "2001:30::/28": _REACHABLE,  # drone remote ID
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4",
    "3fff::/20": "documentation",
    "5f00::/16": "segment routing",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "ff00::/8": "multicast",  # RFC 4291 section 2.7
}
_SPECIAL: Final[Prefixes[str]] = Prefixes(
    {ip_network(text): f"{text} ({name})" if name else _REACHABLE for text, name in _NETWORKS.items()}
)
_TRANSLATED: Final = ip_network("64:ff9b::/96").network_address.packed[:12]


def special_network(octets: bytes) -> str | None:
    """Return the special network that an address is in, as `10.0.0.0/8 (private)`; None where it is in none.

    `octets` are the rdata of an A or AAAA record. An address for translation (RFC 6052) is what it is translated to.
    """
    if octets[:12] == _TRANSLATED:
        octets = octets[12:]
    return _SPECIAL.get(octets) or None


@frozen(kw_only=True)
class Guard:
    """Which addresses a target may have. `allow`: the networks that they must be in, None where any will do."""

    special: bool = False
    """Whether addresses of special networks are let through."""
    allow: Prefixes[bool] | None = None

    @classmethod
    def of(cls, *, special: bool, allow: Iterable[Network]) -> Guard:
        """Return the guard for what a configuration says; no network in `allow` means all."""
        labels: dict[Network, bool] = dict.fromkeys(allow, True)
        return cls(special=special, allow=Prefixes(labels) if labels else None)

    def refusal(self, octets: bytes) -> str | None:
        """Return why an address is refused, to stand after "because it is"; None where it may pass."""
        if self.allow is not None and self.allow.get(octets) is None:
            return "outside allow"
        network = None if self.special else special_network(octets)
        return None if network is None else f"in {network}"

    def sift(self, rdatas: Sequence[bytes]) -> tuple[tuple[bytes, ...], dict[bytes, str]]:
        """Return the addresses that pass, in their order, and why the others do not."""
        refused = {rdata: why for rdata in rdatas if (why := self.refusal(rdata)) is not None}
        return tuple(rdata for rdata in rdatas if rdata not in refused), refused
