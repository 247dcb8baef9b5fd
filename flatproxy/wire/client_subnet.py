"""The EDNS client subnet option (RFC 7871): read, checked, shortened and written. It knows no policy and keeps nothing.

In an option the address has as many octets as the prefix needs, and no bit is set beyond the prefix (section 6).
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from attrs import frozen

from flatproxy.errors import WireError

OPTION: Final = 8
NO_FAMILY: Final = 0
"""Written by some clients where they want no tailoring: it has no prefix."""
V4: Final = 1
V6: Final = 2
_MAX_BITS: Final = {NO_FAMILY: 0, V4: 32, V6: 128}


@frozen
class Subnet:
    """A network as the option has it: address family, prefix length in bits, and as many octets as that takes."""

    family: int
    bits: int
    octets: bytes

    @classmethod
    def of(cls, address: bytes, bits: int) -> Subnet:
        """Return the network of so many bits, or as many as there are, around an address of 4 or 16 octets."""
        whole = 8 * len(address)
        return cls(V4 if len(address) == 4 else V6, whole, address).shortened(bits)

    def __str__(self) -> str:
        size = 4 if self.family == V4 else 16
        return f"{ip_address(self.octets.ljust(size, bytes(1)))}/{self.bits}"

    def shortened(self, bits: int) -> Subnet:
        """Return the network of so many bits around this one, itself where it is no longer than that."""
        if bits >= self.bits:
            return self
        octets = bytearray(self.octets[: (bits + 7) // 8])
        if bits % 8:
            octets[-1] &= 0xFF00 >> bits % 8
        return Subnet(self.family, bits, bytes(octets))

    def option(self, scope: int = 0) -> bytes:
        """Return the option, code and length included; `scope` is for replies."""
        data = self.family.to_bytes(2, "big") + bytes((self.bits, scope)) + self.octets
        return OPTION.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def option_in(message: bytes, end: int) -> bytes | None:
    """Return what the option holds in a query that `edns.is_whole`, None where there is none.

    Raises `WireError` where there are two.
    """
    offset, found = end + 11, None
    while offset + 4 <= len(message):
        start = offset + 4
        stop = start + (message[offset + 2] << 8 | message[offset + 3])
        if message[offset] << 8 | message[offset + 1] == OPTION:
            if found is not None:
                raise WireError("two client subnets")
            found = message[start:stop]
        offset = stop
    return found


def read_option(data: bytes) -> tuple[Subnet, int]:
    """Return network and scope; raises `WireError` where the option is malformed (RFC 7871 section 6)."""
    if len(data) < 4:
        raise WireError("client subnet cut")
    family, bits, scope, octets = data[0] << 8 | data[1], data[2], data[3], data[4:]
    most = _MAX_BITS.get(family)
    if most is None:
        raise WireError(f"client subnet of unknown family {family}")
    if bits > most or scope > most:
        raise WireError(f"client subnet of more than {most} bits")
    if len(octets) != (bits + 7) // 8:
        raise WireError(f"client subnet of {bits} bits in {len(octets)} octets")
    if bits % 8 and octets[-1] & 0xFF >> bits % 8:
        raise WireError(f"client subnet with bits beyond its {bits}")
    return Subnet(family, bits, octets), scope


def asked(message: bytes, end: int) -> Subnet | None:
    """Return the network in a query that `edns.is_whole`, None where it has none.

    Raises `WireError` where the reply is FORMERR; a query has scope 0.
    """
    data = option_in(message, end)
    if data is None:
        return None
    subnet, scope = read_option(data)
    if scope:
        raise WireError("client subnet with a scope in a query")
    return subnet


def scope_of(data: bytes | None, sent: Subnet) -> int:
    """Return for how many bits of `sent` a resolver's reply holds, by the option in it; 0 where it has none.

    A scope longer than what was sent counts as what was sent. Raises `WireError` where the reply speaks of another
    network: it is no answer to the query then (RFC 7871 section 7.3).
    """
    if data is None:
        return 0
    subnet, scope = read_option(data)
    if subnet != sent:
        raise WireError("reply for another client subnet")
    return min(scope, sent.bits)


def to_send(own: Subnet | None, client: bytes | None, v4_bits: int, v6_bits: int) -> Subnet | None:
    """Return the network to ask a resolver with, None where the answer is not to be tailored.

    `own` is what the query carried, `client` the address that stands in where it carried none, if one may. Nothing
    longer than `v4_bits` or `v6_bits` is sent, nor anything longer than the query's own.
    """
    if own is None and client is not None:
        own = Subnet.of(client, 8 * len(client))
    if own is None:
        return None
    short = own.shortened(v4_bits if own.family == V4 else v6_bits)
    return short if short.bits else None
