"""Both kinds of sending and receiving on real sockets: what one sends the other end gets, and the way back is right."""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from flatproxy.forward import batches as module
from flatproxy.forward.batches import BATCH, BatchedDatagrams, Datagrams, SingleDatagrams
from flatproxy.forward.socket_addresses import (
    ADDRESS,
    CONTROL,
    ask_for_destination,
    destination,
    octets_of,
    peer_of,
    sockaddr_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


def _peer(client: socket.socket) -> bytes:
    host, port = client.getsockname()[:2]
    return octets_of(host) + int(port).to_bytes(2, "big")


@pytest.fixture(params=[BatchedDatagrams, SingleDatagrams])
def io(request: pytest.FixtureRequest) -> Datagrams:
    made: Datagrams = request.param()
    return made


@pytest.fixture(params=HOSTS)
def family(request: pytest.FixtureRequest) -> socket.AddressFamily:
    return socket.AddressFamily(request.param)


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def bound(stack: ExitStack, family: socket.AddressFamily, host: str | None = None) -> socket.socket:
    sock = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    sock.bind((HOSTS[family] if host is None else host, 0))
    sock.setblocking(False)
    return sock


def arrived(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 5)[0])


def drained(io: Datagrams, sock: socket.socket, count: int) -> list[bytes]:
    got: list[bytes] = []
    while len(got) < count:
        assert arrived(sock), f"{len(got)} of {count}"
        got += io.receive(sock)
    return got


def test_the_faster_kind_is_used_here() -> None:
    assert isinstance(module.datagrams(), BatchedDatagrams)


def test_what_is_sent_arrives_whole_and_in_order(
    io: Datagrams, family: socket.AddressFamily, sockets: ExitStack
) -> None:
    here, there = bound(sockets, family), bound(sockets, family)
    messages = [bytes([number % 256]) * (1 + number * 7) for number in range(BATCH + 5)] + [b"", b"x" * 60_000]
    client = sockaddr_of(*there.getsockname()[:2])
    assert io.send(here, messages, [client] * len(messages)) == 0
    assert drained(io, there, len(messages)) == messages
    assert io.receive(there) == []


def test_each_reply_goes_back_to_its_client(io: Datagrams, family: socket.AddressFamily, sockets: ExitStack) -> None:
    server, clients = bound(sockets, family), [bound(sockets, family) for _ in range(5)]
    for number, client in enumerate(clients):
        client.sendto(bytes([number]), server.getsockname())
    arrived(server)
    got = io.receive(server)
    whence = io.clients(len(got), ADDRESS)
    assert [peer_of(octets) for octets in whence] == [_peer(client) for client in clients]
    assert io.send(server, [b"re" + message for message in got], whence) == 0
    assert [client.recv(9) for client in clients if arrived(client)] == [b"re" + bytes([n]) for n in range(5)]


def test_a_connected_socket_sends_to_its_peer(io: Datagrams, family: socket.AddressFamily, sockets: ExitStack) -> None:
    here, there = bound(sockets, family), bound(sockets, family)
    here.connect(there.getsockname())
    assert io.send(here, [b"one", b"two"]) == 0
    assert drained(io, there, 2) == [b"one", b"two"]


def test_a_reply_leaves_from_the_address_that_was_asked(
    io: Datagrams, family: socket.AddressFamily, sockets: ExitStack
) -> None:
    server = bound(sockets, family, ANY[family])
    ask_for_destination(server)
    asked = {socket.AF_INET: "127.0.0.9", socket.AF_INET6: "::1"}[family]
    client = bound(sockets, family)
    client.sendto(b"query", (asked, server.getsockname()[1]))
    arrived(server)
    assert io.receive(server) == [b"query"]
    (octets,) = io.clients(1, ADDRESS + CONTROL)
    control, address = destination(octets[ADDRESS:])
    assert address == octets_of(asked)
    assert io.send(server, [b"reply"], [octets[:ADDRESS] + control]) == 0
    arrived(client)
    reply, whence = client.recvfrom(9)
    assert (reply, whence[0]) == (b"reply", asked)


def test_a_datagram_that_cannot_be_sent_is_counted_and_the_rest_go(io: Datagrams, sockets: ExitStack) -> None:
    here, there = bound(sockets, socket.AF_INET), bound(sockets, socket.AF_INET)
    good, nowhere = sockaddr_of(*there.getsockname()), sockaddr_of("255.255.255.255", 9)
    assert io.send(here, [b"a", b"b", b"c", b"d"], [good, nowhere, nowhere, good]) == 2
    assert drained(io, there, 2) == [b"a", b"d"]


def test_a_refusal_of_an_earlier_datagram_costs_no_later_one(io: Datagrams, sockets: ExitStack) -> None:
    here = bound(sockets, socket.AF_INET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        where = gone.getsockname()
    here.connect(where)
    here.send(b"refused")
    there = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    there.bind(where)
    there.setblocking(False)
    assert io.send(here, [b"one", b"two"]) == 0
    assert drained(io, there, 2) == [b"one", b"two"]


def test_a_refusal_is_told_to_who_reads(io: Datagrams, sockets: ExitStack) -> None:
    here = bound(sockets, socket.AF_INET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        here.connect(gone.getsockname())
    io.send(here, [b"refused"])
    arrived(here)
    with pytest.raises(ConnectionRefusedError):
        io.receive(here)


def test_both_families_may_take_turns(io: Datagrams, sockets: ExitStack) -> None:
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_INET, socket.AF_INET6):
        server, client = bound(sockets, family), bound(sockets, family)
        client.sendto(b"x", server.getsockname())
        arrived(server)
        io.receive(server)
        assert peer_of(io.clients(1, ADDRESS)[0]) == _peer(client)


def test_octets_that_say_no_destination_have_none() -> None:
    assert destination(bytes(CONTROL)) == (b"", b"")
