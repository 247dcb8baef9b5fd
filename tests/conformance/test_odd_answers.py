"""Broken, odd and truncated answers, and the many that wait for one."""

from __future__ import annotations

import random
import struct
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import dnsio, packets
from tests.support.packets import edns, header, option, record
from tests.support.waiting import let_pass

from . import compare, load, target, zones

if TYPE_CHECKING:
    from tests.support.scripted import Query, Scripted

    from .arena import Launch, MakeStub
    from .subject import Subject

_ADDRESS = bytes((192, 0, 2, 1))
_SIZES = {"udp": 4000, "tcp": 0x3FFF}  # a pointer reaches no further


def _pointer(offset: int) -> bytes:
    return (0xC000 | offset).to_bytes(2, "big")


def _fixed(rtype: int, rdlength: int) -> bytes:
    return struct.pack("!HHIH", rtype, packets.IN, 300, rdlength)


def looping_answers(message: bytes, size: int) -> list[bytes]:
    """Return seven answers to an A query whose pointers lead in circles, or through all of a message of that size."""
    end = packets.question_end(message)
    asked = message[12:end]
    alias = b"\xc0\x0c" + _fixed(packets.CNAME, 2)
    rdata = end + len(alias)
    chain = bytearray(_pointer(12))
    start = end + 12  # the first of a long row of pointers, each to the one before
    while start + len(chain) < size - 20:
        chain += _pointer(start + len(chain) - 2)
    last = _pointer(start + len(chain) - 2)
    bodies = [
        ((1, 0, 0), _pointer(end) + _fixed(packets.A, 4) + _ADDRESS),  # an owner that points at itself
        ((1, 0, 0), alias + _pointer(rdata)),  # an alias that does
        ((1, 0, 0), b"\xc0\x0c" + _fixed(packets.CNAME, 4) + b"\1a" + _pointer(rdata)),  # over a label
        ((1, 0, 0), _pointer(rdata) + _fixed(packets.CNAME, 2) + _pointer(end)),  # two at each other
        ((1, 0, 1), b"\xc0\x0c" + _fixed(packets.DNAME, 2) + _pointer(rdata) + last + _fixed(packets.A, 4) + _ADDRESS),
        ((0, 2, 0), alias[:2] + _fixed(packets.NS, 2) + _pointer(rdata) + _pointer(rdata) + _fixed(packets.NS, 0)),
        ((2, 0, 0), b"\xc0\x0c" + _fixed(packets.TXT, len(chain)) + chain + last + _fixed(packets.CNAME, 2) + last),
    ]
    return [
        header(packets.id_of(message), packets.QR | packets.AA | packets.RD, (1, *counts)) + asked + body
        for counts, body in bodies
    ]


def _loop(query: Query) -> bytes | None:
    label = query.qname[1 : 1 + query.qname[0]]
    if not label.startswith(b"loop"):
        return load.own(query)
    return looping_answers(query.data, _SIZES[query.transport])[int(label[4:])]


def hold_loops(subject: Subject, zone: str) -> None:
    """Hold each looping answer to pass as it is, or to become SERVFAIL, at once and without much work."""
    cpu_s = subject.cpu_s()
    for index in range(7):
        message = packets.query(f"loop{index}.{zone}")
        for transport, ask in (("udp", dnsio.udp), ("tcp", dnsio.tcp)):
            reply = ask(subject.address, message, 0.8)
            passed = reply == looping_answers(message, _SIZES[transport])[index]
            assert passed or compare.is_error(message, reply, {packets.SERVFAIL}), (index, compare.brief(reply))
    assert subject.cpu_s() - cpu_s < 2
    good = packets.query(f"good.{zone}")
    assert dnsio.udp(subject.address, good) == load.own_answer(good)


@pytest.mark.must
def test_082_pointer_loops(stub: Scripted, stub_proxy: Subject) -> None:
    stub.answer = _loop
    hold_loops(stub_proxy, "example.test")


@pytest.mark.must
def test_082_pointer_loops_beside_a_flattened_name(start: Launch, make_stub: MakeStub) -> None:
    resolver = make_stub(target.internet().answer)
    subject = start(make_stub(_loop), resolvers=(resolver.address,), flatten=target.rule())
    hold_loops(subject, zones.APEX)


def broken_answers(message: bytes) -> list[bytes]:
    """Return answers that begin well and go wrong."""
    good = packets.answer(message, [record(b"\xc0\x0c", packets.A, _ADDRESS)])
    end = packets.question_end(message)
    noise = random.Random(83)
    lies = [good[:4] + struct.pack("!4H", *counts) + good[12:] for counts in (
        (1, 65535, 0, 0), (2, 1, 0, 0), (65535, 65535, 65535, 65535), (1, 0, 0, 0), (1, 0, 65535, 1), (0, 1, 0, 0),
    )]  # fmt: skip
    return [
        message[:2] + b"\x84\0" + noise.randbytes(60),
        good[:12] + noise.randbytes(60),
        good[:end] + noise.randbytes(60),
        *(good[:size] for size in (12, 13, end - 2, end, end + 5, len(good) - 3)),
        *lies,
        good[:-6] + b"\0\3" + _ADDRESS[:3],
        good[:-6] + b"\xff\xff" + _ADDRESS,
        good + b"x",
        good + noise.randbytes(700),
        good[:end] + b"\x80\x40" + good[end:],
        good[:2] + b"\xfa\xff" + good[4:],
    ]


@pytest.mark.must
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_083_broken_answers(stub: Scripted, stub_proxy: Subject, transport: str) -> None:
    def script(query: Query) -> bytes | None:
        label = query.qname[1 : 1 + query.qname[0]]
        return broken_answers(query.data)[int(label[6:])] if label.startswith(b"broken") else load.own(query)

    stub.answer = script
    count = len(broken_answers(packets.query("example.test")))
    messages = [packets.query(f"broken{index}.example.test") for index in range(count)]
    many = dnsio.udp_many if transport == "udp" else dnsio.tcp_many
    replies = many(stub_proxy.address, messages, window=count, wait_s=4)
    for message, reply in zip(messages, replies, strict=True):
        assert reply is None or (reply[:2] == message[:2] and reply[2] & 0x80), compare.brief(reply)
    good = [packets.query(f"good{index}.example.test") for index in range(10)]
    assert many(stub_proxy.address, good) == [*map(load.own_answer, good)]
    assert stub_proxy.alive()


def odd_answers(message: bytes) -> list[bytes]:
    """Return right answers with everything in them that a proxy might change."""
    address = [record(b"\xc0\x0c", packets.A, _ADDRESS)]
    flags = packets.AA
    options = (
        option(15, b"\0\3stale answer"), option(3, b"backend"), option(10, b"clientidserverid"), option(65001, b"any"),
        option(15, b"\0\x16") + option(15, b"\0\x17") + option(12, bytes(64)), b"",
    )  # fmt: skip
    lone = [packets.AD, packets.RA, packets.Z, 0, packets.AD | packets.RA | packets.Z]
    return [
        *(packets.answer(message, rcode=rcode, additional=[edns(extended=rcode >> 4)]) for rcode in range(24)),
        *(packets.answer(message, rcode=rcode) for rcode in range(16)),
        *(packets.answer(message, address, flags=flags | one) for one in lone),
        *(packets.answer(message, address, flags=one) for one in lone),
        *(packets.answer(message, [record(b"\xc0\x0c", packets.A, _ADDRESS, ttl=ttl)])
          for ttl in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)),
        *(packets.answer(message, address, additional=[edns(512, options=one)]) for one in options),
        packets.answer(message, address, additional=[edns(version=1, flags=0x80FF)]),
        packets.answer(message, address, additional=[edns(), edns()]),
        packets.answer(message, [*address, *address], authority=[record("example.test", 65280, bytes(9))]),
        packets.answer(message, [record(packets.qname_of(message), packets.A, _ADDRESS, rclass=packets.CH)]),
    ]  # fmt: skip


@pytest.mark.must
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_084_answers_come_octet_for_octet(stub: Scripted, stub_proxy: Subject, transport: str) -> None:
    def script(query: Query) -> bytes | None:
        label = query.qname[1 : 1 + query.qname[0]]
        return odd_answers(query.data)[int(label[3:])] if label.startswith(b"odd") else load.own(query)

    stub.answer = script
    count = len(odd_answers(packets.query("example.test")))
    messages = [packets.query(f"odd{index}.example.test", opt=edns()) for index in range(count)]
    many = dnsio.udp_many if transport == "udp" else dnsio.tcp_many
    replies = many(stub_proxy.address, messages)
    triples = zip(messages, (odd_answers(message)[at] for at, message in enumerate(messages)), replies, strict=True)
    compare.hold(triples, lambda _, made, through: made == through)


@pytest.mark.must
def test_085_truncation_is_the_clients_affair(stub: Scripted, stub_proxy: Subject) -> None:
    stub.answer = lambda query: packets.answer(query.data, flags=packets.AA | packets.TC)
    accepted = stub.accepted
    for index in range(5):
        message = packets.query(f"cut{index}.example.test")
        assert dnsio.udp(stub_proxy.address, message) == packets.answer(message, flags=packets.AA | packets.TC)
    let_pass(0.2)
    assert stub.accepted == accepted
    assert {query.transport for query in stub.received if query.qname[1:4] == b"cut"} == {"udp"}


@pytest.mark.must
@pytest.mark.parametrize("count", [300, 3000])
def test_086_many_that_wait_hold_nobody_up(stub: Scripted, stub_proxy: Subject, count: int) -> None:
    stub.answer = lambda query: None if query.qname.startswith(b"\6silent") else load.own(query)
    sockets = [dnsio.udp_socket(stub_proxy.address) for _ in range(6)]
    for index in range(count):
        sockets[index % 6].send(packets.query(f"silent.{index}.example.test", ident=index // 6))
        if index % 50 == 0:
            let_pass(0.005)
    assert stub.wait_asked(f"silent.{count - 1}.example.test", wait_s=2)
    slowest = 0.0
    for index in range(100):
        message = packets.query(f"quick{index}.example.test")
        asked = time.monotonic()
        assert dnsio.udp(stub_proxy.address, message) == load.own_answer(message)
        slowest = max(slowest, time.monotonic() - asked)
    for sock in sockets:
        sock.close()
    assert slowest < 0.5
