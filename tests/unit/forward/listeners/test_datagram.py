"""The UDP listener on real sockets: what reaches the road, and where replies go, one by one and in batches."""

from __future__ import annotations

import select
import socket
from ipaddress import ip_network
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import pytest
from attrs import define, field

from flatproxy.counts import Traffic
from flatproxy.forward.access import Networks, octets_of
from flatproxy.forward.batches import datagrams
from flatproxy.forward.listeners.datagram import UdpListener
from flatproxy.forward.socket_addresses import client_of
from flatproxy.wire import proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flatproxy.forward.exchange import Road

NOBODY = Networks([])


@define(eq=False)
class _Readers:
    datagrams: Any = field(factory=datagrams)
    unflushed: list[Any] = field(factory=list)
    rested: bool = False

    def flush(self) -> None:
        while self.unflushed:
            self.unflushed.pop().flush()


@define(eq=False)
class _Road:
    """Sends every message back with an R in front, and remembers who asked."""

    traffic: Traffic = field(factory=Traffic)
    hosts: list[bytes] = field(factory=list)
    clients: list[Any] = field(factory=list)
    breaks: bool = False

    def query(self, message: bytes, host: bytes, send: Callable[[bytes, Any], object], client: Any, now: float) -> None:  # noqa: ARG002
        if self.breaks:
            raise ZeroDivisionError
        self.hosts.append(host)
        self.clients.append(client)
        send(b"R" + message, client)


@define(eq=False)
class _Stand:
    road: _Road = field(factory=_Road)
    readers: _Readers = field(factory=_Readers)
    sockets: list[Any] = field(factory=list)

    def listen(self, host: str = "127.0.0.1", proxies: Networks = NOBODY, *, tell_client: bool = False) -> UdpListener:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((host, 0))
        made = UdpListener(sock, cast("Road", self.road), cast("Any", self.readers), proxies, tell_client=tell_client)
        self.sockets.append(made)
        return made

    def client(self, listener: UdpListener, host: str = "127.0.0.1") -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(5)
        sock.connect((host, listener.endpoint.port))
        self.sockets.append(sock)
        return sock

    def read(self, listener: UdpListener) -> None:
        assert select.select([listener], [], [], 5)[0]
        listener.read(monotonic())
        self.readers.flush()


@pytest.fixture
def stand() -> Iterator[_Stand]:
    made = _Stand()
    yield made
    for sock in made.sockets:
        sock.close()


@pytest.mark.parametrize(
    ("listen", "host"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("0.0.0.0", "127.0.0.3"), ("::", "::1")]
)
def test_one_by_one_and_in_a_batch_it_is_the_same(stand: _Stand, listen: str, host: str) -> None:
    listener = stand.listen(listen)
    clients = [stand.client(listener, host) for _ in range(3)]
    for stand.readers.rested in (True, False):
        for client in clients:
            client.send(b"one")
            client.send(b"two")
        while len(stand.road.hosts) < 6:
            stand.read(listener)
        assert [(client.recv(9), client.recv(9)) for client in clients] == [(b"Rone", b"Rtwo")] * 3
        assert set(stand.road.hosts) == {octets_of(client.getsockname()[0]) for client in clients}
        stand.road.hosts.clear()


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
def test_the_way_back_outlives_the_round(stand: _Stand, listen: str) -> None:
    listener = stand.listen(listen)
    client, other = stand.client(listener), stand.client(listener)
    for stand.readers.rested in (True, False):
        client.send(b"one")
        stand.read(listener)
        assert client.recv(9) == b"Rone"
    assert [type(way) for way in stand.road.clients] == [tuple, bytes], "one by one, then in a batch"
    for way in stand.road.clients:
        if type(way) is bytes:
            listener._send(b"late", way)
        elif listener.endpoint.host == "0.0.0.0":
            listener._send_one(b"late", way)
        else:
            listener._socket.sendto(b"late", way)
        stand.readers.flush()
        assert client.recv(9) == b"late"
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.recv(9)


def test_a_message_that_breaks_something_costs_itself_alone(stand: _Stand) -> None:
    listener = stand.listen()
    client = stand.client(listener)
    for stand.readers.rested in (True, False):
        stand.road.breaks = True
        client.send(b"bad")
        stand.read(listener)
        stand.road.breaks = False
        client.send(b"good")
        stand.read(listener)
        assert client.recv(9) == b"Rgood"
    assert stand.road.traffic.udp.dropped == 2


def test_a_trusted_header_names_the_client(stand: _Stand) -> None:
    listener = stand.listen(proxies=Networks([ip_network("127.0.0.0/8")]), tell_client=True)
    client = stand.client(listener)
    client.send(proxy.header(("203.0.113.5", 99), ("192.0.2.53", 53), udp=True) + b"one")
    stand.read(listener)
    assert client.recv(9) == b"Rone"
    (back,) = stand.road.clients
    assert (stand.road.hosts, back.client) == ([octets_of("203.0.113.5")], ("203.0.113.5", 99))
    assert back.asked == ("127.0.0.1", listener.endpoint.port)
    client.send(b"no header")
    stand.read(listener)
    assert (stand.road.traffic.malformed, stand.road.traffic.udp.dropped) == (1, 1)


def test_what_cannot_be_sent_is_counted(stand: _Stand) -> None:
    listener = stand.listen()
    listener._send(b"x" * 70_000, client_of("127.0.0.1", 9))
    stand.readers.flush()
    assert stand.road.traffic.unsent == 1


def test_closing_sends_what_is_left(stand: _Stand) -> None:
    listener = stand.listen()
    client = stand.client(listener)
    client.send(b"one")
    stand.read(listener)
    assert client.recv(9) == b"Rone"
    listener._send(b"last", client_of(*client.getsockname()))
    listener.close()
    assert client.recv(9) == b"last"
