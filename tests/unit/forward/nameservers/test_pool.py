"""Which nameserver is asked, over each transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from flatproxy.config.settings import Endpoint, Upstream
from flatproxy.forward.nameservers.health import PROBES_TO_DOWN, PROBES_TO_FAILING
from flatproxy.forward.nameservers.pool import Pool, Surroundings

if TYPE_CHECKING:
    from flatproxy.forward.nameservers.health import Health

SERVFAIL = b"\0\0\x80\2" + bytes(8)


@pytest.fixture
def pool() -> Pool:
    """Two nameservers, on which nothing is opened."""
    nothing = cast("Any", None)
    servers = (Endpoint("192.0.2.53", 53), Endpoint("192.0.2.54", 53))
    return Pool(Surroundings(nothing, nothing, nothing), Upstream(servers=servers), b"\7example\3com\0")


def down(health: Health) -> None:
    for number in range(PROBES_TO_DOWN):
        health.probe_failed(1.0 + number)


def chosen(pool: Pool) -> tuple[int | None, int | None]:
    """Return which is asked over UDP, and which over TCP."""
    datagrams = [server.datagram for server in pool.servers]
    stream = pool.next_stream(())
    return (
        None if pool.current is None else datagrams.index(pool.current),
        None if stream is None else [server.stream for server in pool.servers].index(stream),
    )


def test_the_first_as_long_as_it_is_well(pool: Pool) -> None:
    assert chosen(pool) == (0, 0)
    pool.servers[1].datagram.health.silent(1.0)
    assert chosen(pool) == (0, 0)


def test_doubt_about_udp_sends_both_elsewhere_and_doubt_about_tcp_only_tcp(pool: Pool) -> None:
    pool.servers[0].stream.health.silent(1.0)
    assert chosen(pool) == (0, 1)
    pool.servers[0].stream.health.heard(bytes(12), 2.0)
    pool.servers[0].datagram.health.silent(3.0)
    assert chosen(pool) == (1, 1)


def test_all_down_over_udp_are_still_asked_over_tcp(pool: Pool) -> None:
    for server in pool.servers:
        down(server.datagram.health)
    assert chosen(pool) == (None, 0)
    assert [server.up for server in pool.servers] == [False, False]


def test_all_down_over_tcp_are_still_asked_over_udp(pool: Pool) -> None:
    for server in pool.servers:
        down(server.stream.health)
    assert chosen(pool) == (0, None)


def test_one_that_has_servfail_for_everything_comes_last_and_is_better_than_none(pool: Pool) -> None:
    first, second = (server.datagram.health for server in pool.servers)
    first.heard(SERVFAIL, 1.0)
    assert chosen(pool)[0] == 0
    for number in range(PROBES_TO_FAILING):
        first.probe_answered(SERVFAIL, 2.0 + number)
    assert chosen(pool)[0] == 1
    down(second)
    assert chosen(pool)[0] == 0
    second.heard(bytes(12), 20.0)
    assert chosen(pool)[0] == 1
    first.heard(bytes(12), 21.0)
    assert chosen(pool)[0] == 0


def test_each_is_tried_once(pool: Pool) -> None:
    one, two = (server.datagram for server in pool.servers)
    assert pool.next_after(one.itself) is two
    assert pool.next_after((one, two)) is None
    assert pool.next_stream([pool.servers[0].stream]) is pool.servers[1].stream
