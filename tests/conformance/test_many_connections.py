"""Clients that never read, reset, vanish or come in crowds; few descriptors."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import dnsio, packets
from tests.support.packets import frame
from tests.support.waiting import let_pass, wait_until

from . import load, zones
from .subject import cpu_share

if TYPE_CHECKING:
    import socket

    from tests.support.nameserver import Nameserver
    from tests.support.scripted import Query, Scripted

    from .arena import Launch
    from .subject import Subject

_BIG = packets.query(f"t62k.{zones.PLAIN}", packets.TXT)
_SOURCES = tuple(f"127.0.0.{last}" for last in range(1, 9))


def udp_answers(subject: Subject, count: int = 20) -> int:
    """Ask over UDP, one after the other, and return how many right answers came within a second each."""
    messages = [packets.query(load.wild(index)) for index in range(count)]
    return sum(load.is_wild(message, dnsio.udp(subject.address, message, 1) or b"") for message in messages)


@pytest.mark.must
def test_063_clients_that_never_read(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd)
    with (
        load.Peak(subject) as peak,
        load.Crowd(subject.address, 1, first=frame(_BIG) * 3000),
        load.Crowd(subject.address, 30, first=frame(_BIG) * 100, sources=_SOURCES),
    ):
        until = time.monotonic() + 4
        while time.monotonic() < until:
            assert subject.serves(zones.PLAIN, 1)
            let_pass(0.05)
    assert peak.growth < 100 * load.MIB
    assert subject.serves(zones.PLAIN)


@pytest.mark.must
def test_064_resets_give_their_descriptors_back(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd)
    before = subject.fds()
    texts = (frame(_BIG), frame(_BIG)[:9], frame(_BIG) * 3, frame(packets.query(zones.PLAIN)))
    for index in range(500):
        connection = dnsio.Connection(subject.address)
        connection.send_octets(texts[index % 4])
        if index % 5 == 0:
            connection.octets(500, time.monotonic() + 0.05)
        connection.reset()
    assert wait_until(lambda: subject.fds() <= before + 40, 10), f"{before} descriptors before, {subject.fds()} now"
    assert subject.serves(zones.PLAIN)


def poison(query: Query) -> bytes | None:
    """Give transfers in forty pieces, follow "stray" with messages that nobody asked for, and be late for "late"."""
    label = query.qname[1 : 1 + query.qname[0]]
    if query.qtype == packets.AXFR:
        for _ in range(40):
            records = [packets.record(b"\xc0\x0c", packets.TXT, packets.txt(4000)) for _ in range(4)]
            query.reply(packets.answer(query.data, records))
            let_pass(0.01)
        return None
    if label.startswith(b"stray"):
        query.reply(load.own_answer(query.data))
        query.reply(load.own_answer(packets.query("nobody.example.test", ident=packets.id_of(query.data) ^ 1)))
        query.reply_later(load.own_answer(packets.query("nobody.example.test", ident=packets.id_of(query.data))), 0.05)
        query.reply_later(load.own_answer(query.data), 0.1)
        return None
    if label.startswith(b"late"):
        query.reply_later(load.own_answer(query.data), 0.3)
        return None
    return load.own(query)


@pytest.mark.must
@pytest.mark.parametrize("trouble", ["transfers", "strays", "dead clients"])
def test_065_no_poisoned_connection(stub: Scripted, stub_proxy: Subject, trouble: str) -> None:
    stub.answer = poison
    for index in range(10):
        connection = dnsio.Connection(stub_proxy.address)
        if trouble == "transfers":
            connection.send(packets.query("example.test", packets.AXFR))
            assert connection.receive() is not None
            connection.reset()
        elif trouble == "strays":
            connection.send(packets.query(f"stray{index}.example.test"))
            assert connection.receive() is not None
            connection.close()
        else:
            connection.send(packets.query(f"late{index}.example.test"))
            assert stub.wait_asked(f"late{index}.example.test")
            connection.close()
    messages = [packets.query(f"good{index}.example.test") for index in range(60)]
    replies = dnsio.tcp_many(stub_proxy.address, messages, window=6)
    wrong = [at for at, message in enumerate(messages) if replies[at] != load.own_answer(message)]
    assert not wrong, f"{len(wrong)} of 60 have another's answer or none: {wrong}"


@pytest.mark.must
def test_066_two_hundred_connections_at_once(proxy: Subject) -> None:
    messages = [packets.query(load.wild(index)) for index in range(200)]
    with load.Crowd(proxy.address, 200) as crowd:
        crowd.say([*map(frame, messages)])
        replies = crowd.hear(dnsio.TCP_WAIT_S)
    right = [load.is_wild(message, reply or b"") for message, reply in zip(messages, replies, strict=True)]
    assert sum(right) >= 199


@pytest.mark.must
def test_067_twenty_thousand_on_one_connection(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd)
    count = 20000
    messages = [packets.query(load.wild(index), ident=index) for index in range(count)]
    stream = b"".join(map(frame, messages))

    def write(sock: socket.socket) -> None:
        try:
            sock.sendall(stream)
        except OSError:
            return  # it has been closed: the reader sees how

    with dnsio.Connection(subject.address, wait_s=60) as connection:
        writing = threading.Thread(target=write, args=(connection.raw,), daemon=True)
        writing.start()
        replies, rest = load.read_messages(connection, count, 60)
        closed = connection.closed
    writing.join(60)
    assert all(load.is_wild(messages[packets.id_of(reply)], reply) for reply in replies)
    assert len({packets.id_of(reply) for reply in replies}) == len(replies)
    assert len(replies) == count or (closed and rest == b"" and len(replies) >= 50), f"{len(replies)} answers"
    assert subject.serves(zones.PLAIN)


@pytest.mark.must
def test_068_fifteen_hundred_idle_connections(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd)
    with load.Crowd(subject.address, 700), load.Crowd(subject.address, 800, sources=_SOURCES):
        assert udp_answers(subject) >= 19
        assert cpu_share(subject, 2.0) < 0.5
        assert udp_answers(subject) >= 19
    assert wait_until(lambda: subject.serves(zones.PLAIN, 1), 5)


@pytest.mark.must
def test_069_few_descriptors(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd, wrapper=("prlimit", "--nofile=64:64"))
    text = frame(packets.query(zones.PLAIN))
    with load.Crowd(subject.address, 100, first=text), load.Crowd(subject.address, 100, first=text, sources=_SOURCES):
        assert udp_answers(subject) >= 18
        assert cpu_share(subject, 3.0) < 0.6
        assert udp_answers(subject) >= 18
        assert len(subject.log()) < load.MIB
    assert wait_until(lambda: subject.serves(zones.PLAIN, 1), 8)
