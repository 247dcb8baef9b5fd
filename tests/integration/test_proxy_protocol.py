"""The PROXY protocol: told to PowerDNS, which answers nobody without it; and believed from `[listen] proxy_from`."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

import dns.message
import dns.query
import dns.rcode
import dns.xfr
import dns.zone
import pytest

from tests.support import dnsio, packets, queries
from tests.support.configuration import LOOPBACK, configuration
from tests.support.ports import has_ipv6
from tests.support.powerdns import TRANSFERS_TO, PowerDns
from tests.support.proxy import Proxy
from tests.support.proxy_header import LOCAL, SIGNATURE, header
from tests.support.scripted import Query, Scripted
from tests.support.waiting import until
from tests.support.zones import wire_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.support.internet import FakeInternet
    from tests.support.ports import Address
    from tests.support.zones import Zones

_MAIL = "mail.example.com"
_QUERY = b"\x12\x34" + queries.query(wire_name(_MAIL), 1)[2:]
_FLATTENED = b"\x12\x35" + queries.query(wire_name("example.com"), 1)[2:]
_ADDRESS = bytes((192, 0, 2, 25))
_TRUSTED, _STRANGER, _ALLOWED = "127.0.0.2", "127.0.0.3", "192.0.2.9"


@pytest.fixture(scope="module")
def powerdns(zones: Zones, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PowerDns]:
    with PowerDns(folder=tmp_path_factory.mktemp("powerdns"), zones=zones) as server:
        yield server


@pytest.fixture
def telling(powerdns: PowerDns, internet: FakeInternet, start: Callable[..., Proxy]) -> Callable[..., Proxy]:
    """Start the proxy before PowerDNS."""
    internet.set("lb.test", "A", ["203.0.113.1"])

    def begin(dns: str = "127.0.0.1:0", *, proxy_from: Sequence[str] = ()) -> Proxy:
        return start(
            configuration(
                dns=[dns],
                upstream=[powerdns.address],
                resolver=[internet.address],
                flatten={"example.com": {"target": "lb.test", "types": ["A"]}},
                upstream_={"proxy_protocol": True},
                access={"transfer": LOOPBACK, "update": LOOPBACK, "notify": LOOPBACK},
                listen={"proxy_from": list(proxy_from)},
            )
        )

    return begin


def _udp(address: Address, message: bytes, source: str, patience_s: float = 4) -> bytes | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.connect(address)
        sock.settimeout(patience_s)
        sock.send(message)
        with contextlib.suppress(TimeoutError):
            return sock.recv(65535)
    return None


def _tcp(address: Address, octets: bytes, source: str) -> bytes | None:
    """Return the first message that comes back on a connection that begins with these octets, None at its end."""
    with socket.create_connection(address, 4, (source, 0)) as connection:
        connection.sendall(octets)
        with contextlib.suppress(ConnectionError):
            return dnsio.read_frame(connection)
    return None


def _seen(powerdns: PowerDns, client: str, name: str, rdtype: str) -> None:
    until(lambda: (client, name, rdtype) in powerdns.asked, lambda: f"{client} asked: {powerdns.asked[-10:]}")


# Telling the nameserver


def test_powerdns_answers_and_sees_the_client(telling: Callable[..., Proxy], powerdns: PowerDns) -> None:
    proxy = telling()
    for tcp, source in ((False, "127.0.0.11"), (True, "127.0.0.12")):
        message = packets.frame(_QUERY) if tcp else _QUERY
        reply = (_tcp if tcp else _udp)(proxy.address, message, source)
        assert reply is not None
        assert (reply[:2], reply[3] & 0x0F, reply[-4:]) == (_QUERY[:2], 0, _ADDRESS)
        _seen(powerdns, source, _MAIL, "A")
    assert _udp(powerdns.address, _QUERY, "127.0.0.13", 0.3) is None, "it does insist on a header"


def test_an_ipv6_client(telling: Callable[..., Proxy], powerdns: PowerDns) -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 on the loopback")
    proxy = telling("[::1]:0")
    for tcp in (False, True):
        reply = (dnsio.tcp if tcp else dnsio.udp)(proxy.address, queries.query(wire_name(_MAIL), 28 if tcp else 1))
        assert reply is not None
        _seen(powerdns, "::1", _MAIL, "AAAA" if tcp else "A")


def test_the_header_names_the_address_that_was_asked(start: Callable[..., Proxy]) -> None:
    """Also where that is one of many."""

    def script(query: Query) -> bytes:
        message = query.data[16 + int.from_bytes(query.data[14:16], "big") :]
        return message[:2] + b"\x84\0" + message[4:]

    with Scripted(script) as upstream:
        proxy = start(configuration(upstream=[upstream.address], dns=["0.0.0.0:0"], upstream_={"proxy_protocol": True}))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(4)
            sock.bind(("127.0.0.14", 0))
            sock.sendto(_QUERY, ("127.0.0.15", proxy.address[1]))
            reply, sender = sock.recvfrom(65535)
            port = sock.getsockname()[1]
        assert reply[:2] == _QUERY[:2]
        assert sender == ("127.0.0.15", proxy.address[1])
        told = next(query.data for query in upstream.received if query.data.endswith(_QUERY[2:]))
        addresses = socket.inet_aton("127.0.0.14") + socket.inet_aton("127.0.0.15")
        assert told[:28] == SIGNATURE + b"\x21\x12\0\x0c" + addresses + struct.pack("!HH", port, proxy.address[1])
        assert len(told) == 28 + len(_QUERY)


@pytest.mark.parametrize("tcp", [False, True])
def test_a_reload_begins_to_tell_and_ends_it(powerdns: PowerDns, start: Callable[..., Proxy], *, tcp: bool) -> None:
    """PowerDNS answers nobody without a header, and the other server nobody with one."""

    def script(query: Query) -> bytes | None:
        wire = query.data
        return None if wire.startswith(SIGNATURE) else wire[:2] + b"\x84\5" + wire[4:]

    def config(upstream: Address, *, tells: bool) -> str:
        return configuration(upstream=[upstream], upstream_={"proxy_protocol": tells})

    ask = dnsio.tcp if tcp else dnsio.udp
    with Scripted(script) as plain:
        proxy = start(config(plain.address, tells=False))
        for _ in range(2):
            reply = ask(proxy.address, _QUERY)
            assert reply is not None
            assert reply[3] & 0x0F == dns.rcode.REFUSED
            proxy.reload(config(powerdns.address, tells=True))
            reply = ask(proxy.address, _QUERY)
            assert reply is not None
            assert reply[-4:] == _ADDRESS
            proxy.reload(config(plain.address, tells=False))


def test_probes_and_questions_of_our_own_name_nobody(telling: Callable[..., Proxy], powerdns: PowerDns) -> None:
    proxy, before = telling(), len(powerdns.asked)
    # PowerDNS writes a header without a client as 0.0.0.0.
    until(lambda: ("0.0.0.0", "example.com", "SOA") in powerdns.asked[before:], "a probe")
    _seen(powerdns, "0.0.0.0", "example.com", "DNSKEY")
    assert proxy.metrics().value("upstream_up") == 1
    assert not proxy.since(0, "upstream_down")


def test_each_upstream_connection_begins_with_a_header(telling: Callable[..., Proxy], powerdns: PowerDns) -> None:
    """PowerDNS closes after four queries here; the client's connection outlives that."""
    proxy, before = telling(), len(powerdns.asked)
    with socket.create_connection(proxy.address, 4, ("127.0.0.16", 0)) as connection:
        for _ in range(10):
            connection.sendall(packets.frame(_QUERY))
            reply = dnsio.read_frame(connection)
            assert reply is not None
            assert reply[-4:] == _ADDRESS
    clients = [client for client, name, _ in powerdns.asked[before:] if name == _MAIL]
    assert len(clients) >= 10
    assert set(clients) == {"127.0.0.16"}


def test_the_nameserver_s_own_lists_work_again(telling: Callable[..., Proxy]) -> None:
    """PowerDNS gives the zone to one address only; flatproxy lets both ask."""
    proxy = telling()

    def transfer(source: str) -> int:
        zone = dns.zone.Zone("example.net")
        dns.query.inbound_xfr(proxy.address[0], zone, port=proxy.address[1], timeout=4, lifetime=8, source=source)
        return len(list(zone))

    assert transfer(TRANSFERS_TO) > 5
    with pytest.raises(dns.xfr.TransferError):
        transfer("127.0.0.8")


@pytest.mark.parametrize("tcp", [False, True])
def test_what_keeps_its_id(telling: Callable[..., Proxy], powerdns: PowerDns, *, tcp: bool) -> None:
    """TKEY, and a NOTIFY, which PowerDNS refuses in its own words."""
    proxy = telling()
    source = "127.0.0.18" if tcp else "127.0.0.17"
    tkey = b"\xab\xcd" + queries.query(wire_name("key.example.com"), 249, 255)[2:]
    notify = b"\xab\xce" + queries.query(wire_name("example.com"), 6, flags=4 << 11 | 0x0400)[2:]
    for message in (tkey, notify):
        reply = (_tcp if tcp else _udp)(proxy.address, packets.frame(message) if tcp else message, source)
        assert reply is not None
        assert reply[:2] == message[:2]
        assert reply[2] & 0xF8 == 0x80 | message[2] & 0x78
        assert reply[3] & 0x0F != dns.rcode.SERVFAIL
    _seen(powerdns, source, "key.example.com", "TKEY")
    until(lambda: f"from {source}" in powerdns.log or f"({source})" in powerdns.log, lambda: powerdns.log[-500:])


@pytest.mark.parametrize("tcp", [False, True])
def test_two_in_a_row(telling: Callable[..., Proxy], start: Callable[..., Proxy], *, tcp: bool) -> None:
    """A flatproxy in front of another: the header is passed on."""
    behind = telling(proxy_from=LOOPBACK)
    before = start(configuration(upstream=[behind.address], upstream_={"proxy_protocol": True}))
    reply = (_tcp if tcp else _udp)(before.address, packets.frame(_QUERY) if tcp else _QUERY, "127.0.0.19")
    assert reply is not None
    assert reply[-4:] == _ADDRESS
    assert not before.since(0, "upstream_down")


@pytest.mark.parametrize("client", ["192.0.2.77", "2001:db8::77"])
@pytest.mark.parametrize("tcp", [False, True])
def test_a_told_client_is_told_on(telling: Callable[..., Proxy], powerdns: PowerDns, client: str, *, tcp: bool) -> None:
    """Whatever the family of the address on which it was told."""
    proxy = telling(proxy_from=LOOPBACK)
    name, rdtype = ("host.example.net", "AAAA") if tcp else (_MAIL, "MX")
    message = queries.query(wire_name(name), 28 if tcp else 15)
    reply = (_tcp if tcp else _udp)(
        proxy.address, header(client, tcp=tcp) + (packets.frame(message) if tcp else message), _TRUSTED
    )
    assert reply is not None
    _seen(powerdns, client, name, rdtype)


# Being told


@pytest.fixture(scope="module")
def upstream() -> Iterator[Scripted]:
    """Answers whatever comes with one address."""

    def script(query: Query) -> bytes:
        wire = query.data
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + _ADDRESS
        return wire[:2] + bytes((wire[2] | 0x84, 0)) + b"\0\1\0\1\0\0\0\0" + wire[12:] + record

    with Scripted(script) as server:
        yield server


@pytest.fixture(scope="module")
def told(upstream: Scripted, internet: FakeInternet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Believes 127.0.0.2 alone, and serves 192.0.2.0/24 and 2001:db8::/32 alone."""
    internet.set("lb.test", "A", ["203.0.113.1"])
    config = configuration(
        upstream=[upstream.address],
        resolver=[internet.address],
        flatten={"example.com": {"target": "lb.test", "types": ["A"]}},
        listen={"proxy_from": [f"{_TRUSTED}/32"]},
        access={"query": ["192.0.2.0/24", "2001:db8::/32"]},
    )
    with Proxy(tmp_path_factory.mktemp("proxy"), config) as proxy:
        yield proxy


_HEADERS = {
    _ALLOWED: 0,
    "192.0.3.9": 5,
    "2001:db8::9": 0,
    "2001:db9::9": 5,
    _TRUSTED: 5,
    _STRANGER: 5,
}


@pytest.mark.parametrize("tcp", [False, True])
def test_the_told_address_decides(told: Proxy, *, tcp: bool) -> None:
    ask = _tcp if tcp else _udp
    for client, rcode in _HEADERS.items():
        for message, data in ((_QUERY, _ADDRESS), (_FLATTENED, bytes((203, 0, 113, 1)))):
            octets = packets.frame(message) if tcp else message
            for fields in (b"", b"\x04\0\x03abc"):
                reply = ask(told.address, header(client, tcp=tcp, fields=fields) + octets, _TRUSTED)
                assert reply is not None
                assert (reply[:2], reply[3] & 0x0F) == (message[:2], rcode)
                assert rcode or reply[-4:] == data
    reply = ask(told.address, LOCAL + (packets.frame(_QUERY) if tcp else _QUERY), _TRUSTED)
    assert reply is not None, "without a client the proxy itself is one"
    assert reply[3] & 0x0F == dns.rcode.REFUSED


_GARBAGE = [
    b"",
    b"PROXY UDP4 192.0.2.9 192.0.2.53 4242 53\r\n",
    SIGNATURE,
    SIGNATURE + b"\x11\x12\0\x0c" + bytes(12),
    SIGNATURE + b"\x22\x12\0\x0c" + bytes(12),
    SIGNATURE + b"\x21\x31\0\x0c" + bytes(12),
    SIGNATURE + b"\x21\x12\0\x04" + bytes(4),
    SIGNATURE + b"\x21\x22\0\x0c" + bytes(12),
    bytes(16),
    bytes(range(200, 240)),
]


def test_no_reply_where_the_header_is_missing_or_bad(told: Proxy, upstream: Scripted) -> None:
    mark, malformed = len(upstream.received), told.metrics().value("malformed_total")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(4)
        sock.bind((_TRUSTED, 0))
        sock.connect(told.address)
        for octets in (*_GARBAGE, SIGNATURE + b"\x21\x12\xff\xff" + bytes(12)):
            sock.send(octets + _QUERY)
        sock.send(header(_ALLOWED)[:-1])
        sock.send(header(_ALLOWED) + b"\xff\xff" + _QUERY[2:])
        assert sock.recv(65535)[:2] == b"\xff\xff", "the first reply is to the one good query"
    assert told.metrics().value("malformed_total") - malformed == len(_GARBAGE) + 2
    assert sum(query.data.endswith(_QUERY[2:]) for query in upstream.received[mark:]) == 1


@pytest.mark.parametrize("octets", _GARBAGE)
def test_a_connection_with_a_bad_header_is_closed(told: Proxy, octets: bytes) -> None:
    malformed = told.metrics().value("malformed_total")
    assert _tcp(told.address, octets + packets.frame(_QUERY) + bytes(16), _TRUSTED) is None
    assert told.metrics().value("malformed_total") == malformed + 1


@pytest.mark.parametrize("tcp", [False, True])
def test_never_believed_from_anywhere_else(told: Proxy, *, tcp: bool) -> None:
    """A header there is what it looks like: a message that makes no sense, from somebody who may not ask."""
    ask = _tcp if tcp else _udp
    octets = packets.frame(_QUERY) if tcp else _QUERY
    reply = ask(told.address, octets, _STRANGER)
    assert reply is not None
    assert reply[3] & 0x0F == dns.rcode.REFUSED
    if tcp:
        # Its first octets are a length that is never reached.
        with socket.create_connection(told.address, 0.3, (_STRANGER, 0)) as connection:
            connection.sendall(header(_ALLOWED, tcp=True) + octets)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        octets = packets.frame(header(_ALLOWED, tcp=True) + octets)
    else:
        octets = header(_ALLOWED) + octets
    reply = ask(told.address, octets, _STRANGER)
    assert reply is not None
    assert (reply[:2], reply[3] & 0x0F, len(reply)) == (SIGNATURE[:2], dns.rcode.REFUSED, 12)


def test_headers_are_never_believed_by_default(upstream: Scripted, start: Callable[..., Proxy]) -> None:
    proxy = start(configuration(upstream=[upstream.address], access={"query": ["192.0.2.0/24"]}))
    reply = _udp(proxy.address, header(_ALLOWED) + _QUERY, _TRUSTED)
    assert reply is not None
    assert reply[3] & 0x0F == dns.rcode.REFUSED


def test_a_header_that_drips(told: Proxy) -> None:
    """Octet by octet, and the query right behind it; then another one without a header."""
    with socket.create_connection(told.address, 4, (_TRUSTED, 0)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in header(_ALLOWED, tcp=True, fields=b"\x04\0\x03abc") + packets.frame(_QUERY):
            connection.sendall(bytes((octet,)))
        for message in (_QUERY, _FLATTENED):
            if message is _FLATTENED:
                connection.sendall(packets.frame(message))
            reply = dnsio.read_frame(connection)
            assert reply is not None
            assert (reply[:2], reply[3] & 0x0F) == (message[:2], 0)


def test_a_connection_counts_for_the_client_that_was_told(told: Proxy) -> None:
    """A load balancer may have more connections than one client may; each of its clients may not."""
    many, evicted = 300, told.metrics().value("tcp_evicted_total")
    with contextlib.ExitStack() as stack:

        def connect(client: str) -> socket.socket:
            connection = stack.enter_context(socket.create_connection(told.address, 4, (_TRUSTED, 0)))
            connection.sendall(header(client, tcp=True))
            return connection

        for number in range(many):
            connect(f"192.0.2.{number % 200}")
        until(lambda: told.metrics().value("tcp_connections") == many, "all of them are open")
        assert told.metrics().value("tcp_evicted_total") == evicted
        for _ in range(many):
            connect("2001:db8::1")
        until(lambda: told.metrics().value("tcp_evicted_total") == evicted + many - 256, "its own idle ones make room")
        assert told.metrics().value("tcp_connections") == many + 256
    until(lambda: told.metrics().value("tcp_connections") == 0, "all of them are gone")
