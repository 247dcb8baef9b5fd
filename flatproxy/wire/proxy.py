"""The PROXY protocol, version 2: the binary header that tells the next server who the client is.

Written for UDP and TCP alike, one header before each datagram or at the start of a connection (proxy-protocol.txt of
HAProxy, section 2.2). No DNS message begins like its signature: read as a header it has opcode 1 and QDCOUNT 3338.
"""

from __future__ import annotations

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
_MAPPED = bytes(10) + b"\xff\xff"
_UNSPECIFIED = bytes(4)

LOCAL: Final = _HEAD.pack(SIGNATURE, _LOCAL, 0, 0)
"""The header of a connection or datagram of our own, such as a probe."""


def header(client: bytes, server: bytes, *, udp: bool) -> bytes:
    """Return the header for a client that asked a server: each the octets of its host, and two of its port.

    A client that a trusted header named may be of another family than the address on which that header came. One
    header has one family, and the client's is what counts: the server's address is then mapped, or unspecified.
    """
    source, destination = client[:-2], server[:-2]
    if len(source) != len(destination):
        destination = _MAPPED + destination if len(source) == 16 else _UNSPECIFIED
    addresses = source + destination + client[-2:] + server[-2:]
    family = (_INET if len(source) == 4 else _INET6) | (_UDP if udp else _TCP)
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


def parse(octets: bytes) -> tuple[bytes | None, int]:
    """Return the client (None for a connection of the proxy's own) and where the message begins.

    The client is as `header` takes it. Raises `WireError` where the header is cut, or of a kind that carries no
    addresses.
    """
    end = length(octets)
    if len(octets) < end:
        raise WireError("PROXY header cut")
    command, family = octets[12], octets[13] & 0xF0
    if command == _LOCAL:
        return None, end
    size = {_INET: 4, _INET6: 16}.get(family, 0)
    ports = FIXED + 2 * size
    if command != _PROXY or not size or end < ports + 4:
        raise WireError(f"PROXY header with command {command} and family {family} has no client")
    return octets[FIXED : FIXED + size] + octets[ports : ports + 2], end
