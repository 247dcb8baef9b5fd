"""Names between their wire form and their text. Nothing here knows what a name is used for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import dns.exception
import dns.name

from flatproxy.errors import WireError
from flatproxy.wire.peek import MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Container

ROOT = b"\0"
_PLAIN = re.compile(rb"[A-Za-z0-9_.-]+")
_LONGEST_LABEL = 63


def to_name(wire: bytes) -> dns.name.Name:
    """Return the name of an uncompressed wire form; `WireError` where it is not one."""
    try:
        name, used = dns.name.from_wire(wire, 0)
    except dns.exception.DNSException as error:
        raise WireError(f"not a name: {error}") from None
    if used != len(wire):
        raise WireError("octets after the name")
    return name


def to_text(wire: bytes) -> str:
    """Return the text of a wire form, without the final dot but for the root; `WireError` where it is not one."""
    labels, at = [], 0
    while at < len(wire) <= MAX_NAME and 0 < (length := wire[at]) <= _LONGEST_LABEL:
        labels.append(wire[at + 1 : at + 1 + length])
        at += length + 1
    text = b".".join(labels)
    # Nearly every name needs no escapes, and dnspython takes many times as long.
    if wire[at:] == ROOT and _PLAIN.fullmatch(text) and text.count(b".") == len(labels) - 1:
        return text.decode("ascii")
    return to_name(wire).to_text(omit_final_dot=wire != ROOT)


def to_wire(name: dns.name.Name) -> bytes:
    """Return the wire form in lower case, the form in which names are compared (RFC 4343 section 3)."""
    return name.canonicalize().to_wire() or ROOT


def enclosing(name: bytes, known: Container[bytes]) -> bytes | None:
    """Return the longest suffix of a name, itself included, that is `known`; None where none is. Called for packets."""
    while name not in known:
        if name == ROOT:
            return None
        name = name[name[0] + 1 :]
    return name


def parent(name: bytes) -> bytes:
    """Return the name without its first label. The root has no parent."""
    return name[name[0] + 1 :]
