"""The HTTP side over real sockets on loopback."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flatproxy.observe.channel import CONNECTION_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
DEADLINE_S = 10


def hosts() -> list[Any]:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skip(reason="no IPv6 on loopback"))]
    return ["127.0.0.1", "::1"]


@pytest.fixture(params=hosts())
def address(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.unit.observe.serving", request.param],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        try:
            yield request.param, int(child.stdout.readline())
            said, _ = child.communicate(timeout=DEADLINE_S)  # the end of its standard input tells it to stop
        finally:
            child.kill()
        assert said == "None\n"  # its address once it has stopped
        assert child.returncode == 0


def ask(address: tuple[str, int], path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=DEADLINE_S)
    connection.request("GET", path)
    reply = connection.getresponse()
    return reply.status, reply.read()


def test_pages(address: tuple[str, int]) -> None:
    code, body = ask(address, "/metrics")
    assert code == 200
    assert b"\nflatproxy_unsent_total 1.0\n" in body
    assert ask(address, "/healthz")[0] == 200
    assert ask(address, "/readyz")[0] == 503


def test_too_many_connections_are_closed_at_once_and_the_rest_goes_on(address: tuple[str, int]) -> None:
    held = [socket.create_connection(address, timeout=DEADLINE_S) for _ in range(CONNECTION_LIMIT)]
    with socket.create_connection(address, timeout=DEADLINE_S) as refused:
        assert refused.recv(1) == b""
    for connection in held:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        connection.close()
    assert ask(address, "/healthz")[0] == 200
