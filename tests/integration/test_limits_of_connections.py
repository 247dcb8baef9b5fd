"""What `docs/limits.md` says of connections and of what is read from one: each is filled, and nobody else notices."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from time import monotonic
from typing import TYPE_CHECKING

import dns.message
import dns.rcode
import pytest

from tests.support import dnsio, packets, queries
from tests.support.configuration import configuration
from tests.support.ports import bind_pair
from tests.support.proxy_header import header
from tests.support.waiting import until
from tests.support.zones import wire_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.proxy import Proxy
    from tests.support.scripted import Scripted


from .limits import (
    BOUND,
    FEW,
    FLATTENED,
    GOOD,
    LARGE,
    PADDING,
    SILENT,
    asks,
    begin,
    connect,
    descriptors_of,
    resident_octets,
    serves_udp,
    silent_ones,
    upstream,
    wait_metric,
)

__all__ = ["begin", "upstream"]


def test_idle_connections_make_room_and_busy_ones_stay(begin: Callable[..., Proxy]) -> None:
    proxy = begin("8s", FEW)
    before = descriptors_of(proxy)
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(connect(proxy))
        busy.sendall(packets.frame(SILENT))
        opened = []
        for number in range(2 * BOUND):
            connection = stack.enter_context(connect(proxy, f"127.0.{number % 5}.9"))
            assert asks(connection), "each is served when it comes"
            opened.append(connection)
        assert proxy.metrics().value("tcp_connections") == BOUND
        assert proxy.metrics().value("tcp_evicted_total") == BOUND + 1
        serves_udp(proxy)
        assert all(asks(connection) for connection in opened[BOUND + 1 :]), "the youngest are still there"
        assert not any(asks(connection) for connection in opened[: BOUND + 1]), "the oldest are not"
        reply = dnsio.read_frame(busy)
        assert reply is not None
        assert reply[3] & 0x0F == dns.rcode.SERVFAIL
        assert proxy.metrics().value("tcp_refused_total") == 0
    wait_metric(proxy, "tcp_connections", 0)
    until(lambda: descriptors_of(proxy) <= before + 2, "the descriptors are given back")


def test_where_all_are_busy_the_new_one_is_closed(begin: Callable[..., Proxy], upstream: Scripted) -> None:
    proxy = begin("6s", FEW)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connect(proxy, f"127.0.{number % 5}.9")) for number in range(BOUND)]
        for connection in opened:
            connection.sendall(packets.frame(SILENT))
        until(lambda: silent_ones(upstream) == BOUND, "all of them have asked")
        with connect(proxy) as late:
            assert asks(late) is None
        assert proxy.metrics().value("tcp_refused_total") == 1
        assert proxy.metrics().value("tcp_evicted_total") == 0
        serves_udp(proxy)
        for connection in opened:
            reply = dnsio.read_frame(connection)
            assert reply is not None
            assert reply[3] & 0x0F == dns.rcode.SERVFAIL
        with connect(proxy) as later:
            assert asks(later), "now that all are idle"
    wait_metric(proxy, "tcp_connections", 0)


def test_one_client_s_connections(begin: Callable[..., Proxy]) -> None:
    """Above 256 a client's own make room, never another's, however idle."""
    proxy = begin("2s")
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(connect(proxy, "127.0.0.3"))
        assert asks(other)
        opened = []
        for _ in range(300):
            opened.append(stack.enter_context(connect(proxy, "127.0.0.2")))
            assert asks(opened[-1], FLATTENED)
        assert proxy.metrics().value("tcp_connections") == 257
        assert proxy.metrics().value("tcp_evicted_total") == 44
        assert asks(other)
        assert not any(asks(connection, FLATTENED) for connection in opened[:44])
        assert all(asks(connection, FLATTENED) for connection in opened[44:])
        serves_udp(proxy)


def test_idle_ones_are_closed(begin: Callable[..., Proxy]) -> None:
    """After half a minute without a whole message (RFC 7766 section 6.2.3), however they are drip-fed; not before, and
    not while the client waits for something.
    """
    proxy = begin("45s", listen={"proxy_from": ["127.0.0.8/32"]})
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        waiting = stack.enter_context(connect(proxy))
        waiting.sendall(packets.frame(SILENT))
        mute, half, served, dripped, headed = (
            stack.enter_context(connect(proxy, source)) for source in ("127.0.0.1",) * 4 + ("127.0.0.8",)
        )
        half.sendall(packets.frame(GOOD)[:-1])
        headed.sendall(header("192.0.2.1", tcp=True)[:-1])
        assert asks(served)
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


def _serve_one_by_one(door: socket.socket) -> None:
    """Answer the first message of each connection, then close it: the others wait in the listen queue."""
    while True:
        try:
            connection, _ = door.accept()
        except OSError:
            return
        with connection:
            message = dnsio.read_frame(connection)
            if message is not None:
                connection.sendall(packets.frame(message[:2] + b"\x84\0" + message[4:]))


def test_a_crowd_before_a_short_listen_queue(start: Callable[..., Proxy]) -> None:
    """Those that find it full would try again after a second, all at once, and then after three: later than this."""
    udp, door = bind_pair()
    with udp, contextlib.ExitStack() as stack:
        door.listen(10)
        server = threading.Thread(target=_serve_one_by_one, args=(door,))
        server.start()
        try:
            proxy = start(configuration(upstream=[door.getsockname()], upstream_={"timeout": "2s"}), ready=False)
            clients = [stack.enter_context(connect(proxy)) for _ in range(200)]
            for client in clients:
                client.sendall(packets.frame(GOOD))
            replies = [dnsio.read_frame(client) for client in clients]
        finally:
            door.shutdown(socket.SHUT_RDWR)
            server.join()
            door.close()
    assert [reply and reply[3] & 0x0F for reply in replies] == [dns.rcode.NOERROR] * 200


# Messages on one connection


def _numbered(message: bytes, count: int) -> bytes:
    return b"".join(packets.frame(number.to_bytes(2, "big") + message[2:]) for number in range(count))


def test_thousands_of_queries_on_one_connection(begin: Callable[..., Proxy]) -> None:
    proxy, count = begin(), 6_000
    before = resident_octets(proxy)
    with connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(_numbered(GOOD, count),))
        sender.start()
        came = [dnsio.read_frame(connection) for _ in range(count)]
        sender.join()
        assert {reply[:2] for reply in came if reply} == {number.to_bytes(2, "big") for number in range(count)}
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert resident_octets(proxy) - before < 20 * 2**20


@pytest.mark.parametrize(("padding", "bound"), [(0, 500), (60_000, 5)], ids=["queries", "octets"])
def test_no_more_is_read_until_some_are_answered(
    begin: Callable[..., Proxy], upstream: Scripted, padding: int, bound: int
) -> None:
    """500 queries or 256 KiB of them."""
    proxy = begin()
    with connect(proxy) as connection, connect(proxy) as other:
        message = queries.query(wire_name("silent.example.com"), 1, tail=bytes(padding), counts=(1, 0, 0, 0))
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            connection.send(_numbered(message, 20 if padding else 2_000))
        until(lambda: silent_ones(upstream) >= bound, lambda: f"{bound} are under way: {silent_ones(upstream)}")
        for _ in range(20):
            assert asks(other)
            serves_udp(proxy)
        assert silent_ones(upstream) == bound


def test_a_reader_that_never_reads(begin: Callable[..., Proxy], upstream: Scripted) -> None:
    """Nothing is buffered for it, here or from the nameserver; once it reads, it gets all."""
    proxy, count = begin("20s"), 600
    before = resident_octets(proxy)
    with connect(proxy) as connection, connect(proxy) as other:
        connection.sendall(_numbered(LARGE, count))
        until(lambda: len(upstream.with_octets(b"large")) >= 500, "500 are under way")
        for _ in range(50):
            assert asks(other)
            serves_udp(proxy)
        assert resident_octets(proxy) - before < 10 * 2**20
        came = [dnsio.read_frame(connection) for _ in range(count)]
        assert {reply[:2] for reply in came if reply} == {number.to_bytes(2, "big") for number in range(count)}
        assert all(reply is not None and len(reply) == len(LARGE) + len(PADDING) for reply in came)
