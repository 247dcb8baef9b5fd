from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.wire.prefixes import Network, Prefixes

Address = IPv4Address | IPv6Address

NESTED = Prefixes(
    {
        ip_network("10.0.0.0/8"): "inside",
        ip_network("10.1.0.0/16"): "branch",
        ip_network("10.1.0.0/24"): "desk",
        ip_network("10.1.255.0/24"): "lab",
        ip_network("255.255.255.255/32"): "last",
        ip_network("2001:db8::/32"): "v6",
        ip_network("2001:db8:1::/48"): "v6 branch",
    }
)


@pytest.mark.parametrize(
    ("address", "label"),
    [
        ("9.255.255.255", None),
        ("10.0.0.0", "inside"),
        ("10.0.255.255", "inside"),
        ("10.1.0.0", "desk"),
        ("10.1.1.0", "branch"),
        ("10.1.255.255", "lab"),
        ("10.2.0.0", "inside"),
        ("11.0.0.0", None),
        ("255.255.255.254", None),
        ("255.255.255.255", "last"),
        ("::", None),
        ("2001:db8::1", "v6"),
        ("2001:db8:1:ffff::", "v6 branch"),
        ("2001:db8:2::", "v6"),
        ("2001:db9::", None),
    ],
)
def test_the_longest_prefix_decides(address: str, label: str | None) -> None:
    assert NESTED.get(ip_address(address).packed) == label


def test_everything_may_have_a_label() -> None:
    everyone = Prefixes({ip_network("0.0.0.0/0"): 4, ip_network("::/0"): 6})
    assert [everyone.get(bytes(4)), everyone.get(b"\xff" * 4)] == [4, 4]
    assert [everyone.get(bytes(16)), everyone.get(b"\xff" * 16)] == [6, 6]
    assert Prefixes[int]({}).get(bytes(4)) is None


@pytest.mark.parametrize(
    ("network", "labels"),
    [
        ("10.0.0.0/8", {"inside", "branch", "desk", "lab"}),
        ("10.1.0.0/16", {"branch", "desk", "lab"}),
        ("10.1.0.128/25", {"desk"}),
        ("8.0.0.0/6", {None, "inside", "branch", "desk", "lab"}),
        ("172.16.0.0/12", {None}),
        ("255.255.255.254/31", {None, "last"}),
        ("2001:db8::/32", {"v6", "v6 branch"}),
    ],
)
def test_the_labels_within_a_network(network: str, labels: set[str | None]) -> None:
    assert NESTED.within(ip_network(network)) == labels


def _network(number: int, length: int, bits: int) -> Network:
    number = number >> (bits - length) << (bits - length)
    return IPv4Network((number, length)) if bits == 32 else IPv6Network((number, length))


def _networks(bits: int) -> st.SearchStrategy[Network]:
    # Few leading octets, so that networks nest and touch.
    numbers = st.integers(0, 3).map(lambda top: top << (bits - 2)) | st.integers(0, 2**bits - 1)
    return st.builds(_network, numbers, st.integers(0, bits), st.just(bits))


def _longest(networks: list[Network], address: Address) -> Network | None:
    around = [network for network in networks if network.version == address.version and address in network]
    return max(around, key=lambda network: network.prefixlen, default=None)


@given(
    st.lists(_networks(32) | _networks(128), max_size=25),
    st.lists(st.ip_addresses(), max_size=5),
)
def test_it_agrees_with_ipaddress(networks: list[Network], others: list[Address]) -> None:
    prefixes = Prefixes({network: network for network in networks})
    edges = [edge for network in networks for edge in (network.network_address, network.broadcast_address)]
    numbers = [(int(edge) + step, edge.max_prefixlen) for edge in edges for step in (-1, 0, 1)]
    near: list[Address] = [
        IPv4Address(number) if bits == 32 else IPv6Address(number)
        for number, bits in numbers
        if 0 <= number < 1 << bits
    ]
    for address in near + others:
        assert prefixes.get(address.packed) == _longest(networks, address)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(24, 32)), max_size=12), st.integers(0, 255))
def test_the_labels_within_are_those_of_each_address(made: list[tuple[int, int]], number: int) -> None:
    base = int(IPv4Address("192.0.2.0"))
    networks = [IPv4Network((base | last, length), strict=False) for last, length in made]
    prefixes = Prefixes({network: str(network) for network in networks})
    for length in (24, 28, 31):
        around = IPv4Network((base | number, length), strict=False)
        assert prefixes.within(around) == {prefixes.get(address.packed) for address in around}


def test_ten_thousand_networks_side_by_side() -> None:
    prefixes = Prefixes({IPv4Network((number << 12, 20)): number for number in range(1, 10_001)})
    assert prefixes.get((1 << 12 - 1).to_bytes(4, "big")) is None
    for number in range(1, 10_001):
        assert prefixes.get((number << 12).to_bytes(4, "big")) == number
        assert prefixes.get((number << 12 | 0xFFF).to_bytes(4, "big")) == number
    assert prefixes.get((10_001 << 12).to_bytes(4, "big")) is None
