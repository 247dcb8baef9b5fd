"""What reaches the nameserver, and which of the messages that come back count."""

from __future__ import annotations

import socket
from collections import Counter
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.support import dnsio, packets
from tests.support.packets import edns, header, option, question, record
from tests.support.waiting import let_pass

from . import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.scripted import Query, Scripted

    from .subject import Subject

_FORGED = record(b"\xc0\x0c", packets.A, bytes((203, 0, 113, 66)))
_SOA = record("example.test", packets.SOA, b"\0\0" + bytes(20))
_EVERY_FLAG = packets.AA | packets.TC | packets.RD | packets.RA | packets.Z | packets.AD | packets.CD


def shapes() -> list[bytes]:
    """Return queries that differ in what a proxy might put right, or drop: each for a name of its own."""
    count = 0

    def name() -> str:
        nonlocal count
        count += 1
        return f"shape{count}.example.test"

    ask = packets.query
    address = record("extra.example.test", packets.A, bytes((192, 0, 2, 9)))
    return [
        ask(name().upper().replace("E", "e")),
        *(ask(name(), flags=flags) for flags in (0, packets.RD, packets.AD, packets.CD, packets.AA)),
        *(ask(name(), flags=flags) for flags in (packets.TC, packets.RA, packets.Z, _EVERY_FLAG)),
        ask(name(), opt=edns(4096)),
        ask(name(), opt=edns(version=1)),
        ask(name(), opt=edns(flags=packets.DO | 0x0081)),
        ask(name(), opt=edns(options=option(10, b"clientid"))),
        ask(name(), opt=edns(options=option(8, b"\0\1\x18\0\xc0\0\2"))),
        ask(name(), 65280),
        ask(name(), packets.TXT, packets.CH),
        ask(name(), packets.A, packets.NONE),
        header(1, 0, (1, 1, 0, 1)) + question(name()) + address * 2,
        header(2, 0, (1, 0, 1, 0)) + question(name(), packets.IXFR) + _SOA,
    ]  # fmt: skip


@pytest.mark.must
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_070_queries_arrive_octet_for_octet(stub: Scripted, stub_proxy: Subject, transport: str) -> None:
    ask = {"udp": dnsio.udp, "tcp": dnsio.tcp}[transport]
    for message in shapes():
        assert ask(stub_proxy.address, message) is not None
        asked = stub.asked(packets.qname_of(message))
        assert [query.data[2:] for query in asked] == [message[2:]]


@pytest.mark.must
def test_071_the_transport_is_kept(stub: Scripted, stub_proxy: Subject) -> None:
    stub.answer = load.own
    for index in range(20):
        for transport, ask in (("udp", dnsio.udp), ("tcp", dnsio.tcp)):
            message = packets.query(f"{transport}{index}.example.test")
            assert ask(stub_proxy.address, message) == load.own_answer(message)
            assert [query.transport for query in stub.asked(f"{transport}{index}.example.test")] == [transport]


def upstream_of(subject: Subject, stub: Scripted, count: int = 400) -> list[Query]:
    """Have `count` clients ask under ID 1, and return what arrived for them, in that order."""
    messages = [packets.query(f"one{index}.example.test", ident=1) for index in range(count)]
    stub.answer = load.own
    replies = dnsio.udp_many(subject.address, messages, window=8)
    assert replies == [*map(load.own_answer, messages)]
    found = [query for query in stub.received if query.qname[1:4] == b"one"]
    assert len(found) >= count
    return found


def commonest_step(values: Sequence[int]) -> tuple[int, int]:
    """Return the step from one value to the next that is taken most often, and how often."""
    steps = Counter((after - before) % 65536 for before, after in pairwise(values))
    return steps.most_common(1)[0]


@pytest.mark.must
def test_072_ids_cannot_be_guessed(stub: Scripted, stub_proxy: Subject) -> None:
    ids = [packets.id_of(query.data) for query in upstream_of(stub_proxy, stub)]
    assert len(set(ids)) > 0.95 * len(ids)
    assert max(ids) - min(ids) > 50000
    step, times = commonest_step(ids)
    assert times <= 0.1 * len(ids), f"step {step} in {times} of {len(ids)}"


@pytest.mark.should
def test_073_many_source_ports(stub: Scripted, stub_proxy: Subject) -> None:
    ports = [query.peer[1] for query in upstream_of(stub_proxy, stub)]
    found = list(dict.fromkeys(ports))
    assert len(found) >= 32
    step, times = commonest_step(found)
    assert times <= 0.25 * len(found), f"step {step} in {times} of {len(found)}"


def hold_to_truth(subject: Subject, stub: Scripted, forge: Callable[[Query], None], *, rounds: int = 3) -> None:
    """Have the stub forge first and tell the truth 50 ms later: the truth arrives, and nothing else."""

    def script(query: Query) -> None:
        forge(query)
        query.reply_later(load.own_answer(query.data), 0.05)

    stub.answer = script
    for index in range(rounds):
        message = packets.query(f"true{index}.example.test")
        replies = dnsio.udp_all(subject.address, message, 0.3)
        assert replies == [load.own_answer(message)], [reply.hex() for reply in replies]


@pytest.mark.must
def test_074_another_id_is_ignored(stub: Scripted, stub_proxy: Subject) -> None:
    def forge(query: Query) -> None:
        for other in (1, 0x100, 0x8000, 0xFFFF):
            query.reply(packets.with_id(packets.answer(query.data, [_FORGED]), packets.id_of(query.data) ^ other))

    hold_to_truth(stub_proxy, stub, forge)


@pytest.mark.must
@pytest.mark.parametrize("other", ["name", "longer name", "type", "class"])
def test_075_another_question_is_ignored(stub: Scripted, stub_proxy: Subject, other: str) -> None:
    def forge(query: Query) -> None:
        asked = {
            "name": question(b"\x05other" + query.qname[1 + query.qname[0] :]),
            "longer name": question(b"\x01x" + query.qname),
            "type": question(query.qname, packets.AAAA),
            "class": question(query.qname, packets.A, packets.CH),
        }[other]
        query.reply(packets.answer(query.data[:12] + asked, [_FORGED]))

    hold_to_truth(stub_proxy, stub, forge)


@pytest.mark.must
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.3"])
def test_076_another_source_is_ignored(stub: Scripted, stub_proxy: Subject, source: str) -> None:
    port = stub.port if source != stub.host else 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((source, port))

        def forge(query: Query) -> None:
            for _ in range(3):
                other.sendto(packets.answer(query.data, [_FORGED]), query.peer)

        hold_to_truth(stub_proxy, stub, forge)


@pytest.mark.must
def test_077_a_query_is_no_answer(stub: Scripted, stub_proxy: Subject) -> None:
    def forge(query: Query) -> None:
        made = packets.answer(query.data, [_FORGED])
        query.reply(packets.with_flags(made, packets.flags_of(made) & ~packets.QR))
        query.reply(query.data)

    hold_to_truth(stub_proxy, stub, forge)


@pytest.mark.must
def test_078_runts_are_ignored(stub: Scripted, stub_proxy: Subject) -> None:
    def forge(query: Query) -> None:
        made = packets.answer(query.data)
        for size in (0, 1, 2, 11):
            query.reply(made[:size])

    hold_to_truth(stub_proxy, stub, forge)


def header_only(flags: int, query: Query) -> bytes:
    return header(packets.id_of(query.data), flags, (0, 0, 0, 0))


@pytest.mark.should
def test_079_header_only_errors(stub: Scripted, stub_proxy: Subject) -> None:
    flags = packets.QR | packets.RD
    for rcode in (packets.FORMERR, packets.SERVFAIL, packets.NOTIMP, packets.REFUSED):
        stub.answer = partial(header_only, flags | rcode)
        message = packets.query(f"error{rcode}.example.test")
        reply = dnsio.udp(stub_proxy.address, message)
        assert reply is not None
        assert reply[:2] == message[:2]
        assert packets.rcode_of(reply) == rcode

    def without_question(query: Query) -> None:
        forged = record(query.qname, packets.A, bytes((203, 0, 113, 66)))
        query.reply(header(packets.id_of(query.data), flags, (0, 1, 0, 0)) + forged)

    hold_to_truth(stub_proxy, stub, without_question)


@pytest.mark.must
def test_080_unsolicited_answers(stub: Scripted, stub_proxy: Subject) -> None:
    """Half of what is forged has a question that is waiting, and comes to where its answer is waited for."""
    ids = [0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF]
    stub.answer = lambda _: None
    with dnsio.udp_socket(stub_proxy.address) as sock:
        for index in range(20):
            sock.send(packets.query(f"waiting{index}.example.test", ident=ids[index % 6]))
        assert all(stub.wait_asked(f"waiting{index}.example.test") for index in range(20))
        waiting = [query for query in stub.received if query.qname.startswith(b"waiting", 1)]
        for index in range(2000):
            query, ident = waiting[index % len(waiting)], ids[index % 6]
            name = query.qname if index % 40 < 20 else b"\6forged" + query.qname[1 + query.qname[0] :]
            forged = packets.query(name, ident=ident if ident != packets.id_of(query.data) else 2)
            stub.udp.sendto(packets.answer(forged, [_FORGED]), query.peer)
        assert not [reply for reply in dnsio.drain(sock, 0.3) if _FORGED[2:] in reply]
    stub.answer = load.own
    messages = [packets.query(f"good{index}.example.test", ident=ids[index % 6]) for index in range(20)]
    assert dnsio.udp_many(stub_proxy.address, messages) == [*map(load.own_answer, messages)]


@pytest.mark.must
def test_081_a_late_answer_does_not_cross(stub: Scripted, stub_proxy: Subject) -> None:
    """A client gives up and asks for something else under the same ID from the same port."""

    def script(query: Query) -> None:
        late = query.qname.startswith(b"\5given")
        query.reply_later(load.own_answer(query.data), 0.4 if late else 0.6)

    stub.answer = script
    given_up = packets.query("given.up.example.test", ident=0x8181)
    messages = [given_up, *(packets.query(f"next{index}.example.test", ident=0x8181) for index in range(3))]
    right = {packets.qname_of(message): load.own_answer(message) for message in messages}
    with dnsio.udp_socket(stub_proxy.address) as sock:
        sock.send(given_up)
        let_pass(0.2)
        for message in messages[1:]:
            sock.send(message)
        replies = dnsio.drain(sock, 1.2)
    assert all(reply == right[packets.qname_of(reply)] for reply in replies)
    names = [packets.qname_of(reply) for reply in replies]
    assert len(names) == len(set(names)), "no answer comes twice"
    assert set(names) >= {packets.qname_of(message) for message in messages[1:]}
