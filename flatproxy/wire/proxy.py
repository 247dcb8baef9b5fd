"""The PROXY protocol, version 2: the binary header that tells the next server who the client is.

Written for UDP and TCP alike, one header before each datagram or at the start of a connection (proxy-protocol.txt of
HAProxy, section 2.2). No DNS message begins like its signature: read as a header it has opcode 1 and QDCOUNT 3338.
"""

from __future__ import annotations

from ipaddress import ip_address
from struct import Struct, error
from typing import Final

from flatproxy.errors import WireError

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
FIXED: Final = 16
"""Octets of the part that says how long the rest is."""

_VERSION = 0x20
_LOCAL = _VERSION | 0
_PROXY = _VERSION | 1
_TCP = 1
_UDP = 2
_INET = 1 << 4
_INET6 = 2 << 4
_HEAD = Struct("!12sBBH")
_PORTS = Struct("!HH")

LOCAL: Final = _HEAD.pack(SIGNATURE, _LOCAL, 0, 0)
"""The header of a connection or datagram of our own, such as a probe."""


def header(client: tuple[str, int], server: tuple[str, int], *, udp: bool) -> bytes:
    """Return the header for a client (host, port) that asked a server (host, port).

    A client that a trusted header named may be of another family than the address on which that header came. One
    header has one family, and the client's is what counts: the server's address is then mapped, or unspecified.
    """
    source, destination = ip_address(client[0].partition("%")[0]), ip_address(server[0].partition("%")[0])
    if source.version != destination.version:
        destination = ip_address(f"::ffff:{destination}" if source.version == 6 else "0.0.0.0")  # noqa: S104 - unknown
    addresses = source.packed + destination.packed + _PORTS.pack(client[1], server[1])
    family = (_INET if source.version == 4 else _INET6) | (_UDP if udp else _TCP)
    return _HEAD.pack(SIGNATURE, _PROXY, family, len(addresses)) + addresses


def length(octets: bytes) -> int:
    """Return how long the header at the start of these octets, `FIXED` or more, is; `WireError` where it is none."""
    try:
        signature, version, _family, rest = _HEAD.unpack_from(octets)
    except error:
        raise WireError("PROXY header cut") from None
    if signature != SIGNATURE or version & 0xF0 != _VERSION:
        raise WireError("no PROXY header of version 2")
    return FIXED + int(rest)


def parse(octets: bytes) -> tuple[tuple[str, int] | None, int]:
    """Return the client's host and port (None for a connection of the proxy's own) and where the message begins.

    Raises `WireError` where the header is cut, or of a kind that carries no addresses.
    """
    end = length(octets)
    if len(octets) < end:
        raise WireError("PROXY header cut")
    command, family = octets[12], octets[13] & 0xF0
    if command == _LOCAL:
        return None, end
    size = {_INET: 4, _INET6: 16}.get(family, 0)
    if command != _PROXY or not size or end < FIXED + 2 * size + _PORTS.size:
        raise WireError(f"PROXY header with command {command} and family {family} has no client")
    port, _asked = _PORTS.unpack_from(octets, FIXED + 2 * size)
    return (str(ip_address(octets[FIXED : FIXED + size])), port), end
