"""What `docs/limits.md` says of tables and descriptors: each is filled, and nobody else notices."""

from __future__ import annotations

import contextlib
import resource
import socket
from typing import TYPE_CHECKING

import dns.message
import dns.rcode

from tests.support import dnsio, queries
from tests.support.configuration import configuration
from tests.support.proxy import Proxy
from tests.support.waiting import until
from tests.support.zones import wire_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.scripted import Scripted


from .limits import (
    BOUND,
    FEW,
    FLATTENED,
    GOOD,
    REFUSED,
    SILENT,
    asks,
    begin,
    connect,
    descriptors_of,
    serves_udp,
    upstream,
    wait_metric,
)

__all__ = ["begin", "upstream"]


@contextlib.contextmanager
def _flood(proxy: Proxy, source: str, message: bytes, count: int) -> Iterator[socket.socket]:
    """Send that many from one address, no faster than they are read: now and then a refusal is waited for."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.connect(proxy.address)
        sock.settimeout(5)
        for number in range(count):
            sock.send(number.to_bytes(2, "big") + message[2:])
            if number % 100 == 99:
                sock.send(b"\xff\xff" + REFUSED[2:])
                while sock.recv(65535)[3] & 0x0F != dns.rcode.REFUSED:
                    pass
        yield sock


def test_three_thousand_that_nobody_answers(begin: Callable[..., Proxy]) -> None:
    """Others are answered meanwhile; then each is given up, and nothing of them is left."""
    proxy = begin("6s")
    with _flood(proxy, "127.0.0.2", SILENT, 3_000):
        assert proxy.metrics().value("upstream_pending") >= 3_000
        for _ in range(50):
            serves_udp(proxy)
        assert proxy.metrics().value("upstream_timeouts_total") == 0
        wait_metric(proxy, "upstream_timeouts_total", 3_000)
    wait_metric(proxy, "upstream_pending", 0)
    assert proxy.metrics().value("overloaded_total") == 0
    assert not proxy.since(0, "upstream_down")
    serves_udp(proxy)


def _gets_through(proxy: Proxy, source: str) -> bool:
    with _flood(proxy, source, GOOD, 1) as sock:
        return sock.recv(65535)[3] & 0x0F == dns.rcode.NOERROR


def test_a_client_s_share_once_half_is_taken(begin: Callable[..., Proxy]) -> None:
    proxy = begin("30s")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_flood(proxy, "127.0.0.2", SILENT, 6_000))
        assert _gets_through(proxy, "127.0.0.2"), "less than half is taken"
        stack.enter_context(_flood(proxy, "127.0.0.3", SILENT, 3_000))
        until(lambda: not _gets_through(proxy, "127.0.0.2"), "it has more than its share")
        assert proxy.metrics().value("overloaded_total") >= 1
        assert _gets_through(proxy, "127.0.0.3")
        assert _gets_through(proxy, "127.0.0.4")
        serves_udp(proxy)


def test_the_pending_table_is_full(begin: Callable[..., Proxy]) -> None:
    """SERVFAIL at once, for everybody; what flatproxy answers itself goes on, and so does TCP."""
    proxy = begin("30s")
    with contextlib.ExitStack() as stack:
        for number in range(5):
            stack.enter_context(_flood(proxy, f"127.0.0.{number + 2}", SILENT, 3_400))
        assert proxy.metrics().value("upstream_pending") in (16_384, 16_385)  # with a probe or without
        assert proxy.metrics().value("overloaded_total") >= 5 * 3_400 - 16_384
        assert not _gets_through(proxy, "127.0.0.9")
        reply = dnsio.udp(proxy.address, FLATTENED)
        assert reply is not None
        assert reply[3] & 0x0F == dns.rcode.NOERROR
        with connect(proxy) as connection:
            assert asks(connection)


def test_odd_queries_have_a_bound_of_their_own(begin: Callable[..., Proxy], upstream: Scripted) -> None:
    proxy = begin("6s")
    before = descriptors_of(proxy)
    odd = queries.query(wire_name("silent.example.com"), 1, flags=3 << 11)
    with _flood(proxy, "127.0.0.2", odd, 1_500):
        overloaded = proxy.metrics().value("overloaded_total")
        assert 1_500 - 1_024 <= overloaded <= 1_500 - 1_024 + 1, "a probe has a socket of this kind, too"
        serves_udp(proxy)
    wait_metric(proxy, "upstream_pending", 0)
    until(lambda: descriptors_of(proxy) <= before + 2, "the descriptors are given back")


# Descriptors


def test_too_few_descriptors(upstream: Scripted, tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, configuration(upstream=[upstream.address]), 40)
    proxy.launch()
    try:
        assert proxy.wait() == 1
    finally:
        proxy.kill()
    assert "this process may open 40 files only, it needs 48 or more" in proxy.log
    assert "LimitNOFILE" in proxy.log
    assert "Traceback" not in proxy.log


def test_as_few_descriptors_as_it_runs_on(begin: Callable[..., Proxy]) -> None:
    proxy = begin("1s", 48)
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            assert asks(stack.enter_context(connect(proxy)))
            serves_udp(proxy)
        stack.enter_context(_flood(proxy, "127.0.0.2", SILENT, 500))
        odd = queries.query(wire_name("silent.example.com"), 1, flags=3 << 11)
        stack.enter_context(_flood(proxy, "127.0.0.2", odd, 100))
        serves_udp(proxy)
        assert proxy.ask(dns.message.make_query("mail.example.com", "MX"), tcp=True)
    wait_metric(proxy, "tcp_connections", 0)


def test_a_reload_shares_descriptors_out_anew(begin: Callable[..., Proxy], upstream: Scripted) -> None:
    """Many servers in place of one, and back; nothing is left open on the way."""
    proxy = begin("200ms", 100)
    before = descriptors_of(proxy)
    one = proxy.path.read_text()
    port = upstream.address[1]
    eight = one.replace(f'"127.0.0.1:{port}"', ", ".join(f'"127.0.0.{host}:{port}"' for host in range(1, 9)))
    for _ in range(3):
        for config in (eight, one):
            proxy.reload(config)
            serves_udp(proxy)
            with connect(proxy) as connection:
                assert asks(connection)
            until(lambda: descriptors_of(proxy) < 50, "those of the former servers are given back")
    until(lambda: descriptors_of(proxy) <= before + 2, lambda: f"as many as before, {before}: {descriptors_of(proxy)}")


def test_a_reload_that_runs_out_of_descriptors_changes_nothing(begin: Callable[..., Proxy], upstream: Scripted) -> None:
    proxy = begin("200ms", FEW)
    one = proxy.path.read_text()
    port = upstream.address[1]
    other = one.replace(f'"127.0.0.1:{port}"', f'"127.0.0.1:{port}", "127.0.0.2:{port}"')
    before = descriptors_of(proxy)
    with contextlib.ExitStack() as stack:
        # Each with an upstream connection: what is left is not enough for a second set of sockets.
        opened = [stack.enter_context(connect(proxy, f"127.0.{number % 5}.9")) for number in range(BOUND)]
        assert all(asks(connection) for connection in opened)
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (descriptors_of(proxy) + 10,) * 2)
        proxy.reload(other, "reload_failed")
        serves_udp(proxy)
        assert all(asks(connection) for connection in opened)
    until(lambda: descriptors_of(proxy) <= before + 2, lambda: f"as many as before, {before}: {descriptors_of(proxy)}")
    proxy.reload(other)
    serves_udp(proxy)
