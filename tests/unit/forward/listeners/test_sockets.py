from __future__ import annotations

import socket

import pytest

from flatproxy.config.settings import Endpoint
from flatproxy.errors import FlatproxyError
from flatproxy.forward.listeners.sockets import bind

ANY_PORT = Endpoint("127.0.0.1", 0)


def test_both_sockets_have_one_port_and_never_block() -> None:
    pair = bind(ANY_PORT)
    with pair.udp, pair.tcp:
        assert pair.udp.getsockname() == pair.tcp.getsockname()
        assert not pair.udp.getblocking()
        assert not pair.tcp.getblocking()


def test_nobody_else_can_join() -> None:
    """Not even another flatproxy of the same user, which would take a part of the queries."""
    pair = bind(ANY_PORT)
    with pair.udp, pair.tcp:
        with pytest.raises(FlatproxyError, match="Address already in use"):
            bind(Endpoint(*pair.udp.getsockname()))
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as other, pytest.raises(OSError, match="in use"):
                other.bind(pair.udp.getsockname())
