"""Servers.ask on the machine's own sockets: what a failed question leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from typing import TYPE_CHECKING

import dns.name
import dns.rdatatype
import pytest

from flatproxy.config.settings import Endpoint
from flatproxy.errors import FlatproxyError
from flatproxy.flatten.resolvers.servers import Servers

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
