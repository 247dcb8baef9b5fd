"""PROXY headers as the path writes them, beside those of `wire/proxy.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flatproxy.wire import proxy
from tests.unit.forward.native.standing import LOOPBACK, framed, read_framed
from tests.unit.wire.messages import query, response

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from tests.unit.forward.native.standing import Standing

    Stand = Callable[..., Standing]

WWW = query("www.example.com", id=1)


def told(client: socket.socket, standing: Standing, asked: bytes = LOOPBACK, *, udp: bool) -> bytes:
    """Return the header that names a client."""
    port = client.getsockname()[1].to_bytes(2, "big")
    return proxy.header(LOOPBACK + port, asked + standing.port.to_bytes(2, "big"), udp=udp)


@pytest.mark.parametrize("wildcard", [False, True])
def test_each_datagram_begins_with_one(stand: Stand, *, wildcard: bool) -> None:
    standing = stand(tells_client=True, wildcard=wildcard)
    client = standing.client("127.0.0.9" if wildcard else "127.0.0.1")
    header = told(client, standing, bytes((127, 0, 0, 9)) if wildcard else LOOPBACK, udp=True)
    for _ in range(3):
        client.send(WWW)
    for _ in range(3):
        message, peer = standing.forwarded()
        assert message[: len(header)] == header
        assert message[len(header) + 2 :] == WWW[2:]
        standing.nameservers[0].sendto(response(message[len(header) :]), peer)
        assert client.recv(65535) == response(WWW)


def test_one_that_is_sent_again_begins_with_one(stand: Stand) -> None:
    standing = stand(tells_client=True, timeout_s=0.3)
    client = standing.client()
    client.send(WWW)
    header = told(client, standing, udp=True)
    first, again = standing.forwarded()[0], standing.forwarded()[0]
    assert first == again
    assert first[: len(header)] == header


def test_each_connection_begins_with_one(stand: Stand) -> None:
    standing = stand(tells_client=True)
    client = standing.connect()
    header = told(client, standing, udp=False)
    for _ in range(2):
        client.sendall(framed(WWW) * 2)
        link = standing.link()
        assert link.recv(len(header)) == header
        for _ in range(2):
            assert read_framed(link) == WWW
            link.sendall(framed(response(WWW)))
            assert read_framed(client) == response(WWW)
        link.close()


def test_what_python_sends_itself_can_begin_with_one(stand: Stand) -> None:
    standing = stand(tells_client=True)
    odd = WWW[:2] + b"\x20" + WWW[3:]
    client, stream = standing.client(), standing.connect()
    client.send(odd)
    assert standing.handed().proxy_header() == told(client, standing, udp=True)
    stream.sendall(framed(odd))
    assert standing.handed().proxy_header() == b"", "the path's to send"
