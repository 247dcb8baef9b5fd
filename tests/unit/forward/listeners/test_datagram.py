"""The UDP listener on real sockets: what reaches the exchange, and where replies go."""

from __future__ import annotations

import select
import socket
from ipaddress import ip_network
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import pytest
from attrs import define, field

from flatproxy.counts import Traffic
from flatproxy.forward.access import Networks
from flatproxy.forward.listeners.datagram import Back, DatagramListener
from flatproxy.forward.socket_addresses import octets_of
from flatproxy.wire import proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.forward.exchange import Exchange

NOBODY = Networks([])


@define(eq=False)
class _Exchange:
    """Sends every message back with an R in front, and remembers who asked."""

    traffic: Traffic = field(factory=Traffic)
    hosts: list[bytes] = field(factory=list)
    backs: list[Any] = field(factory=list)
    breaks: bool = False

    def receive(self, message: bytes, host: bytes, listener: DatagramListener, back: Any, _now: float) -> None:
        if self.breaks:
            raise ZeroDivisionError
        self.hosts.append(host)
        self.backs.append(back)
        listener.send(b"R" + message, back)


@define(eq=False)
class _Stand:
    exchange: _Exchange = field(factory=_Exchange)
    sockets: list[Any] = field(factory=list)

    def listen(self, host: str = "127.0.0.1", proxies: Networks = NOBODY) -> DatagramListener:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((host, 0))
        made = DatagramListener(sock, cast("Exchange", self.exchange), proxies)
        self.sockets.append(made)
        return made

    def client(self, listener: DatagramListener, host: str = "127.0.0.1") -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(5)
        sock.connect((host, listener.endpoint.port))
        self.sockets.append(sock)
        return sock

    def read(self, listener: DatagramListener) -> None:
        assert select.select([listener], [], [], 5)[0]
        listener.read(monotonic())


@pytest.fixture
def stand() -> Iterator[_Stand]:
    made = _Stand()
    yield made
    for sock in made.sockets:
        sock.close()


@pytest.mark.parametrize(
    ("listen", "host"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("0.0.0.0", "127.0.0.3"), ("::", "::1")]
)
def test_who_asks_is_replied_to(stand: _Stand, listen: str, host: str) -> None:
    listener = stand.listen(listen)
    clients = [stand.client(listener, host) for _ in range(3)]
    for client in clients:
        client.send(b"one")
        client.send(b"two")
    while len(stand.exchange.hosts) < 6:
        stand.read(listener)
    assert [(client.recv(9), client.recv(9)) for client in clients] == [(b"Rone", b"Rtwo")] * 3
    assert set(stand.exchange.hosts) == {octets_of(client.getsockname()[0]) for client in clients}


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
def test_the_way_back_can_be_used_later(stand: _Stand, listen: str) -> None:
    listener = stand.listen(listen)
    client, other = stand.client(listener), stand.client(listener)
    client.send(b"one")
    stand.read(listener)
    assert client.recv(9) == b"Rone"
    (back,) = stand.exchange.backs
    listener.send(b"late", back)
    assert client.recv(9) == b"late"
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.recv(9)


def test_a_message_that_breaks_something_costs_itself_alone(stand: _Stand) -> None:
    listener = stand.listen()
    client = stand.client(listener)
    stand.exchange.breaks = True
    client.send(b"bad")
    stand.read(listener)
    stand.exchange.breaks = False
    client.send(b"good")
    stand.read(listener)
    assert client.recv(9) == b"Rgood"
    assert stand.exchange.traffic.udp.dropped == 1


def test_a_trusted_header_names_the_client(stand: _Stand) -> None:
    listener = stand.listen(proxies=Networks([ip_network("127.0.0.0/8")]))
    client = stand.client(listener)
    named = octets_of("203.0.113.5") + b"\0\x63"
    client.send(proxy.header(named, octets_of("192.0.2.53") + b"\0\x35", udp=True) + b"one")
    stand.read(listener)
    assert client.recv(9) == b"Rone"
    (back,) = stand.exchange.backs
    assert stand.exchange.hosts == [octets_of("203.0.113.5")]
    assert proxy.parse(listener.proxy_header(back)) == (named, 28)
    assert back.asked == octets_of("127.0.0.1") + listener.endpoint.port.to_bytes(2, "big")
    client.send(b"no header")
    stand.read(listener)
    assert (stand.exchange.traffic.malformed, stand.exchange.traffic.udp.dropped) == (1, 1)


def test_what_cannot_be_sent_is_counted(stand: _Stand) -> None:
    listener = stand.listen()
    listener.send(b"x" * 70_000, Back(("127.0.0.1", 9), (), b"", b""))
    assert stand.exchange.traffic.unsent == 1
