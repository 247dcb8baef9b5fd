from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.wire.special import Guard, special_network


def octets(text: str) -> bytes:
    return ip_address(text).packed


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("0.0.0.0", "0.0.0.0/8 (this network)"),
        ("10.255.255.255", "10.0.0.0/8 (private)"),
        ("100.64.0.0", "100.64.0.0/10 (shared by carriers)"),
        ("100.127.255.255", "100.64.0.0/10 (shared by carriers)"),
        ("127.0.0.1", "127.0.0.0/8 (loopback)"),
        ("169.254.169.254", "169.254.0.0/16 (link-local)"),
        ("172.31.255.255", "172.16.0.0/12 (private)"),
        ("192.0.0.8", "192.0.0.0/24 (protocol assignments)"),
        ("192.0.0.170", "192.0.0.0/24 (protocol assignments)"),
        ("192.0.2.1", "192.0.2.0/24 (documentation)"),
        ("192.88.99.1", "192.88.99.0/24 (6to4 relays)"),
        ("192.168.1.1", "192.168.0.0/16 (private)"),
        ("198.19.255.255", "198.18.0.0/15 (benchmarking)"),
        ("198.51.100.7", "198.51.100.0/24 (documentation)"),
        ("203.0.113.9", "203.0.113.0/24 (documentation)"),
        ("224.0.0.1", "224.0.0.0/4 (multicast)"),
        ("239.255.255.255", "224.0.0.0/4 (multicast)"),
        ("240.0.0.1", "240.0.0.0/4 (reserved)"),
        ("255.255.255.255", "255.255.255.255/32 (broadcast)"),
        ("::", "::/128 (unspecified)"),
        ("::1", "::1/128 (loopback)"),
        ("::ffff:8.8.8.8", "::ffff:0:0/96 (IPv4-mapped)"),
        ("64:ff9b::10.0.0.1", "10.0.0.0/8 (private)"),
        ("64:ff9b:1::1", "64:ff9b:1::/48 (local translation)"),
        ("100::1", "100::/64 (discard)"),
        ("100:0:0:1::1", "100:0:0:1::/64 (dummy)"),
        ("2001::1", "2001::/32 (Teredo)"),
        ("2001:1::4", "2001::/23 (protocol assignments)"),
        ("2001:2::1", "2001:2::/48 (benchmarking)"),
        ("2001:10::1", "2001:10::/28 (ORCHID)"),
        ("2001:db8::1", "2001:db8::/32 (documentation)"),
        ("2002:a00:1::", "2002::/16 (6to4)"),
        ("3fff:fff::1", "3fff::/20 (documentation)"),
        ("5f00::1", "5f00::/16 (segment routing)"),
        ("fd00::1", "fc00::/7 (private)"),
        ("fe80::1", "fe80::/10 (link-local)"),
        ("ff0e::1", "ff00::/8 (multicast)"),
    ],
)
def test_special_networks(address: str, network: str) -> None:
    assert special_network(octets(address)) == network


@pytest.mark.parametrize(
    "address",
    [
        "1.0.0.0",
        "8.8.8.8",
        "9.255.255.255",
        "100.63.255.255",
        "100.128.0.0",
        "172.32.0.0",
        "192.0.0.9",
        "192.0.0.10",
        "192.0.1.0",
        "192.31.196.1",
        "192.175.48.1",
        "198.17.255.255",
        "223.255.255.255",
        "::2",
        "64:ff9b::8.8.8.8",
        "64:ff9b:2::1",
        "100:0:0:2::",
        "2001:1::1",
        "2001:1::2",
        "2001:1::3",
        "2001:3::1",
        "2001:4:112::1",
        "2001:20::1",
        "2001:30::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2620:4f:8000::1",
        "2a00::1",
        "3fff:1000::",
    ],
)
def test_reachable_addresses(address: str) -> None:
    assert special_network(octets(address)) is None


@given(st.ip_addresses())
def test_a_network_named_is_a_network_around(address: object) -> None:
    there = ip_address(str(address))
    named = special_network(there.packed)
    if named is not None and there not in ip_network("64:ff9b::/96"):
        assert there in ip_network(named.split(" ")[0])


def test_the_guard_refuses_special_addresses_and_says_which_network() -> None:
    guard = Guard.of(special=False, allow=[])
    good, bad = octets("8.8.8.8"), octets("10.0.0.1")
    assert guard.sift([bad, good]) == ((good,), {bad: "in 10.0.0.0/8 (private)"})
    assert Guard.of(special=True, allow=[]).sift([bad, good]) == ((bad, good), {})


def test_every_address_must_be_in_an_allowed_network_where_there_is_one() -> None:
    guard = Guard.of(special=True, allow=[ip_network("10.0.0.0/8"), ip_network("8.0.0.0/7")])
    assert guard.refusal(octets("10.0.0.1")) is None
    assert guard.refusal(octets("9.9.9.9")) is None
    assert guard.refusal(octets("11.0.0.1")) == "outside allow"
    assert guard.refusal(octets("2a00::1")) == "outside allow"


def test_an_allowed_network_does_not_make_a_special_address_good() -> None:
    guard = Guard.of(special=False, allow=[ip_network("10.0.0.0/8")])
    assert guard.refusal(octets("10.0.0.1")) == "in 10.0.0.0/8 (private)"
