"""PROXY protocol headers, version 2, written without flatproxy's own code."""

from __future__ import annotations

import ipaddress
import struct
from typing import Final

SIGNATURE: Final = bytes.fromhex("0d0a0d0a000d0a515549540a")
LOCAL: Final = SIGNATURE + b"\x20\0\0\0"


def header(source: str, port: int = 4242, *, tcp: bool = False, fields: bytes = b"") -> bytes:
    """Say that `source` asked; `fields` are type-length-value fields behind the addresses."""
    address = ipaddress.ip_address(source)
    to = ipaddress.ip_address("192.0.2.53" if address.version == 4 else "2001:db8::53")
    family = (0x10 if address.version == 4 else 0x20) | (1 if tcp else 2)
    rest = address.packed + to.packed + struct.pack("!HH", port, 53) + fields
    return SIGNATURE + bytes((0x21, family)) + struct.pack("!H", len(rest)) + rest
