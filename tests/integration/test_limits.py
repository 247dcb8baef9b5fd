"""What `docs/limits.md` says of tables, connections and descriptors: each is filled, and nobody else notices."""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import dns.message
import dns.rcode
import pytest

from tests.support import dnsio, packets, queries
from tests.support.configuration import configuration
from tests.support.proxy import Proxy
from tests.support.proxy_header import header
from tests.support.scripted import Answer, Query, Scripted
from tests.support.waiting import until
from tests.support.zones import wire_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.internet import FakeInternet

_GOOD = queries.query(wire_name("mail.example.com"), 15)
_FLATTENED = queries.query(wire_name("example.com"), 1)
_REFUSED = queries.query(wire_name("other.test"), 1)
_SILENT = queries.query(wire_name("silent.example.com"), 1)
_LARGE = queries.query(wire_name("large.example.com"), 16)
_PADDING = bytes(50_000)


@pytest.fixture
def upstream() -> Iterator[Scripted]:
    """Says nothing to `silent`, and very much to `large`."""

    def script(query: Query) -> Answer:
        wire = query.data
        if b"silent" in wire:
            return None
        reply = wire[:2] + bytes((wire[2] | 0x84, 0)) + wire[4:]
        if b"large" in wire:
            writer.submit(query.reply, reply + _PADDING)  # the server reads on while the client does not
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


def _connect(proxy: Proxy, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(proxy.address, 20, (source, 0))


def _asks(connection: socket.socket, message: bytes = _GOOD) -> bytes | None:
    """Return the reply to a message, None where the connection is closed."""
    with contextlib.suppress(ConnectionError):
        connection.sendall(packets.frame(message))
        return dnsio.read_frame(connection)
    return None


def _serves_udp(proxy: Proxy) -> None:
    for message in (_GOOD, _FLATTENED):
        reply = dnsio.udp(proxy.address, message)
        assert reply is not None
        assert reply[3] & 0x0F == dns.rcode.NOERROR


def _silent_ones(upstream: Scripted) -> int:
    return len(upstream.with_octets(b"silent"))


def _descriptors(proxy: Proxy) -> int:
    return len(list(Path(f"/proc/{proxy.pid}/fd").iterdir()))


def _resident_octets(proxy: Proxy) -> int:
    return int(Path(f"/proc/{proxy.pid}/statm").read_text().split()[1]) * 4096


def _is(proxy: Proxy, metric: str, value: float) -> None:
    said = lambda: f"{metric} {value}: {proxy.metrics().value(metric)}"  # noqa: E731
    until(lambda: proxy.metrics().value(metric) == value, said, 20)


# Connections

_FEW = 200
"""Descriptors; 42 connections follow from them."""
_BOUND = 42


def test_idle_connections_make_room_and_busy_ones_stay(begin: Callable[..., Proxy]) -> None:
    proxy = begin("8s", _FEW)
    before = _descriptors(proxy)
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(_connect(proxy))
        busy.sendall(packets.frame(_SILENT))
        opened = []
        for number in range(2 * _BOUND):
            connection = stack.enter_context(_connect(proxy, f"127.0.{number % 5}.9"))
            assert _asks(connection), "each is served when it comes"
            opened.append(connection)
        assert proxy.metrics().value("tcp_connections") == _BOUND
        assert proxy.metrics().value("tcp_evicted_total") == _BOUND + 1
        _serves_udp(proxy)
        assert all(_asks(connection) for connection in opened[_BOUND + 1 :]), "the youngest are still there"
        assert not any(_asks(connection) for connection in opened[: _BOUND + 1]), "the oldest are not"
        reply = dnsio.read_frame(busy)
        assert reply is not None
        assert reply[3] & 0x0F == dns.rcode.SERVFAIL
        assert proxy.metrics().value("tcp_refused_total") == 0
    _is(proxy, "tcp_connections", 0)
    until(lambda: _descriptors(proxy) <= before + 2, "the descriptors are given back")


def test_where_all_are_busy_the_new_one_is_closed(begin: Callable[..., Proxy], upstream: Scripted) -> None:
    proxy = begin("6s", _FEW)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(_connect(proxy, f"127.0.{number % 5}.9")) for number in range(_BOUND)]
        for connection in opened:
            connection.sendall(packets.frame(_SILENT))
        until(lambda: _silent_ones(upstream) == _BOUND, "all of them have asked")
        with _connect(proxy) as late:
            assert _asks(late) is None
        assert proxy.metrics().value("tcp_refused_total") == 1
        assert proxy.metrics().value("tcp_evicted_total") == 0
        _serves_udp(proxy)
        for connection in opened:
            reply = dnsio.read_frame(connection)
            assert reply is not None
            assert reply[3] & 0x0F == dns.rcode.SERVFAIL
        with _connect(proxy) as later:
            assert _asks(later), "now that all are idle"
    _is(proxy, "tcp_connections", 0)


def test_one_client_s_connections(begin: Callable[..., Proxy]) -> None:
    """Above 256 a client's own make room, never another's, however idle."""
    proxy = begin("2s")
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(_connect(proxy, "127.0.0.3"))
        assert _asks(other)
        opened = []
        for _ in range(300):
            opened.append(stack.enter_context(_connect(proxy, "127.0.0.2")))
            assert _asks(opened[-1], _FLATTENED)
        assert proxy.metrics().value("tcp_connections") == 257
        assert proxy.metrics().value("tcp_evicted_total") == 44
        assert _asks(other)
        assert not any(_asks(connection, _FLATTENED) for connection in opened[:44])
        assert all(_asks(connection, _FLATTENED) for connection in opened[44:])
        _serves_udp(proxy)


def test_idle_ones_are_closed(begin: Callable[..., Proxy]) -> None:
    """After half a minute without a whole message (RFC 7766 section 6.2.3), however they are drip-fed; not before, and
    not while the client waits for something.
    """
    proxy = begin("45s", listen={"proxy_from": ["127.0.0.8/32"]})
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        waiting = stack.enter_context(_connect(proxy))
        waiting.sendall(packets.frame(_SILENT))
        mute, half, served, dripped, headed = (
            stack.enter_context(_connect(proxy, source)) for source in ("127.0.0.1",) * 4 + ("127.0.0.8",)
        )
        half.sendall(packets.frame(_GOOD)[:-1])
        headed.sendall(header("192.0.2.1", tcp=True)[:-1])
        assert _asks(served)
        open_still = {mute, half, served, dripped, headed}
        for connection in open_still:
            selector.register(connection, selectors.EVENT_READ)
        began = monotonic()
        dripped.sendall(b"\x0f\xff")
        while open_still and monotonic() - began < 45:
            for key, _ in selector.select(0.5):
                with contextlib.suppress(ConnectionError):
                    assert not key.fileobj.recv(1)  # type: ignore[union-attr]
                assert monotonic() - began > 25, "not so soon"
                selector.unregister(key.fileobj)
                open_still.discard(key.fileobj)
            if dripped in open_still:
                with contextlib.suppress(ConnectionError):
                    dripped.sendall(b"\0")
        assert not open_still
        assert proxy.metrics().value("tcp_connections") == 1
        waiting.settimeout(0.1)
        with pytest.raises(TimeoutError):
            waiting.recv(1)


# Messages on one connection


def _numbered(message: bytes, count: int) -> bytes:
    return b"".join(packets.frame(number.to_bytes(2, "big") + message[2:]) for number in range(count))


def test_thousands_of_queries_on_one_connection(begin: Callable[..., Proxy]) -> None:
    proxy, count = begin(), 6_000
    before = _resident_octets(proxy)
    with _connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(_numbered(_GOOD, count),))
        sender.start()
        came = [dnsio.read_frame(connection) for _ in range(count)]
        sender.join()
        assert {reply[:2] for reply in came if reply} == {number.to_bytes(2, "big") for number in range(count)}
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert _resident_octets(proxy) - before < 20 * 2**20


@pytest.mark.parametrize(("padding", "bound"), [(0, 500), (60_000, 5)], ids=["queries", "octets"])
def test_no_more_is_read_until_some_are_answered(
    begin: Callable[..., Proxy], upstream: Scripted, padding: int, bound: int
) -> None:
    """500 queries or 256 KiB of them."""
    proxy = begin()
    with _connect(proxy) as connection, _connect(proxy) as other:
        message = queries.query(wire_name("silent.example.com"), 1, tail=bytes(padding), counts=(1, 0, 0, 0))
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            connection.send(_numbered(message, 20 if padding else 2_000))
        until(lambda: _silent_ones(upstream) >= bound, lambda: f"{bound} are under way: {_silent_ones(upstream)}")
        for _ in range(20):
            assert _asks(other)
            _serves_udp(proxy)
        assert _silent_ones(upstream) == bound


def test_a_reader_that_never_reads(begin: Callable[..., Proxy], upstream: Scripted) -> None:
    """Nothing is buffered for it, here or from the nameserver; once it reads, it gets all."""
    proxy, count = begin("20s"), 600
    before = _resident_octets(proxy)
    with _connect(proxy) as connection, _connect(proxy) as other:
        connection.sendall(_numbered(_LARGE, count))
        until(lambda: len(upstream.with_octets(b"large")) >= 500, "500 are under way")
        for _ in range(50):
            assert _asks(other)
            _serves_udp(proxy)
        assert _resident_octets(proxy) - before < 10 * 2**20
        came = [dnsio.read_frame(connection) for _ in range(count)]
        assert {reply[:2] for reply in came if reply} == {number.to_bytes(2, "big") for number in range(count)}
        assert all(reply is not None and len(reply) == len(_LARGE) + len(_PADDING) for reply in came)


# UDP


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
                sock.send(b"\xff\xff" + _REFUSED[2:])
                while sock.recv(65535)[3] & 0x0F != dns.rcode.REFUSED:
                    pass
        yield sock


def test_three_thousand_that_nobody_answers(begin: Callable[..., Proxy]) -> None:
    """Others are answered meanwhile; then each is given up, and nothing of them is left."""
    proxy = begin("6s")
    with _flood(proxy, "127.0.0.2", _SILENT, 3_000):
        assert proxy.metrics().value("upstream_pending") >= 3_000
        for _ in range(50):
            _serves_udp(proxy)
        assert proxy.metrics().value("upstream_timeouts_total") == 0
        _is(proxy, "upstream_timeouts_total", 3_000)
    _is(proxy, "upstream_pending", 0)
    assert proxy.metrics().value("overloaded_total") == 0
    assert not proxy.since(0, "upstream_down")
    _serves_udp(proxy)


def _gets_through(proxy: Proxy, source: str) -> bool:
    with _flood(proxy, source, _GOOD, 1) as sock:
        return sock.recv(65535)[3] & 0x0F == dns.rcode.NOERROR


def test_a_client_s_share_once_half_is_taken(begin: Callable[..., Proxy]) -> None:
    proxy = begin("30s")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_flood(proxy, "127.0.0.2", _SILENT, 6_000))
        assert _gets_through(proxy, "127.0.0.2"), "less than half is taken"
        stack.enter_context(_flood(proxy, "127.0.0.3", _SILENT, 3_000))
        until(lambda: not _gets_through(proxy, "127.0.0.2"), "it has more than its share")
        assert proxy.metrics().value("overloaded_total") >= 1
        assert _gets_through(proxy, "127.0.0.3")
        assert _gets_through(proxy, "127.0.0.4")
        _serves_udp(proxy)


def test_the_pending_table_is_full(begin: Callable[..., Proxy]) -> None:
    """SERVFAIL at once, for everybody; what flatproxy answers itself goes on, and so does TCP."""
    proxy = begin("30s")
    with contextlib.ExitStack() as stack:
        for number in range(5):
            stack.enter_context(_flood(proxy, f"127.0.0.{number + 2}", _SILENT, 3_400))
        assert proxy.metrics().value("upstream_pending") in (16_384, 16_385)  # with a probe or without
        assert proxy.metrics().value("overloaded_total") >= 5 * 3_400 - 16_384
        assert not _gets_through(proxy, "127.0.0.9")
        reply = dnsio.udp(proxy.address, _FLATTENED)
        assert reply is not None
        assert reply[3] & 0x0F == dns.rcode.NOERROR
        with _connect(proxy) as connection:
            assert _asks(connection)


def test_odd_queries_have_a_bound_of_their_own(begin: Callable[..., Proxy], upstream: Scripted) -> None:
    proxy = begin("6s")
    before = _descriptors(proxy)
    odd = queries.query(wire_name("silent.example.com"), 1, flags=3 << 11)
    with _flood(proxy, "127.0.0.2", odd, 1_500):
        overloaded = proxy.metrics().value("overloaded_total")
        assert 1_500 - 1_024 <= overloaded <= 1_500 - 1_024 + 1, "a probe has a socket of this kind, too"
        _serves_udp(proxy)
    _is(proxy, "upstream_pending", 0)
    until(lambda: _descriptors(proxy) <= before + 2, "the descriptors are given back")


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
            assert _asks(stack.enter_context(_connect(proxy)))
            _serves_udp(proxy)
        stack.enter_context(_flood(proxy, "127.0.0.2", _SILENT, 500))
        odd = queries.query(wire_name("silent.example.com"), 1, flags=3 << 11)
        stack.enter_context(_flood(proxy, "127.0.0.2", odd, 100))
        _serves_udp(proxy)
        assert proxy.ask(dns.message.make_query("mail.example.com", "MX"), tcp=True)
    _is(proxy, "tcp_connections", 0)


def test_a_reload_shares_descriptors_out_anew(begin: Callable[..., Proxy], upstream: Scripted) -> None:
    """Many servers in place of one, and back; nothing is left open on the way."""
    proxy = begin("200ms", 100)
    before = _descriptors(proxy)
    one = proxy.path.read_text()
    port = upstream.address[1]
    eight = one.replace(f'"127.0.0.1:{port}"', ", ".join(f'"127.0.0.{host}:{port}"' for host in range(1, 9)))
    for _ in range(3):
        for config in (eight, one):
            proxy.reload(config)
            _serves_udp(proxy)
            with _connect(proxy) as connection:
                assert _asks(connection)
            until(lambda: _descriptors(proxy) < 50, "those of the former servers are given back")
    until(lambda: _descriptors(proxy) <= before + 2, lambda: f"as many as before, {before}: {_descriptors(proxy)}")


def test_a_reload_that_runs_out_of_descriptors_changes_nothing(begin: Callable[..., Proxy], upstream: Scripted) -> None:
    proxy = begin("200ms", _FEW)
    one = proxy.path.read_text()
    port = upstream.address[1]
    other = one.replace(f'"127.0.0.1:{port}"', f'"127.0.0.1:{port}", "127.0.0.2:{port}"')
    before = _descriptors(proxy)
    with contextlib.ExitStack() as stack:
        # Each with an upstream connection: what is left is not enough for a second set of sockets.
        opened = [stack.enter_context(_connect(proxy, f"127.0.{number % 5}.9")) for number in range(_BOUND)]
        assert all(_asks(connection) for connection in opened)
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (_descriptors(proxy) + 10,) * 2)
        proxy.reload(other, "reload_failed")
        _serves_udp(proxy)
        assert all(_asks(connection) for connection in opened)
    until(lambda: _descriptors(proxy) <= before + 2, lambda: f"as many as before, {before}: {_descriptors(proxy)}")
    proxy.reload(other)
    _serves_udp(proxy)
