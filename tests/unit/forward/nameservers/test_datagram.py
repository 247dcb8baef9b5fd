"""The UDP side of one nameserver, before a socket that answers as it is told."""

from __future__ import annotations

import select
import socket
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import pytest
from attrs import define, field

from flatproxy.config.settings import Endpoint
from flatproxy.forward.nameservers import datagram as module
from flatproxy.forward.nameservers.datagram import DatagramUpstream
from flatproxy.forward.nameservers.health import Health
from flatproxy.forward.query import Query, query_from
from tests.unit.forward.surroundings import Sent
from tests.unit.wire.messages import query, response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.forward.readers import Readable

QUESTION = b"\7example\3com\0\0\6\0\1"


@define(eq=False)
class Readers:
    all: set[Readable] = field(factory=set)

    def add(self, readable: Readable) -> None:
        self.all.add(readable)

    def remove(self, readable: Readable) -> None:
        self.all.remove(readable)

    def read(self) -> None:
        """Read wherever something has come; something must come."""
        ready, _, _ = select.select(list(self.all), [], [], 5)
        assert ready
        for each in ready:
            each.read(monotonic())


@define(eq=False)
class Ends:
    """How queries ended."""

    delivered: list[tuple[Query, bytes]] = field(factory=list)
    given_up: list[Query] = field(factory=list)
    overloaded: list[Query] = field(factory=list)
    breaks: bool = False

    def deliver(self, query: Query, reply: bytes, now: float) -> None:  # noqa: ARG002 - as the real one
        if self.breaks:
            raise ZeroDivisionError
        self.delivered.append((query, reply))

    def give_up(self, query: Query, now: float) -> None:  # noqa: ARG002 - as the real one
        self.given_up.append(query)

    def overload(self, query: Query) -> None:
        self.overloaded.append(query)


@define(eq=False)
class Behind:
    """The nameserver, and the side of it that is tested."""

    nameserver: socket.socket
    upstream: DatagramUpstream
    readers: Readers
    ends: Ends

    def hears(self) -> tuple[bytes, Any]:
        return self.nameserver.recvfrom(9000)

    def hears_nothing(self) -> bool:
        return not select.select([self.nameserver], [], [], 0)[0]

    def answers(self) -> None:
        """Answer one query."""
        message, address = self.hears()
        self.nameserver.sendto(response(message), address)
        self.readers.read()


@pytest.fixture
def behind() -> Iterator[Behind]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nameserver:
        nameserver.settimeout(5)
        nameserver.bind(("127.0.0.1", 0))
        readers, ends = Readers(), Ends()
        upstream = DatagramUpstream(
            endpoint=Endpoint(*nameserver.getsockname()),
            outcome=cast("Any", ends),
            health=Health(),
            tells_client=False,
            readers=cast("Any", readers),
            timeout_s=2.0,
            probe_question=QUESTION,
        )
        upstream.open(2, 2)
        yield Behind(nameserver, upstream, readers, ends)
        upstream.close()
        assert not readers.all


def ask(name: str = "www.example.com", at: float = 100.0, host: bytes = b"\xc0\0\2\7", **more: Any) -> Query:
    message = query(name, id=7)
    return query_from(message, message[12:].lower(), host, Sent(), None, at, **more)


def test_a_reply_ends_a_query_and_shows_that_the_server_lives(behind: Behind) -> None:
    asked = ask()
    behind.upstream.send(asked)
    assert (behind.upstream.pending, behind.upstream.sent) == (1, 1)
    behind.answers()
    ((ended, reply),) = behind.ends.delivered
    assert ended is asked
    assert reply[12:] == response(asked.message)[12:]
    assert behind.upstream.pending == 0
    assert behind.upstream.health.answered_at > 0


def test_one_that_keeps_its_id_has_a_socket_to_itself(behind: Behind) -> None:
    asked = [ask(preserved=True) for _ in range(3)]
    sockets = len(behind.readers.all)
    for each in asked:
        behind.upstream.send_preserved(each)
    assert behind.ends.overloaded == [asked[2]], "two are allowed"
    assert len(behind.readers.all) == sockets + 2
    messages = {behind.hears()[1]: None for _ in range(2)}
    assert len(messages) == 2
    behind.upstream.sweep(103.0, alone=True)
    assert behind.ends.given_up == asked[:2]
    assert len(behind.readers.all) == sockets + 1, "only the probe's"


def test_what_is_overdue_is_sent_once_more_then_given_up(behind: Behind) -> None:
    asked = ask()
    behind.upstream.health.probed_at = 1e9
    behind.upstream.send(asked)
    first = behind.hears()
    behind.upstream.sweep(100.9, alone=True)
    assert behind.hears_nothing()
    behind.upstream.sweep(101.1, alone=True)
    assert behind.hears() == first
    behind.upstream.sweep(102.1, alone=True)
    assert (behind.ends.given_up, behind.upstream.timeouts, behind.upstream.pending) == ([asked], 1, 0)
    assert behind.upstream.health.suspect


def test_with_another_server_there_nothing_is_sent_twice(behind: Behind) -> None:
    behind.upstream.health.probed_at = 1e9
    behind.upstream.send(ask())
    behind.hears()
    behind.upstream.sweep(101.1, alone=False)
    assert behind.hears_nothing()


def test_a_probe_is_no_query_and_settles_a_doubt(behind: Behind) -> None:
    behind.upstream.health.silent(1.0)
    behind.upstream.sweep(100.0, alone=True)
    behind.upstream.sweep(100.1, alone=True)
    assert (behind.upstream.pending, behind.upstream.sent) == (0, 0)
    behind.answers()
    assert not behind.upstream.health.suspect
    assert behind.ends.delivered == []


def test_a_full_table_and_a_greedy_client(behind: Behind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING", 8)
    monkeypatch.setattr(module, "PENDING_SHARE", 2)
    behind.upstream.health.probed_at = 1e9
    for _ in range(4):
        behind.upstream.send(ask())
    behind.upstream.sweep(100.1, alone=False)
    behind.upstream.send(ask())
    assert len(behind.ends.overloaded) == 1, "it has more than its share of what is half taken"
    for number in range(5):
        behind.upstream.send(ask(host=bytes([192, 0, 2, 100 + number])))
    assert len(behind.ends.overloaded) == 2
    assert behind.upstream.pending == 8


def test_a_reply_that_breaks_something_is_none(behind: Behind) -> None:
    asked = ask()
    behind.ends.breaks = True
    behind.upstream.send(asked)
    behind.answers()
    assert behind.ends.given_up == [asked]
    assert behind.upstream.pending == 0


def test_who_is_named_has_a_header_before_the_query(behind: Behind) -> None:
    behind.upstream.tells_client = True
    for preserved in (False, True):
        asked = ask(preserved=preserved)
        (behind.upstream.send_preserved if preserved else behind.upstream.send)(asked)
        assert behind.hears()[0].startswith(b"PROXY None")
