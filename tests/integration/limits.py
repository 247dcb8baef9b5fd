"""What the tests of limits share: a nameserver that is silent or says very much, and a proxy with few resources."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import dns.message
import dns.rcode
import pytest

from tests.support import dnsio, packets, queries
from tests.support.configuration import configuration
from tests.support.scripted import Answer, Query, Scripted
from tests.support.waiting import until
from tests.support.zones import wire_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.internet import FakeInternet
    from tests.support.proxy import Proxy

GOOD = queries.query(wire_name("mail.example.com"), 15)
FLATTENED = queries.query(wire_name("example.com"), 1)
REFUSED = queries.query(wire_name("other.test"), 1)
SILENT = queries.query(wire_name("silent.example.com"), 1)
LARGE = queries.query(wire_name("large.example.com"), 16)
PADDING = bytes(50_000)

FEW = 200
"""Descriptors; 42 connections follow from them."""
BOUND = 42


@pytest.fixture
def upstream() -> Iterator[Scripted]:
    """Says nothing to `silent`, and very much to `large`."""

    def script(query: Query) -> Answer:
        wire = query.data
        if b"silent" in wire:
            return None
        reply = wire[:2] + bytes((wire[2] | 0x84, 0)) + wire[4:]
        if b"large" in wire:
            writer.submit(query.reply, reply + PADDING)  # the server reads on while the client does not
            return None
        return reply

    with ThreadPoolExecutor(1) as writer, Scripted(script) as server:
        yield server


@pytest.fixture
def begin(upstream: Scripted, internet: FakeInternet, start: Callable[..., Proxy]) -> Callable[..., Proxy]:
    """Start the proxy with so many descriptors and so much patience."""
    internet.set("lb.test", "A", ["203.0.113.1"])

    def begun(timeout: str = "10s", descriptors: int | None = None, **more: dict[str, object]) -> Proxy:
        config = configuration(
            upstream=[upstream.address],
            resolver=[internet.address],
            flatten={"example.com": {"target": "lb.test", "types": ["A"]}},
            upstream_={"timeout": timeout},
            tables=more,
        )
        return start(config, descriptors=descriptors)

    return begun


def connect(proxy: Proxy, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(proxy.address, 20, (source, 0))


def asks(connection: socket.socket, message: bytes = GOOD) -> bytes | None:
    """Return the reply to a message, None where the connection is closed."""
    with contextlib.suppress(ConnectionError):
        connection.sendall(packets.frame(message))
        return dnsio.read_frame(connection)
    return None


def serves_udp(proxy: Proxy) -> None:
    for message in (GOOD, FLATTENED):
        reply = dnsio.udp(proxy.address, message)
        assert reply is not None
        assert reply[3] & 0x0F == dns.rcode.NOERROR


def silent_ones(upstream: Scripted) -> int:
    return len(upstream.with_octets(b"silent"))


def descriptors_of(proxy: Proxy) -> int:
    return len(list(Path(f"/proc/{proxy.pid}/fd").iterdir()))


def resident_octets(proxy: Proxy) -> int:
    return int(Path(f"/proc/{proxy.pid}/statm").read_text().split()[1]) * 4096


def wait_metric(proxy: Proxy, metric: str, value: float) -> None:
    said = lambda: f"{metric} {value}: {proxy.metrics().value(metric)}"  # noqa: E731
    until(lambda: proxy.metrics().value(metric) == value, said, 20)
