"""Real sockets on loopback; time is told, and sockets are read when the test says so."""

from __future__ import annotations

import select
import socket
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from attrs import define, field

from flatproxy.config.settings import Endpoint
from flatproxy.errors import ChainBroken, UpstreamTimeout
from flatproxy.flatten.resolvers.datagrams import PORT_LIFE_S, PORT_QUERIES, PORTS, DatagramClient, Inquiry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.flatten.resolvers.datagrams import Port

QUESTION = b"\2lb\4test\0\0\1\0\1"
REST = b"\1\0\0\1\0\0\0\0\0\0" + QUESTION
LONG_S = 10.0


@define
class Sockets:
    """What the loop would read."""

    readables: set[Port] = field(factory=set)

    def add(self, readable: Port) -> None:
        self.readables.add(readable)

    def remove(self, readable: Port) -> None:
        assert readable.fileno() >= 0
        self.readables.remove(readable)

    def read(self) -> None:
        """Read once what has something to read, after waiting for it."""
        by_descriptor = {readable.fileno(): readable for readable in self.readables}
        for descriptor in select.select(list(by_descriptor), [], [], LONG_S)[0]:
            by_descriptor[descriptor].read(0.0)


@define
class World:
    """A client and the server that it asks."""

    server: socket.socket
    sockets: Sockets = field(factory=Sockets)
    woken: int = 0
    client: DatagramClient = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.client = DatagramClient(self.sockets, self.wake)

    def wake(self) -> None:
        self.woken += 1

    def query(self, timeout_s: float = 1.8, header: bytes = b"") -> Inquiry:
        return Inquiry(self, Endpoint(*self.server.getsockname()), header, REST, QUESTION, timeout_s)

    def asked(self, now: float = 0.0, timeout_s: float = 1.8) -> tuple[Inquiry, bytes, tuple[str, int]]:
        """Return a query that was sent, what the server received, and from where."""
        query = self.query(timeout_s)
        self.client.send(query, now)
        return query, *self.server.recvfrom(512)


@contextmanager
def world() -> Iterator[World]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(LONG_S)
        made = World(server)
        try:
            yield made
        finally:
            made.client.close()
            assert made.sockets.readables == set()


def reply_to(message: bytes, question: bytes = QUESTION, flags: int = 0x81) -> bytes:
    return message[:2] + bytes([flags]) + message[3:12] + question


def test_a_reply_arrives_with_its_query() -> None:
    with world() as made:
        query, message, client = made.asked()
        assert message[2:] == REST
        made.server.sendto(reply_to(message, QUESTION.replace(b"lb", b"LB")), client)
        made.sockets.read()
        assert [each for each, _reply in made.client.arrived] == [query]
        assert (made.woken, made.client.mismatched, query.is_over) == (1, 0, True)


def test_a_header_comes_first() -> None:
    with world() as made:
        made.client.send(made.query(header=b"HEADER"), 0.0)
        assert made.server.recv(512)[:6] == b"HEADER"


@pytest.mark.parametrize(
    "forge",
    [
        lambda message: bytes([message[0] ^ 1]) + reply_to(message)[1:],
        lambda message: reply_to(message, QUESTION.replace(b"lb", b"lc")),
        lambda message: reply_to(message, QUESTION[:-3] + b"\x1c\0\1"),
        lambda message: reply_to(message, flags=0x01),
        lambda message: message[:2] + b"\x81\0" + bytes(8),
        lambda message: message[:2],
    ],
    ids=["ID", "name", "type", "a query", "no question", "cut"],
)
def test_what_does_not_match_counts_for_nothing(forge: object) -> None:
    with world() as made:
        query, message, client = made.asked()
        assert callable(forge)
        made.server.sendto(forge(message), client)
        made.sockets.read()
        assert (list(made.client.arrived), made.client.mismatched, query.is_over) == ([], 1, False)
        made.server.sendto(reply_to(message), client)
        made.sockets.read()
        assert [each for each, _reply in made.client.arrived] == [query]


def test_what_comes_from_elsewhere_is_not_even_read() -> None:
    with world() as made, closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as forger:
        _query, message, client = made.asked()
        forger.bind(("127.0.0.1", 0))
        forger.sendto(reply_to(message), client)
        assert select.select([each.fileno() for each in made.sockets.readables], [], [], 0)[0] == []
        made.server.sendto(reply_to(message), client)
        made.sockets.read()
        assert (len(made.client.arrived), made.client.mismatched) == (1, 0)


def test_ids_and_ports_are_drawn_anew_for_each_query() -> None:
    count = 2_000
    with world() as made:
        sent = []
        for _ in range(count):
            _query, message, client = made.asked()
            sent.append((message[:2], client[1]))
            made.server.sendto(reply_to(message), client)
            made.sockets.read()
        ports = [port for _id, port in sent]
        # Of 65,536 equally likely IDs, 2,000 draws give 1,970 different ones; fewer than 1,900 never come.
        assert len({message_id for message_id, _port in sent}) > 1_900
        assert len(set(ports)) >= count / PORT_QUERIES / 2
        assert len(set(ports[:PORT_QUERIES])) > 1
        assert len(made.sockets.readables) <= PORTS


def test_no_port_takes_more_than_its_queries() -> None:
    with world() as made:
        for _ in range(PORTS * PORT_QUERIES):
            made.client.send(made.query(), 0.0)
        assert max(len(port.pending) for port in made.client._open) <= PORT_QUERIES


def test_a_port_has_a_short_life() -> None:
    with world() as made:
        _query, message, client = made.asked(0.0, timeout_s=3 * PORT_LIFE_S)
        made.client.expire(PORT_LIFE_S)
        assert len(made.sockets.readables) == 1, "something is under way on it"
        made.server.sendto(reply_to(message), client)
        made.sockets.read()
        assert made.sockets.readables == set()
        assert made.client._slots == {}
        assert made.asked(PORT_LIFE_S)[2] != client


def test_an_idle_port_is_closed_when_its_time_is_over() -> None:
    with world() as made:
        _query, message, client = made.asked(0.0)
        made.server.sendto(reply_to(message), client)
        made.sockets.read()
        made.client.expire(PORT_LIFE_S - 0.01)
        assert len(made.sockets.readables) == 1
        made.client.expire(PORT_LIFE_S)
        assert made.sockets.readables == set()


def test_silence_ends_in_time_and_what_comes_later_is_nothing() -> None:
    with world() as made:
        long, _message, _client = made.asked(0.0, timeout_s=1.8)
        short, message, client = made.asked(0.0, timeout_s=0.6)
        made.client.expire(0.59)
        assert list(made.client.arrived) == []
        made.client.expire(0.6)
        ((over, error),) = made.client.arrived
        assert over is short
        assert isinstance(error, UpstreamTimeout)
        assert str(error) == f"127.0.0.1:{made.server.getsockname()[1]}: no answer within 0.6 s"
        made.server.sendto(reply_to(message), client)
        made.sockets.read()
        assert (len(made.client.arrived), made.client.mismatched, long.is_over) == (1, 1, False)
        made.client.expire(1.8)
        assert long.is_over


def test_what_is_put_back_goes_on_and_its_time_runs_on() -> None:
    with world() as made:
        query, message, client = made.asked(0.0, timeout_s=0.5)
        _other, _message, _client = made.asked(0.0)  # so that its socket stays, whichever it is
        made.server.sendto(reply_to(message), client)
        made.sockets.read()
        made.client.arrived.clear()
        made.client.expire(0.1)
        made.client.put_back(query)
        made.server.sendto(reply_to(message), client)
        made.sockets.read()
        assert [each for each, _reply in made.client.arrived] == [query]
        made.client.arrived.clear()
        made.client.put_back(query)
        made.client.expire(0.5)
        assert [type(result) for _query, result in made.client.arrived] == [UpstreamTimeout]


def test_nobody_there_is_known_at_once() -> None:
    with world() as made:
        endpoint = Endpoint(*made.server.getsockname())
        made.server.close()
        made.client.send(Inquiry(None, endpoint, b"", REST, QUESTION, 1.8), 0.0)
        made.sockets.read()
        ((_query, error),) = made.client.arrived
        assert isinstance(error, ChainBroken)
        assert str(error) == f"{endpoint}: connection refused"


def test_a_server_that_cannot_be_reached_is_known_at_once() -> None:
    with world() as made:
        broadcast = Endpoint("255.255.255.255", 53)
        made.client.send(Inquiry(None, broadcast, b"", REST, QUESTION, 1.8), 0.0)
        ((query, error),) = made.client.arrived
        assert isinstance(error, ChainBroken)
        assert str(error).startswith("255.255.255.255:53: ")
        assert query.is_over


def test_what_is_unanswered_is_sent_again_once_in_half_of_the_time() -> None:
    with world() as made:
        _query, message, client = made.asked(0.0, timeout_s=1.0)
        made.client.expire(0.49)
        made.client.expire(0.5)
        assert made.server.recvfrom(512) == (message, client)
        made.client.expire(0.9)
        made.server.setblocking(False)
        with pytest.raises(BlockingIOError):
            made.server.recvfrom(512)
        assert list(made.client.arrived) == []
        made.client.expire(1.0)
        ((_same, error),) = made.client.arrived
        assert isinstance(error, UpstreamTimeout)
