"""`[limits]`: what one network or client may have in a second, and that nobody else notices.

Time passes while these tests send, so that a few tokens may come back: what is counted has a lower and an upper bound.
"""

from __future__ import annotations

import socket
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from attrs import define, field

from tests.support import dnsio, packets, queries
from tests.support.configuration import configuration
from tests.support.scripted import Query, Scripted
from tests.support.waiting import until
from tests.support.zones import wire_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.support.internet import FakeInternet
    from tests.support.ports import Address
    from tests.support.proxy import Proxy

_RATE = 10
_MANY = 100
_FLATTENED = queries.query(wire_name("example.com"), 1)
_REFUSED = queries.query(wire_name("other.test"), 1)
_FORWARDED = queries.query(wire_name("mail.example.com"), 15)
_ODD = queries.query(wire_name("mail.example.com"), 15, flags=3 << 11)
"""An opcode that nobody uses: forwarded with its ID preserved."""


def _echo(query: Query) -> bytes:
    wire = query.data
    return wire[:2] + bytes((wire[2] | 0x84, 0)) + wire[4:]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Scripted]:
    with Scripted(_echo) as server:
        yield server


@pytest.fixture
def begin(upstream: Scripted, internet: FakeInternet, start: Callable[..., Proxy]) -> Callable[..., Proxy]:
    """Start the proxy under limits."""
    internet.set("lb.test", "A", ["203.0.113.1"])
    return lambda **limits: start(_config(upstream, internet, **limits))


def _config(upstream: Scripted, internet: FakeInternet, **limits: int) -> str:
    return configuration(
        upstream=[upstream.address],
        resolver=[internet.address],
        flatten={"example.com": {"target": "lb.test", "types": ["A"]}},
        tables={"limits": limits},
    )


@define
class _Burst:
    """What came back of many equal queries of one client, and how long sending and waiting took."""

    whole: list[bytes] = field(factory=list)
    cut: list[bytes] = field(factory=list)
    limited: int = 0
    took_s: float = 0.0

    def assert_about(self, expected: int) -> None:
        """No fewer whole replies than this, and no more than the time that passed allows."""
        assert expected <= len(self.whole) <= expected + _RATE * self.took_s + 1


def _burst(proxy: Proxy, source: str, wire: bytes, count: int = _MANY) -> _Burst:
    """Send all of them, and return when each has been answered or counted as limited."""
    burst, before, began = _Burst(), proxy.metrics().value("limited_total"), monotonic()
    with _from(source, proxy.address) as sock:
        for number in range(count):
            sock.send(number.to_bytes(2, "big") + wire[2:])

        def settled() -> bool:
            for reply in _waiting(sock):
                (burst.cut if reply[2] & 0x02 else burst.whole).append(reply)
            burst.limited = int(proxy.metrics().value("limited_total") - before)
            return len(burst.whole) + burst.limited == count

        until(settled, lambda: f"each of {count} answered or limited: {burst.limited}, {len(burst.whole)}")
        burst.cut += _waiting(sock)
    burst.took_s = monotonic() - began
    return burst


def _whole(bursts: Sequence[_Burst]) -> int:
    return sum(len(burst.whole) for burst in bursts)


def _from(source: str, address: Address) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((source, 0))
    sock.connect(address)
    sock.setblocking(False)
    return sock


def _waiting(sock: socket.socket) -> list[bytes]:
    replies = []
    while True:
        try:
            replies.append(sock.recv(65535))
        except BlockingIOError:
            return replies


@pytest.mark.parametrize("wire", [_FLATTENED, _REFUSED], ids=["flattened", "refused"])
@pytest.mark.parametrize("slip", [0, 1, 2, 5])
def test_own_responses(begin: Callable[..., Proxy], wire: bytes, slip: int) -> None:
    """Above the limit every slip-th is cut short, no larger than the query; the others are dropped."""
    proxy = begin(responses_per_second=_RATE, slip=slip)
    burst = _burst(proxy, "127.0.0.2", wire)
    burst.assert_about(_RATE)
    assert burst.limited >= _MANY - 2 * _RATE
    rows = len(burst.whole) - _RATE + 1  # each token that came back began a new row
    if slip:
        assert burst.limited // slip - rows <= len(burst.cut) <= burst.limited // slip
    else:
        assert not burst.cut
    for reply in burst.cut:
        assert reply[2] & 0xFA == 0x82
        assert (reply[3], reply[4:12]) == (0, b"\0\1" + bytes(6))
        assert reply[12:] == wire[12:]


def test_a_network_is_counted_as_one_and_others_are_not_touched(begin: Callable[..., Proxy]) -> None:
    proxy = begin(responses_per_second=_RATE, slip=0)
    began = monotonic()
    bursts = [_burst(proxy, host, _FLATTENED) for host in ("127.0.0.2", "127.0.0.77")]
    assert _whole(bursts) <= _RATE + 1 + _RATE * (monotonic() - began)
    other = _burst(proxy, "127.0.1.2", _FLATTENED, _RATE)
    assert (len(other.whole), other.limited) == (_RATE, 0)


def test_flattened_answers_and_refusals_share_a_limit_that_forwards_do_not_know(begin: Callable[..., Proxy]) -> None:
    proxy = begin(responses_per_second=_RATE, slip=0)
    began = monotonic()
    bursts = [_burst(proxy, "127.0.0.2", wire) for wire in (_REFUSED, _FLATTENED)]
    assert _whole(bursts) <= _RATE + 1 + _RATE * (monotonic() - began)
    assert len(_burst(proxy, "127.0.0.2", _FORWARDED).whole) == _MANY


def test_responses_over_tcp_are_not_limited(begin: Callable[..., Proxy]) -> None:
    """That is where a client goes whose answer was cut short."""
    proxy = begin(responses_per_second=1)
    with dnsio.tcp_socket(proxy.address) as connection:
        connection.sendall(packets.frame(_FLATTENED) * _MANY + packets.frame(_REFUSED) * _MANY)
        replies = [dnsio.read_frame(connection) for _ in range(2 * _MANY)]
    assert [reply[3] for reply in replies if reply and not reply[2] & 0x02] == [0] * _MANY + [5] * _MANY
    assert proxy.metrics().value("limited_total") == 0


@pytest.mark.parametrize("wire", [_FORWARDED, _ODD], ids=["ordinary", "with its ID"])
def test_forwards_of_one_client(begin: Callable[..., Proxy], upstream: Scripted, wire: bytes) -> None:
    """Dropped over UDP, and never sent on; the neighbour's are not touched, nor is what flatproxy answers itself."""
    proxy = begin(queries_per_second=_RATE, slip=1)
    mark = len(upstream.received)
    burst = _burst(proxy, "127.0.0.2", wire)
    burst.assert_about(_RATE)
    assert not burst.cut
    assert sum(got.data[2:] == wire[2:] for got in upstream.received[mark:]) == len(burst.whole)
    neighbour = _burst(proxy, "127.0.0.3", wire, _RATE)
    assert (len(neighbour.whole), neighbour.limited) == (_RATE, 0)
    assert len(_burst(proxy, "127.0.0.2", _FLATTENED).whole) == _MANY


def test_forwards_of_one_client_over_tcp(begin: Callable[..., Proxy]) -> None:
    """Refused, and the connection goes on: over it flattened answers still come."""
    proxy = begin(queries_per_second=_RATE)
    began = monotonic()
    with dnsio.tcp_socket(proxy.address) as connection:
        connection.sendall(packets.frame(_FORWARDED) * _MANY + packets.frame(_FLATTENED))
        replies = [dnsio.read_frame(connection) for _ in range(_MANY + 1)]
    codes = [reply[3] for reply in replies if reply]
    assert _RATE + 1 <= codes.count(0) <= _RATE + 2 + _RATE * (monotonic() - began)
    assert codes.count(5) == _MANY + 1 - codes.count(0) == proxy.metrics().value("limited_total")


def test_off_by_default_and_switched_by_a_reload(
    begin: Callable[..., Proxy], upstream: Scripted, internet: FakeInternet
) -> None:
    proxy = begin()
    for wire in (_FLATTENED, _REFUSED, _FORWARDED):
        assert len(_burst(proxy, "127.0.0.2", wire).whole) == _MANY
    proxy.reload(_config(upstream, internet, responses_per_second=_RATE, queries_per_second=_RATE))
    for wire in (_FLATTENED, _FORWARDED):
        _burst(proxy, "127.0.0.2", wire).assert_about(_RATE)
    proxy.reload(_config(upstream, internet))
    for wire in (_FLATTENED, _REFUSED, _FORWARDED):
        assert len(_burst(proxy, "127.0.0.2", wire).whole) == _MANY
