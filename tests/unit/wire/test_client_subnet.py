from __future__ import annotations

from ipaddress import ip_address, ip_network

import dns.edns
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.errors import WireError
from flatproxy.wire import edns
from flatproxy.wire.client_subnet import Subnet, asked, option_in, read_option, scope_of, to_send
from tests.unit.wire.messages import end_of, query

V4_24 = Subnet(1, 24, b"\xc6\x33\x64")
V6_56 = Subnet(2, 56, b"\x20\1\x0d\xb8\0\1\2")


def _query(*options: bytes) -> bytes:
    return query(use_edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType.ECS, data) for data in options])


@pytest.mark.parametrize(
    ("text", "bits", "subnet"),
    [
        ("198.51.100.7", 24, V4_24),
        ("198.51.100.0", 32, Subnet(1, 32, b"\xc6\x33\x64\0")),
        ("198.51.100.255", 25, Subnet(1, 25, b"\xc6\x33\x64\x80")),
        ("2001:db8:1:2ff::1", 56, V6_56),
        ("198.51.100.7", 0, Subnet(1, 0, b"")),
    ],
)
def test_what_dnspython_writes_is_read(text: str, bits: int, subnet: Subnet) -> None:
    message = query(use_edns=0, options=[dns.edns.ECSOption(text, bits)])
    assert asked(message, end_of(message)) == subnet


def test_a_query_without_the_option_has_no_subnet() -> None:
    for message in (
        query(),
        query(use_edns=0),
        query(use_edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, bytes(8))]),
    ):
        assert asked(message, end_of(message)) is None


def test_family_0_with_nothing_behind_it_asks_for_no_tailoring() -> None:
    message = _query(bytes(4))
    assert asked(message, end_of(message)) == Subnet(0, 0, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\1\x18",
        b"\0\3\x18\0\xc6\x33\x64",  # a family that nobody knows
        b"\0\0\x08\0\xc6",  # no family, and yet a prefix
        b"\0\1\x21\0\xc6\x33\x64\1\0",  # 33 bits
        b"\0\2\x81\0" + bytes(17),  # 129 bits
        b"\0\1\x18\0\xc6\x33",  # too few octets
        b"\0\1\x18\0\xc6\x33\x64\0",  # too many
        b"\0\1\0\0\0",
        b"\0\1\x17\0\xc6\x33\x65",  # the 24th bit is set
        b"\0\1\x19\0\xc6\x33\x64\x81",
        b"\0\1\x18\x18\xc6\x33\x64",  # a scope in a query
    ],
)
def test_malformed_options_are_refused(data: bytes) -> None:
    message = _query(data)
    assert edns.is_whole(message, end_of(message))
    with pytest.raises(WireError):
        asked(message, end_of(message))


def test_two_options_are_malformed() -> None:
    message = _query(V4_24.option()[4:], V4_24.option()[4:])
    with pytest.raises(WireError):
        option_in(message, end_of(message))


@given(st.binary(max_size=24))
def test_what_is_read_is_written_back_octet_for_octet(data: bytes) -> None:
    try:
        subnet, scope = read_option(data)
    except WireError:
        return
    assert subnet.option(scope)[4:] == data


@given(st.ip_addresses(), st.integers(0, 128), st.integers(0, 128))
def test_shortening_agrees_with_ipaddress(address: object, first: int, second: int) -> None:
    there = ip_address(str(address))
    bits = min(first, second, there.max_prefixlen)
    subnet = Subnet.of(there.packed, first).shortened(second)
    network = ip_network((there, bits), strict=False)
    assert subnet.bits == bits
    assert subnet.octets == network.network_address.packed[: (bits + 7) // 8]
    assert read_option(subnet.option()[4:]) == (subnet, 0)


@pytest.mark.parametrize(("said", "scope"), [(0, 0), (16, 16), (24, 24), (32, 24)])
def test_a_scope_counts_up_to_what_was_sent(said: int, scope: int) -> None:
    assert scope_of(V4_24.option(said)[4:], V4_24) == scope


def test_a_reply_without_the_option_holds_for_all() -> None:
    assert scope_of(None, V4_24) == 0


@pytest.mark.parametrize("other", [V4_24.shortened(23), Subnet(1, 24, b"\xc6\x33\x65"), V6_56])
def test_a_reply_for_another_subnet_is_none(other: Subnet) -> None:
    with pytest.raises(WireError):
        scope_of(other.option(24)[4:], V4_24)


CLIENT = b"\xc6\x33\x64\7"


@pytest.mark.parametrize(
    ("own", "client", "sent"),
    [
        (None, None, None),
        (None, CLIENT, V4_24),
        (None, ip_address("2001:db8:1:2ff::1").packed, V6_56),
        (Subnet.of(CLIENT, 32), None, V4_24),
        (V4_24, CLIENT, V4_24),
        (Subnet.of(CLIENT, 16), CLIENT, Subnet.of(CLIENT, 16)),
        (Subnet.of(CLIENT, 0), CLIENT, None),
        (Subnet(0, 0, b""), CLIENT, None),
        (Subnet.of(bytes(16), 128), None, Subnet(2, 56, bytes(7))),
    ],
)
def test_what_is_sent_is_never_longer_than_the_limit_or_the_querys_own(
    own: Subnet | None, client: bytes | None, sent: Subnet | None
) -> None:
    assert to_send(own, client, 24, 56) == sent
