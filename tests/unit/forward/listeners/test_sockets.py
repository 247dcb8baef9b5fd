from __future__ import annotations

import socket

import pytest

from flatproxy.config.settings import Endpoint
from flatproxy.errors import FlatproxyError
from flatproxy.forward.listeners.sockets import bind

ANY_PORT = Endpoint("127.0.0.1", 0)


def test_both_sockets_have_one_port_and_never_block() -> None:
    bound = bind(ANY_PORT)
    assert [each.transport for each in bound] == ["udp", "tcp"]
    udp, tcp = (each.socket for each in bound)
    with udp, tcp:
        assert [udp.type, tcp.type] == [socket.SOCK_DGRAM, socket.SOCK_STREAM]
        assert udp.getsockname() == tcp.getsockname()
        assert not udp.getblocking()
        assert not tcp.getblocking()


def test_nobody_else_can_join() -> None:
    """Not even another flatproxy of the same user, which would take a part of the queries."""
    udp, tcp = (bound.socket for bound in bind(ANY_PORT))
    with udp, tcp:
        with pytest.raises(FlatproxyError, match="Address already in use"):
            bind(Endpoint(*udp.getsockname()))
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as other, pytest.raises(OSError, match="in use"):
                other.bind(udp.getsockname())
