"""Servers: in which order they are asked, and what a failed question leaves behind, on the machine's own sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from typing import TYPE_CHECKING

import dns.name
import dns.rcode
import dns.rdatatype
import pytest

from flatproxy.config.settings import Endpoint
from flatproxy.counts import ResolverCounts
from flatproxy.errors import FlatproxyError
from flatproxy.flatten.resolvers.servers import PREFERRED_S, Servers
from tests.support.scripted import Query, Scripted, plain, silent

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["closed", "silent"])
def endpoint(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        at = Endpoint(*sock.getsockname())
        if request.param == "closed":
            sock.close()
        yield at


def test_a_failed_question_leaves_nothing_for_the_collector(endpoint: Endpoint) -> None:
    """Several hundred may fail in a second; memory that waits for a collection is pinned among what stays."""

    async def ask() -> int:
        servers = Servers((endpoint,), 0.05, recursion=False)
        name = dns.name.from_text("example.com.")

        async def fail() -> None:
            with contextlib.suppress(FlatproxyError):
                await servers.ask(name, dns.rdatatype.SOA)

        await fail()
        gc.collect()
        for _ in range(5):
            await asyncio.create_task(fail())
        return gc.collect()

    gc.disable()
    try:
        assert asyncio.run(ask()) == 0
    finally:
        gc.enable()


ONE, TWO, THREE = (Endpoint(f"192.0.2.{number}", 53) for number in (1, 2, 3))


def test_a_better_one_is_asked_first_for_a_minute() -> None:
    servers = Servers((ONE, TWO, THREE), 1.8, recursion=True)
    assert servers.order(10.0) == (ONE, TWO, THREE)
    servers.answered(0, (ONE, TWO, THREE), 10.0)
    assert servers.order(10.0) == (ONE, TWO, THREE)
    servers.answered(1, (ONE, TWO, THREE), 10.0)
    assert servers.order(10.0) == (TWO, ONE, THREE)
    servers.answered(0, (TWO, ONE, THREE), 50.0)
    assert servers.order(9.9 + PREFERRED_S) == (TWO, ONE, THREE)
    assert servers.order(10.0 + PREFERRED_S) == (ONE, TWO, THREE)
    servers.answered(2, (ONE, TWO, THREE), 100.0)
    servers.answered(1, (THREE, ONE, TWO), 120.0)
    assert servers.order(100.0 + PREFERRED_S) == (ONE, TWO, THREE)
    assert servers.order(130.0) == (ONE, TWO, THREE)


def _asked(servers: Servers) -> str:
    try:
        response = asyncio.run(servers.ask(dns.name.from_text("example.com."), dns.rdatatype.A))
    except FlatproxyError as error:
        return type(error).__name__
    return dns.rcode.to_text(response.rcode())


def test_what_each_one_was_like_is_counted() -> None:
    def refused(query: Query) -> bytes:
        return query.data[:2] + b"\x84\x05" + query.data[4:]

    with Scripted(refused) as first, Scripted(silent) as second, Scripted(plain) as third:
        endpoints = tuple(Endpoint(*each.address) for each in (first, second, third))
        counts = {str(each): ResolverCounts() for each in endpoints}
        servers = Servers(endpoints, 0.6, recursion=True, counts=counts)
        assert _asked(servers) == "NOERROR"
        assert servers.asked == endpoints[2]
        assert _asked(servers) == "NOERROR"
        assert len(second.received) == 2, "sent again in half of the time, and not asked when the third is preferred"
        assert second.received[0].data == second.received[1].data
        assert len(first.received) == 1
    one, two, three = counts.values()
    assert (one.failures["refused"], sum(one.failures.values()), sum(one.replies.latency.counts)) == (1, 1, 1)
    assert (two.failures["timeout"], sum(two.failures.values()), sum(two.replies.latency.counts)) == (1, 1, 0)
    assert (sum(three.failures.values()), sum(three.replies.latency.counts)) == (0, 2)
