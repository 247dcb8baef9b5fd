from __future__ import annotations

import select
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.config.settings import Endpoint
from flatproxy.errors import FlatproxyError
from flatproxy.forward import listen
from flatproxy.forward.limits import share_descriptors
from flatproxy.forward.listen import bind_all, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.forward.listen import Sockets

ANY_PORT = Endpoint("127.0.0.1", 0)


@contextmanager
def bound(count: int, endpoint: Endpoint = ANY_PORT) -> Iterator[list[Sockets]]:
    pairs = bind_all(endpoint, count)
    with ExitStack() as stack:
        for pair in pairs:
            stack.enter_context(pair.udp)
            stack.enter_context(pair.tcp)
        yield pairs


def _at(pair: Sockets) -> Endpoint:
    return Endpoint(*pair.udp.getsockname())


def test_all_pairs_have_the_port_that_the_first_one_chose() -> None:
    with bound(3) as pairs:
        assert len({each.getsockname() for pair in pairs for each in (pair.udp, pair.tcp)}) == 1
        assert len({each.fileno() for pair in pairs for each in (pair.udp, pair.tcp)}) == 6
        assert not any(each.getblocking() for pair in pairs for each in (pair.udp, pair.tcp))


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_the_kernel_spreads_clients_over_all(kind: socket.SocketKind) -> None:
    with bound(2) as pairs, ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(socket.socket(socket.AF_INET, kind))
            client.connect(pairs[0].udp.getsockname())
            client.send(b"hello")
        each = [pair.udp if kind == socket.SOCK_DGRAM else pair.tcp for pair in pairs]
        assert set(select.select(each, [], [], 5)[0]) == set(each)


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("second", [1, 2])
def test_nobody_else_can_join(monkeypatch: pytest.MonkeyPatch, first: int, second: int) -> None:
    """Not even another flatproxy of the same user, which would take a part of the queries."""
    monkeypatch.setattr(listen, "PATIENCE_S", 0.0)
    with bound(first) as pairs:
        with pytest.raises(FlatproxyError, match="Address already in use"):
            bind_all(_at(pairs[0]), second)
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as other, pytest.raises(OSError, match="in use"):
                other.bind(pairs[0].udp.getsockname())


def test_one_pair_alone_is_open_to_nobody() -> None:
    with bound(1) as (pair,):
        for sock in (pair.udp, pair.tcp):
            assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


def test_several_wait_for_a_port_that_is_about_to_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with bound(2) as pairs:
        at = _at(pairs[0])

        def pause(_seconds: float) -> None:
            for pair in pairs:
                pair.udp.close()
                pair.tcp.close()

        monkeypatch.setattr(listen, "sleep", pause)
        with bound(2, at) as again:
            assert _at(again[1]) == at


def test_passed_sockets_are_shared() -> None:
    with bound(1) as (pair,):
        assert share(pair, 3) == [pair] * 3


def test_descriptors_that_were_given_are_not_shared_out() -> None:
    assert share_descriptors(2, 600, taken=100) == share_descriptors(2, 500)
    with pytest.raises(FlatproxyError, match="needs 148 or more"):
        share_descriptors(1, 100, taken=100)


@given(st.integers(1, 20), st.integers(48, 20_000))
def test_no_more_descriptors_are_shared_out_than_there_are(servers: int, limit: int) -> None:
    """Each client connection may take one to the nameserver; 32 are left for all else, 160 where there are enough."""
    shares = share_descriptors(servers, limit)
    used = servers * (shares.sockets + shares.one_shots) + 2 * shares.connections
    if limit >= 32 + 4 * servers:
        assert used <= limit - 32
    if limit >= 1024:
        assert used <= limit - 160
