"""The OPT record (RFC 6891 section 6.1) of a query that is to be answered here, and the one that goes back."""

from __future__ import annotations

from flatproxy.wire.peek import OPT_AT_ROOT

PLAIN_UDP_SIZE = 512
MAX_UDP_SIZE = 1232
MAX_TCP_SIZE = 65535

EDE_STALE = 3
EDE_NO_REACHABLE_AUTHORITY = 22
EDE_NETWORK_ERROR = 23

_OPTION_COOKIE = 10
_OPTION_EDE = 15
_DO = 0x80
_BADVERS = 1  # the upper eight bits of 16


def is_whole(message: bytes, end: int) -> bool:
    """Tell whether the octets after the question are nothing, or one well-formed OPT record and no more.

    Cookies of impossible length (RFC 7873 section 4) count as malformed: the nameserver is to speak for itself.
    """
    if message[6:10] != b"\0\0\0\0":
        return False
    if message[10:12] == b"\0\0":
        return len(message) == end
    if message[10:12] != b"\0\1" or message[end : end + 3] != OPT_AT_ROOT:
        return False
    options = end + 11
    if len(message) < options or len(message) != options + (message[end + 9] << 8 | message[end + 10]):
        return False
    return options == len(message) or _options_are_whole(message, options)


def _options_are_whole(message: bytes, offset: int) -> bool:
    while offset + 4 <= len(message):
        code = message[offset] << 8 | message[offset + 1]
        length = message[offset + 2] << 8 | message[offset + 3]
        if code == _OPTION_COOKIE and length != 8 and not 16 <= length <= 40:
            return False
        offset += 4 + length
    return offset == len(message)


def wants_dnssec(message: bytes, end: int) -> bool:
    """Tell whether a query that `is_whole` has the DO bit (RFC 3225)."""
    return len(message) > end and bool(message[end + 7] & _DO)


def version(message: bytes, end: int) -> int:
    """Return the EDNS version of a query that `is_whole`, 0 where it has no OPT record."""
    return message[end + 6] if len(message) > end else 0


def udp_limit(message: bytes, end: int) -> int:
    """Return the octets that a UDP answer to a query that `is_whole` may have."""
    if len(message) == end:
        return PLAIN_UDP_SIZE
    size = message[end + 3] << 8 | message[end + 4]
    return min(max(size, PLAIN_UDP_SIZE), MAX_UDP_SIZE)


def error_option(code: int, text: str = "") -> bytes:
    """Return the extended DNS error option (RFC 8914 section 2)."""
    content = code.to_bytes(2, "big") + text.encode()
    return _OPTION_EDE.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content


def opt_record(*, dnssec_ok: bool, options: bytes = b"", bad_version: bool = False) -> bytes:
    """Return an OPT record of version 0."""
    return (
        OPT_AT_ROOT
        + MAX_UDP_SIZE.to_bytes(2, "big")
        + bytes((_BADVERS if bad_version else 0, 0, _DO if dnssec_ok else 0, 0))
        + len(options).to_bytes(2, "big")
        + options
    )
