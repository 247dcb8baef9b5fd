"""A nameserver that is silent, gone, slow, or closes its connections at the wrong time."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support import dnsio, packets
from tests.support.packets import frame, record
from tests.support.waiting import let_pass, wait_until

from . import compare, load, zones

if TYPE_CHECKING:
    from tests.support.nameserver import Nameserver
    from tests.support.scripted import Query, Scripted

    from .arena import Launch
    from .subject import Subject


def is_servfail(message: bytes, reply: bytes | None) -> bool:
    """Tell whether it is SERVFAIL for this query, with its question."""
    return (
        compare.is_error(message, reply, {packets.SERVFAIL})
        and reply is not None
        and packets.question_of(reply) == packets.question_of(message)
    )


@pytest.mark.should
def test_087_silence_becomes_servfail(stub: Scripted, stub_proxy: Subject) -> None:
    stub.answer = lambda _: None
    messages = [packets.query(f"silent{index}.example.test") for index in range(5)]
    replies = dnsio.udp_many(stub_proxy.address, messages, wait_s=10)
    compare.hold(zip(messages, [None] * 5, replies, strict=True), lambda message, _, reply: is_servfail(message, reply))


@pytest.mark.must
def test_088_silence_over_tcp_ends(stub: Scripted, stub_proxy: Subject) -> None:
    stub.answer = lambda _: None
    message = packets.query("silent.example.test")
    with dnsio.Connection(stub_proxy.address) as connection:
        connection.send(message)
        reply = connection.receive(20)
        assert is_servfail(message, reply) or (reply is None and connection.closed)


@pytest.mark.must
def test_089_no_amplification(stub: Scripted, stub_proxy: Subject) -> None:
    def script(query: Query) -> None:
        if not query.qname.startswith(b"\6silent"):
            query.reply_later(load.own_answer(query.data), 0.6)

    stub.answer = script
    dnsio.udp(stub_proxy.address, packets.query("silent.example.test"), 0.1)
    message = packets.query("again.example.test")
    with dnsio.udp_socket(stub_proxy.address) as sock:
        for _ in range(5):
            sock.send(message)
            let_pass(0.1)
        replies = dnsio.drain(sock, 5.5)
    assert 1 <= len(replies) <= 5
    assert set(replies) == {load.own_answer(message)}
    assert len(stub.asked("again.example.test")) <= 10
    assert 1 <= len(stub.asked("silent.example.test")) <= 4


@pytest.mark.must
def test_090_a_closed_port_and_back(start: Launch, own_nsd: Nameserver) -> None:
    subject = start(own_nsd)
    own_nsd.stop()
    messages = [packets.query(load.wild(index)) for index in range(8)]
    for replies in (
        dnsio.udp_many(subject.address, messages, wait_s=3),
        dnsio.tcp_many(subject.address, messages, wait_s=5),
    ):
        assert all(
            reply is None or is_servfail(message, reply) for message, reply in zip(messages, replies, strict=True)
        )
    assert subject.alive()
    own_nsd.start()
    assert wait_until(lambda: subject.serves(zones.PLAIN, 0.5), 10)


@pytest.mark.must
def test_091_answers_in_one_octet_segments(stub: Scripted, stub_proxy: Subject) -> None:
    def script(query: Query) -> bytes | None:
        if query.connection is None:
            return load.own(query)
        for octet in frame(load.own_answer(query.data)):
            query.connection.send(bytes((octet,)))
            let_pass(0.002)
        return None

    stub.answer = script
    with dnsio.Connection(stub_proxy.address) as connection:
        for index in range(3):
            message = packets.query(f"drops{index}.example.test")
            connection.send(message)
            assert connection.receive() == load.own_answer(message)


def _break_off(query: Query, how: str) -> None:
    """End the connection before, or in the middle of, the answer."""
    connection = query.connection
    assert connection is not None
    data = frame(load.own_answer(query.data))
    cut = {"closed": b"", "cut in the length": data[:1], "cut": data[:25], "reset": data[:25]}[how]
    connection.sendall(cut)
    if how == "reset":
        let_pass(0.05)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionAbortedError  # the stub closes it then
    connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.must
@pytest.mark.parametrize("how", ["closed", "cut in the length", "cut", "reset"])
def test_092_connections_broken_off_in_an_answer(stub: Scripted, stub_proxy: Subject, how: str) -> None:
    def script(query: Query) -> bytes | None:
        if query.transport == "tcp" and query.qname.startswith(b"\3bad"):
            _break_off(query, how)
            return None
        return load.own(query)

    stub.answer = script
    for index in range(3):
        bad, good = packets.query(f"bad.{index}.example.test"), packets.query(f"good.{index}.example.test")
        with dnsio.Connection(stub_proxy.address) as connection:
            connection.send(bad)
            replies, rest = load.read_messages(connection, 1, 10)
            assert rest == b"", "a part of a message was passed on"
            assert connection.closed if not replies else is_servfail(bad, replies[0])
            if replies:
                connection.send(good)
                assert connection.receive() == load.own_answer(good)
        assert dnsio.tcp(stub_proxy.address, good) == load.own_answer(good)


@pytest.mark.must
def test_093_a_backend_that_closes_after_each_answer(stub: Scripted, stub_proxy: Subject) -> None:
    def script(query: Query) -> bytes | None:
        if query.connection is None:
            return load.own(query)
        query.connection.sendall(frame(load.own_answer(query.data)))
        query.connection.shutdown(socket.SHUT_RDWR)
        return None

    stub.answer = script
    with dnsio.Connection(stub_proxy.address) as connection:
        for index in range(6):
            message = packets.query(f"once{index}.example.test")
            connection.send(message)
            assert connection.receive() == load.own_answer(message)
            let_pass(0.1 * (index % 2))  # the next query meets a closed connection, or one that is just closing


def slow_is_late(query: Query) -> bytes | None:
    """Answer names that begin with `slow` after 1.5 s, all others at once."""
    if query.qname.startswith(b"\4slow"):
        query.reply_later(load.own_answer(query.data), 1.5)
        return None
    return load.own(query)


@pytest.mark.should
def test_094_slow_answers_let_others_pass(stub: Scripted, stub_proxy: Subject) -> None:
    stub.answer = slow_is_late
    slow, fast = packets.query("slow.example.test", ident=1), packets.query("fast.example.test", ident=2)
    with dnsio.Connection(stub_proxy.address) as connection:
        connection.send(slow)
        connection.send(fast)
        assert connection.receive(1) == load.own_answer(fast)
        assert connection.receive() == load.own_answer(slow)


@pytest.mark.must
def test_095_slow_clients_hold_nobody_up(stub: Scripted, stub_proxy: Subject) -> None:
    stub.answer = slow_is_late
    messages = [packets.query(f"slow.{index}.example.test") for index in range(10)]
    with load.Crowd(stub_proxy.address, 10) as crowd:
        crowd.say([*map(frame, messages)])
        assert stub.wait_asked("slow.9.example.test")
        for index in range(5):
            message = packets.query(f"quick{index}.example.test")
            assert dnsio.tcp(stub_proxy.address, message, 1) == load.own_answer(message)
        assert crowd.hear(dnsio.TCP_WAIT_S) == [*map(load.own_answer, messages)]


_SOA = record(b"\xc0\x0c", packets.SOA, b"\xc0\x0c\xc0\x0c" + struct.pack("!5I", 7, 3600, 600, 86400, 60))


def transfer(message: bytes) -> list[bytes]:
    """Return the 120 messages of a transfer; from the second on without the question (RFC 5936 section 2.2.1)."""
    first = packets.answer(message, [_SOA])
    head = packets.header(packets.id_of(message), packets.QR | packets.AA, (0, 2, 0, 0))
    middle = [
        head + b"".join(record(f"h{index}-{side}.example.test", packets.A, bytes((192, 0, 2, 1))) for side in "ab")
        for index in range(118)
    ]
    return [first, *middle, packets.answer(message, [_SOA])]


@pytest.mark.must
def test_096_a_transfer_that_pauses(stub: Scripted, stub_proxy: Subject) -> None:
    ended = threading.Event()

    def script(query: Query) -> bytes | None:
        if query.qtype != packets.AXFR:
            return load.own(query)
        for index, message in enumerate(transfer(query.data)):
            if index == 60:
                let_pass(3)
            query.reply(message)
        ended.set()
        return None

    stub.answer = script
    message = packets.query("example.test", packets.AXFR)
    with dnsio.Connection(stub_proxy.address) as connection:
        connection.send(message)
        came = [connection.receive(2)]
        assert not ended.is_set(), "the first part comes before the last is sent"
        came += [connection.receive(6) for _ in range(119)]
        assert came == transfer(message)
        after = packets.query("after.example.test")
        connection.send(after)
        assert connection.receive() == load.own_answer(after)


@pytest.mark.should
def test_097_backend_connections_are_given_back(stub: Scripted, stub_proxy: Subject) -> None:
    stub.answer = load.own
    messages = [packets.query(f"many{index}.example.test") for index in range(200)]
    with load.Crowd(stub_proxy.address, 200) as crowd:
        crowd.say([*map(frame, messages)])
        assert crowd.hear(dnsio.TCP_WAIT_S) == [*map(load.own_answer, messages)]
    assert wait_until(lambda: len(stub.connections) <= 60, 12), f"{len(stub.connections)} connections are left"
