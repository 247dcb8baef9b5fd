"""The path as a whole: other families, processes that fork, descriptors that run short, many names."""

from __future__ import annotations

import os
import resource
import socket
import time
from array import array
from typing import TYPE_CHECKING

import pytest

from flatproxy.forward.native import _core
from flatproxy.wire import reply
from tests.unit.forward.native.standing import PATIENCE_S, framed, fresh, read_framed, saying, wire
from tests.unit.wire.messages import query, response

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.forward.native.standing import Standing

    Stand = Callable[..., Standing]

WWW = query("www.example.com", id=1)
OUTSIDE = query("www.example.net", id=2)


@pytest.mark.parametrize("wildcard", [False, True])
def test_ipv6_all_the_way(wildcard: bool) -> None:
    nameserver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with nameserver, client:
        nameserver.bind(("::1", 0))
        listener.bind(("::" if wildcard else "::1", 0))
        path = _core.Path(1)
        network = bytes(15) + b"\1"
        path.publish(
            _core.Table(
                names=b"", rule_numbers=array("I"), rules=(), zones=None, ipv4=b"", ipv6=network * 2, everyone=False
            )
        )
        at = (("::1", nameserver.getsockname()[1]),)
        path.publish(_core.Servers(at, threads=1, sockets=2, timeout_s=60.0, tells_client=False))
        client.connect(("::1", listener.getsockname()[1]))
        path.listen(listener.detach(), wildcard=wildcard)
        path.start()
        for sock in (nameserver, client):
            sock.settimeout(PATIENCE_S)
        client.send(WWW)
        sent, peer = nameserver.recvfrom(65535)
        assert sent[2:] == WWW[2:]
        nameserver.sendto(response(sent), peer)
        assert client.recv(65535)[:2] == WWW[:2]
        path.stop()


def test_a_child_process_has_no_threads_and_leaves_the_parents_alone(stand: Stand) -> None:
    standing = stand()
    child = os.fork()
    if not child:
        try:
            standing.path.counts()
        except RuntimeError:
            del standing.path
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert standing.ask(OUTSIDE) == reply.error_reply(OUTSIDE, reply.REFUSED)


def test_what_was_handed_over_may_outlive_the_threads(stand: Stand) -> None:
    standing = stand(flagged={"example.com": {1: _core.Answer()}})
    udp, tcp = standing.client(), standing.connect()
    udp.send(query(id=6))
    by_udp = standing.handed()
    tcp.sendall(framed(query(id=6)))
    tcp.sendall(framed(query(id=6)))
    by_tcp, let_go = standing.handed(), standing.handed()
    standing.path.stop()
    by_udp.reply(reply.error_reply(query(id=6), reply.REFUSED))
    by_tcp.reply(reply.error_reply(query(id=6), reply.REFUSED))
    del let_go
    assert udp.recv(65535)[3] == reply.REFUSED


def test_without_descriptors_datagrams_go_on_and_connections_wait(stand: Stand) -> None:
    standing = stand()
    client, stream = standing.client(), socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with stream:
        stream.settimeout(PATIENCE_S)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 - descriptors, not paths
        spare = [os.dup(0) for _ in range(highest)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, hard))
        try:
            stream.connect(("127.0.0.1", standing.port))
            stream.sendall(framed(OUTSIDE))
            for _ in range(20):
                client.send(OUTSIDE)
                assert client.recv(65535) == reply.error_reply(OUTSIDE, reply.REFUSED)
            assert standing.count("tcp_connections") == 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in spare:
                os.close(fd)
        assert read_framed(stream) == reply.error_reply(OUTSIDE, reply.REFUSED)


def test_a_descriptor_of_another_kind_is_not_listened_on(stand: Stand) -> None:
    standing = stand()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        with pytest.raises(OSError, match="Invalid"):
            standing.path.listen(sock.fileno())
        with pytest.raises(OSError, match="Invalid"):
            standing.path.listen(sock.fileno(), tcp=True)
    with pytest.raises(OSError, match="Bad"):
        standing.path.listen(-1)


def test_nothing_but_what_is_to_be_published_is_published(stand: Stand) -> None:
    standing = stand()
    table = _core.Table(names=b"", rule_numbers=array("I"), rules=(), zones=b"", ipv4=b"", ipv6=b"", everyone=True)
    standing.path.publish(table)
    for wrong in (
        table,
        None,
        _core.Answer(),
        _core.Servers((("127.0.0.1", 53),), threads=2, sockets=1, timeout_s=1.0, tells_client=False),
    ):
        with pytest.raises(TypeError):
            standing.path.publish(wrong)  # type: ignore[arg-type]
    assert standing.ask(WWW) == reply.error_reply(WWW, reply.REFUSED)


def test_tables_come_and_go_under_load(stand: Stand) -> None:
    answer = saying(fresh())
    texts = [f"n{number}.example.com" for number in range(2000)]
    standing = stand(flagged={text: {1: answer} for text in texts}, threads=2)
    clients = [standing.client() for _ in range(8)]
    deadline = time.monotonic() + 1
    rounds = 0
    while time.monotonic() < deadline or rounds < 20:
        for number, client in enumerate(clients):
            client.send(query(texts[(rounds * 8 + number) % len(texts)]))
        standing.publish()
        answer.say((fresh(),), False)
        for client in clients:
            assert client.recv(65535)[6:8] == b"\0\3"
        rounds += 1
    standing.until(lambda: standing.path.reclaim() == 0)


def test_without_a_table_everything_is_handed_over() -> None:
    path = _core.Path(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("127.0.0.1", 0))
        client.settimeout(PATIENCE_S)
        client.connect(listener.getsockname())
        path.listen(listener.detach())
        path.start()
        client.send(query(id=6))
        handed: list[_core.Handed] = []
        while not handed:
            handed += path.take()
        assert handed[0].kind == _core.HANDED_QUERY
        handed[0].reply(reply.error_reply(query(id=6), reply.SERVFAIL))
        assert client.recv(65535)[3] == reply.SERVFAIL
    path.stop()


def test_names_are_told_apart_by_all_their_octets(stand: Stand) -> None:
    long = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    many = ".".join(["a"] * 127)
    answer = saying(fresh())
    standing = stand(flagged={long: {1: answer}, many: {1: answer}, "": {1: answer}}, zones=())
    for text in (long, many, "."):
        assert standing.ask(query(text, id=6))[6:8] == b"\0\3"
    other = query(long[:-1] + "e", id=6)
    assert standing.ask(other) == reply.error_reply(other, reply.REFUSED)
    assert wire(many)[-3:] == b"\1a\0"
