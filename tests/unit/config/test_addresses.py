from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.config.addresses import address, listen_endpoint, network, server
from flatproxy.config.problems import Refusal
from flatproxy.config.resolvers import resolver
from flatproxy.config.settings import Endpoint

from .configs import outcome

if TYPE_CHECKING:
    from collections.abc import Callable

listen = listen_endpoint(53)
http = listen_endpoint(9353)

PORTS = st.integers(min_value=1, max_value=65535)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.53", Endpoint("192.0.2.53", 53)),
        ("192.0.2.53:5353", Endpoint("192.0.2.53", 5353)),
        ("2001:db8::1", Endpoint("2001:db8::1", 53)),
        ("::1", Endpoint("::1", 53)),
        ("2001:DB8:0::0001", Endpoint("2001:db8::1", 53)),
        ("[2001:db8::1]", Endpoint("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", Endpoint("2001:db8::1", 5353)),
        ("[fe80::1%eth0]:53", Endpoint("fe80::1%eth0", 53)),
        ("::ffff:192.0.2.1", Endpoint(str(ip_address("::ffff:192.0.2.1")), 53)),
        ("192.0.2.53:65535", Endpoint("192.0.2.53", 65535)),
    ],
)
def test_a_server_is_an_address_and_perhaps_a_port(text: str, endpoint: Endpoint) -> None:
    assert server(text) == endpoint
    assert resolver(text) == endpoint


@pytest.mark.parametrize(
    ("value", "reason", "write"),
    [
        (53, "a string, not an integer", '"192.0.2.53:53"'),
        (True, "a string, not a boolean", '"192.0.2.53:53"'),
        ("", "not an IP address", "the IP address"),
        ("ns.example.com", "host names are not accepted", "the IP address"),
        ("ns.example.com:53", '"ns.example.com" is not an IP address', "the IP address"),
        ("localhost", "not an IP address", '"127.0.0.1:53"'),
        ("localhost:5353", "not an IP address", '"127.0.0.1:5353"'),
        ("192.0.2.256", "not an IP address", "the IP address"),
        ("192.0.2.053", "not an IP address", "the IP address"),
        ("192.0.2.1 ", "not an IP address", "the IP address"),
        ("192.0.2", "not an IP address", "the IP address"),
        ("192.0.2.0/24", "not an IP address", "the IP address"),
        ("[192.0.2.1]:5353", "not an IP address", '"192.0.2.1:5353"'),
        ("[]:53", "not an IP address", "the IP address"),
        ("[2001:db8::1", "not an IP address", '"[2001:db8::1]:53"'),
        ("[192.0.2.1]:x", "not an IP address", '"192.0.2.1:53"'),
        ("[2001:db8::1]53", "not an IP address", "the IP address"),
        ("fe80::1%a b", "not an IP address", "the IP address"),
        ("192.0.2.1:", "a port is a number", '"192.0.2.1:53"'),
        ("192.0.2.1:dns", "a port is a number", '"192.0.2.1:53"'),
        ("192.0.2.1:65536", "from 0 to 65535", '"192.0.2.1:53"'),
        ("192.0.2.1:053", "a port is a number", '"192.0.2.1:53"'),
        ("192.0.2.1:-1", "a port is a number", '"192.0.2.1:53"'),
        ("192.0.2.1:٥٣", "a port is a number", '"192.0.2.1:53"'),
        ("192.0.2.1:53\n", "a port is a number", '"192.0.2.1:53"'),
        ("[2001:db8::1]:x", "a port is a number", '"[2001:db8::1]:53"'),
        ("192.0.2.1:0", "no port 0", '"192.0.2.1:53"'),
        ("[2001:db8::1]:0", "no port 0", '"[2001:db8::1]:53"'),
        ("0.0.0.0", "unspecified", "the server's own address"),
        ("[::]:53", "unspecified", "the server's own address"),
        ("224.0.0.1", "multicast", "unicast"),
        ("ff02::1", "multicast", "unicast"),
    ],
)
def test_what_is_not_a_server_is_refused(value: object, reason: str, write: str) -> None:
    for read in (server, resolver):
        with pytest.raises(Refusal) as caught:
            read(value)
        assert reason in caught.value.reason
        assert write in caught.value.write


def test_the_system_resolvers_have_one_spelling() -> None:
    assert resolver("system") == "system"
    for text in ("System", " system"):
        with pytest.raises(Refusal) as caught:
            resolver(text)
        assert caught.value.write == '"system"'
    with pytest.raises(Refusal):
        server("system")


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("0.0.0.0:53", Endpoint("0.0.0.0", 53)),
        ("[::]:53", Endpoint("::", 53)),
        ("127.0.0.1:0", Endpoint("127.0.0.1", 0)),
    ],
)
def test_a_listen_address_has_a_port(text: str, endpoint: Endpoint) -> None:
    assert listen(text) == http(text) == endpoint


@pytest.mark.parametrize(
    ("value", "reason", "write"),
    [
        (53, "a string", '"0.0.0.0:53"'),
        ("192.0.2.1", "needs a port", '"192.0.2.1:53"'),
        ("2001:db8::1", "needs a port", '"[2001:db8::1]:53"'),
        ("[2001:db8::1]", "needs a port", '"[2001:db8::1]:53"'),
        ("53", "not an IP address", "the IP address"),
        (":5353", "the address is missing", '"0.0.0.0:5353"'),
        ("*:dns", "the address is missing", '"0.0.0.0:53"'),
        ("*:53", "the address is missing", '"0.0.0.0:53"'),
        ("", "the address is missing", '"0.0.0.0:53"'),
        ("224.0.0.1:53", "multicast", "unicast"),
    ],
)
def test_what_is_no_listen_address_is_refused(value: object, reason: str, write: str) -> None:
    with pytest.raises(Refusal) as caught:
        listen(value)
    assert reason in caught.value.reason
    assert write in caught.value.write


def test_http_is_suggested_with_its_own_port() -> None:
    for value, write in (("127.0.0.1", '"127.0.0.1:9353"'), (9353, '"127.0.0.1:9353"'), ("", '"127.0.0.1:9353"')):
        with pytest.raises(Refusal) as caught:
            http(value)
        assert caught.value.write == write


@given(st.ip_addresses().filter(lambda ip: not ip.is_multicast and not ip.is_unspecified), PORTS)
def test_an_endpoint_survives_its_text(ip: object, port: int) -> None:
    endpoint = Endpoint(str(ip), port)
    assert server(str(endpoint)) == listen(str(endpoint)) == endpoint


@given(st.ip_addresses())
def test_a_fallback_address_survives_its_text(ip: object) -> None:
    assert address(str(ip)) == ip


@pytest.mark.parametrize(
    ("value", "reason", "write"),
    [
        (1, "a string, not an integer", '"192.0.2.10"'),
        (False, "a string, not a boolean", '"192.0.2.10"'),
        ("192.0.2.10:80", "no port", '"192.0.2.10"'),
        ("[2001:db8::1]:80", "no port", '"2001:db8::1"'),
        ("[2001:db8::1]", "no brackets", '"2001:db8::1"'),
        ("lb.example.net", "would be a target", '"192.0.2.10"'),
        ("192.0.2.0/24", "not an IP address", '"192.0.2.10"'),
        ("", "not an IP address", '"192.0.2.10"'),
        ("fe80::1%eth0", "zone index", '"fe80::1"'),
    ],
)
def test_what_is_no_address_is_refused(value: object, reason: str, write: str) -> None:
    with pytest.raises(Refusal) as caught:
        address(value)
    assert reason in caught.value.reason
    assert write in caught.value.write


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
    ],
)
def test_a_network_may_be_one_address(text: str, expected: str) -> None:
    assert network(text) == ip_network(expected)


@pytest.mark.parametrize(
    ("value", "reason", "write"),
    [
        (1, "a string, not an integer", '"192.0.2.0/24"'),
        ("192.0.2.1/24", "bits set", '"192.0.2.0/24"'),
        ("2001:db8::1/32", "bits set", '"2001:db8::/32"'),
        ("192.0.2.0/33", "not an address or a network", '"192.0.2.0/24"'),
        ("192.0.2.0/", "not an address or a network", '"192.0.2.0/24"'),
        ("any", "not an address or a network", '"192.0.2.0/24"'),
        ("", "not an address or a network", '"192.0.2.0/24"'),
        ("fe80::%eth0/64", "zone index", '"192.0.2.0/24"'),
        ("192.0.2.0/24/24", "not an address or a network", '"192.0.2.0/24"'),
    ],
)
def test_what_is_no_network_is_refused(value: object, reason: str, write: str) -> None:
    with pytest.raises(Refusal) as caught:
        network(value)
    assert reason in caught.value.reason
    assert write in caught.value.write


@pytest.mark.parametrize("read", [server, resolver, listen, http, address, network])
@given(value=st.text() | st.text("0123456789.:[]/%abcdef") | st.integers() | st.booleans() | st.lists(st.text()))
def test_any_value_is_read_or_refused(read: Callable[[object], object], value: object) -> None:
    found = outcome(read, value)
    assert not isinstance(found, Refusal) or (found.reason and found.write)
