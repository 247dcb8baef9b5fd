"""Connections to a nameserver are set up few at a time: who waits, whose turn it is, and who waits no longer."""

from __future__ import annotations

import select
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from flatproxy.wire import reply
from tests.unit.forward.native.standing import framed, read_framed
from tests.unit.wire.messages import query, response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.unit.forward.native.standing import Standing

    Stand = Callable[..., Standing]

WWW = query("www.example.com", id=1)
FAILED = reply.error_reply(WWW, reply.SERVFAIL)
FEW = {"setting_up": 2, "settled_s": 3600.0}


def asking(standing: Standing, count: int) -> Sequence[socket.socket]:
    """Return clients that have asked, one after the other."""
    clients = [standing.connect() for _ in range(count)]
    for number, client in enumerate(clients):
        client.sendall(framed(WWW))
        standing.until(lambda: standing.count("tcp_forwarded") > number)  # noqa: B023 - waited for at once
    return clients


def reset(client: socket.socket) -> None:
    """Be gone at once: whoever closes its half only is answered still."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def nobody_else(standing: Standing, server: int = 0) -> bool:
    """Tell that no other connection has come, or comes soon."""
    return not select.select([standing.doors[server]], [], [], 0.2)[0]


def answer(standing: Standing, links: list[socket.socket], count: int, server: int = 0) -> None:
    """Answer so many queries, each on a connection of its own; each lets the next connection come."""
    for left in range(count - 1, -1, -1):
        link = links.pop(0)
        assert read_framed(link) == WWW
        link.sendall(framed(response(WWW)))
        if left > len(links):
            links.append(standing.link(server))


def test_each_answer_lets_the_next_begin(stand: Stand) -> None:
    standing = stand(limits=FEW)
    clients = asking(standing, 12)
    links = [standing.link(), standing.link()]
    assert nobody_else(standing)
    answer(standing, links, 12)
    assert [read_framed(client) for client in clients] == [response(WWW)] * 12
    assert nobody_else(standing)


def test_a_place_is_given_away_by_what_closes_and_by_whom_has_gone(stand: Stand) -> None:
    standing = stand(limits=FEW, timeout_s=60)
    clients = list(asking(standing, 5))
    _, second = standing.link(), standing.link()
    assert nobody_else(standing)
    reset(clients[3])  # it was waiting
    reset(clients[0])
    third = standing.link()
    assert nobody_else(standing)
    second.close()  # before an answer: the client asks again, when it is its turn
    links = [third, standing.link()]
    assert nobody_else(standing)
    answer(standing, links, 3)
    assert [read_framed(clients[number]) for number in (1, 2, 4)] == [response(WWW)] * 3


def test_one_on_which_nothing_comes_keeps_nobody_waiting_for_long(stand: Stand) -> None:
    standing = stand(limits={"setting_up": 2, "settled_s": 0.05})
    asking(standing, 7)
    links = [standing.link() for _ in range(7)]
    assert all(read_framed(link) == WWW for link in links)


def test_what_waits_too_long_fails(stand: Stand) -> None:
    standing = stand(limits=FEW, timeout_s=0.3)
    clients = asking(standing, 3)
    links = [standing.link(), standing.link()]
    assert [read_framed(client) for client in clients] == [FAILED] * 3
    standing.until(lambda: standing.upstream.counts()[0]["tcp_timeouts"] == 2)
    clients[2].sendall(framed(WWW))
    links[0].close()
    assert read_framed(standing.link()) == WWW


def test_who_waits_turns_to_the_server_that_is_up(stand: Stand) -> None:
    standing = stand(limits=FEW, servers=2)
    clients = asking(standing, 4)
    links = [standing.link(0), standing.link(0)]
    assert nobody_else(standing, 1)
    standing.upstream.order((1, 0), (1,))
    links += [standing.link(1), standing.link(1)]
    for link in links:
        assert read_framed(link) == WWW
        link.sendall(framed(response(WWW)))
    assert [read_framed(client) for client in clients] == [response(WWW)] * 4


def test_who_waits_turns_to_other_nameservers_when_they_come_into_force(stand: Stand) -> None:
    standing = stand(limits=FEW, servers=2)
    standing.path.publish(standing.servers_at(standing.doors[0].getsockname()[1]))
    asking(standing, 4)
    links = [standing.link(0), standing.link(0)]
    standing.path.publish(standing.servers_at(standing.doors[1].getsockname()[1]))
    links += [standing.link(1), standing.link(1)]
    assert all(read_framed(link) == WWW for link in links)


@pytest.mark.parametrize("last", [False, True])
def test_who_waits_for_one_that_refuses_is_not_kept(stand: Stand, *, last: bool) -> None:
    standing = stand(limits=FEW, servers=1 if last else 2)
    standing.doors[0].close()
    clients = asking(standing, 6)
    if last:
        assert [read_framed(client) for client in clients] == [FAILED] * 6
        return
    links = [standing.link(1), standing.link(1)]
    answer(standing, links, 6, server=1)
    assert [read_framed(client) for client in clients] == [response(WWW)] * 6


def test_threads_share_the_places(stand: Stand) -> None:
    """Two of four each, so that all clients on one thread have two."""
    standing = stand(limits={"setting_up": 4, "settled_s": 3600.0}, threads=2)
    asking(standing, 40)
    for _ in range(4):
        assert read_framed(standing.link()) == WWW
    assert nobody_else(standing)
