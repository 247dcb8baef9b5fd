"""PROXY protocol headers, written and read, against octets laid out by hand."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from flatproxy.errors import WireError
from flatproxy.wire import proxy


def _at(host: str, port: int) -> bytes:
    return ip_address(host).packed + port.to_bytes(2, "big")


_SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
_V4 = bytes.fromhex("c0000201 c6336407 1068 0035")
_V6 = bytes.fromhex("20010db8000000000000000000000001 20010db8000000000000000000000053 1068 0035")


def _head(version_and_command: int, family: int, length: int) -> bytes:
    return _SIGNATURE + bytes((version_and_command, family)) + length.to_bytes(2, "big")


@pytest.mark.parametrize(
    ("client", "server", "udp", "expected"),
    [
        (_at("192.0.2.1", 4200), _at("198.51.100.7", 53), True, _head(0x21, 0x12, 12) + _V4),
        (_at("192.0.2.1", 4200), _at("198.51.100.7", 53), False, _head(0x21, 0x11, 12) + _V4),
        (_at("2001:db8::1", 4200), _at("2001:db8::53", 53), True, _head(0x21, 0x22, 36) + _V6),
        (_at("2001:db8::1", 4200), _at("2001:db8::53", 53), False, _head(0x21, 0x21, 36) + _V6),
    ],
)
def test_what_is_written(client: bytes, server: bytes, *, udp: bool, expected: bytes) -> None:
    made = proxy.header(client, server, udp=udp)
    assert made == expected
    assert proxy.length(made) == len(made)
    assert proxy.parse(made + b"message") == (client, len(made))


@pytest.mark.parametrize(
    ("client", "server", "family", "told"),
    [
        ("2001:db8::1", "192.0.2.53", 0x22, "00000000000000000000ffffc0000235"),
        ("192.0.2.1", "2001:db8::53", 0x12, "00000000"),
    ],
)
def test_a_client_behind_a_proxy_of_the_other_family(client: str, server: str, family: int, told: str) -> None:
    """A header has one family, the client's: the server's address is written within it, or as unknown."""
    made = proxy.header(_at(client, 4200), _at(server, 53), udp=True)
    assert made[13] == family
    size = len(bytes.fromhex(told))
    assert made[16 + size : 16 + 2 * size].hex() == told
    assert len(made) == 16 + 2 * size + 4
    assert proxy.parse(made) == (_at(client, 4200), len(made))


def test_local_carries_nobody() -> None:
    assert _head(0x20, 0, 0) == proxy.LOCAL
    assert proxy.parse(proxy.LOCAL + b"message") == (None, 16)
    assert proxy.parse(_head(0x20, 0x11, 12) + _V4 + b"message") == (None, 28), "what it carries is skipped"


def test_further_fields_are_skipped() -> None:
    """Type-length-value fields stand behind the addresses."""
    fields = bytes.fromhex("03 0004 deadbeef")
    made = _head(0x21, 0x12, 12 + len(fields)) + _V4 + fields
    assert proxy.parse(made + b"message") == (_at("192.0.2.1", 4200), len(made))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"PROXY UDP4 192.0.2.1 198.51.100.7 4200 53\r\n",
        _head(0x11, 0x12, 12) + _V4,
        _head(0x31, 0x12, 12) + _V4,
        _head(0x22, 0x12, 12) + _V4,
        _head(0x21, 0x00, 12) + _V4,
        _head(0x21, 0x32, 12) + _V4,
        _head(0x21, 0x12, 11) + _V4[:11],
        _head(0x21, 0x22, 12) + _V4,
        _head(0x21, 0x12, 13) + _V4,
        b"\0" + _head(0x21, 0x12, 12)[1:] + _V4,
    ],
    ids=[
        "nothing",
        "version 1",
        "version 1 in binary",
        "version 3",
        "unknown command",
        "unspecified family",
        "a path",
        "too short for IPv4",
        "too short for IPv6",
        "cut",
        "another signature",
    ],
)
def test_what_is_no_header(octets: bytes) -> None:
    with pytest.raises(WireError):
        proxy.parse(octets)


def test_every_cut() -> None:
    made = proxy.header(_at("192.0.2.1", 4200), _at("198.51.100.7", 53), udp=True)
    for size in range(len(made)):
        with pytest.raises(WireError):
            proxy.parse(made[:size])
