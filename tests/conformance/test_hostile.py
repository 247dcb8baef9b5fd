"""Messages that nobody should send get silence or an error, and the subject goes on.

The public packet corpora are not part of this repository: `hostile.corpus` makes its own from the RFCs.
"""

from __future__ import annotations

import itertools
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import dnsio, packets
from tests.support.waiting import let_pass, wait_until

from . import compare, hostile, zones

if TYPE_CHECKING:
    from tests.support.nameserver import Nameserver
    from tests.support.scripted import Scripted

    from .arena import Arena, Launch, Pair
    from .subject import Subject

_MIB = 1 << 20
_BATCH = 192


@pytest.mark.must
def test_043_responses_are_never_answered(stub: Scripted, stub_proxy: Subject) -> None:
    responses = [
        packets.query("mirror.example.test", packets.A, flags=packets.QR | packets.opcode(number) | more, ident=number)
        for number in range(16)
        for more in (0, packets.RD, packets.TC, 15)
    ]
    address = packets.record(b"\xc0\x0c", packets.A, bytes((192, 0, 2, 1)))
    genuine = packets.answer(packets.query("mirror.example.test"), [address])
    responses += [genuine, packets.header(1, packets.QR, (0, 0, 0, 0)), packets.header(2, 0xFFFF, (0, 0, 0, 0))]
    responses += [packets.with_flags(message, 0x8000 | packets.flags_of(message)) for message in hostile.well_formed()]
    connections = [dnsio.Connection(stub_proxy.address) for _ in responses]
    for connection, message in zip(connections, responses, strict=True):
        connection.send(message)
    found = dnsio.udp_gather([stub_proxy.address] * len(responses), responses, quiet_s=5, wait_s=5)
    assert [message.hex() for message, replies in zip(responses, found, strict=True) if replies] == []
    for connection in connections:
        assert connection.receive(0.01) is None
        connection.close()
    bodies = {message[2:] for message in responses}
    assert not [query for query in stub.received if query.data[2:] in bodies]
    assert stub_proxy.serves("after.example.test")


@pytest.mark.must
def test_044_runts(stub: Scripted, stub_proxy: Subject) -> None:
    before = len(stub.received)
    runts = [bytes((0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0))[:size] for size in range(12)]
    assert dnsio.udp_gather([stub_proxy.address] * 12, runts, quiet_s=2, wait_s=2) == [[]] * 12
    for size in (0, 1, 11):
        with dnsio.Connection(stub_proxy.address) as connection:
            connection.send(runts[size])
            assert connection.rest(0.5) == b""
    assert not [query for query in stub.received[before:] if len(query.data) < 12]
    assert stub_proxy.serves("after.example.test")


@pytest.mark.must
def test_045_malformed_questions(pair: Pair) -> None:
    messages = hostile.malformed_questions()
    assert len(messages) == 24

    def silence_or_error(message: bytes, direct: bytes | None, through: bytes | None) -> bool:
        return through is None or compare.is_error(message, through, range(1, 16)) or through == direct

    for transport in ("udp", "tcp"):
        triples = compare.ask_both(pair.subject, pair.backend, messages, transport, window=24, errors=True)
        compare.hold(triples, silence_or_error)
        compare.hold(triples, lambda message, _, through: through is None or through[:2] == message[:2])
        assert pair.subject.serves(zones.PLAIN, 2)


def bombard(subject: Subject, backend: Nameserver, messages: list[bytes]) -> None:
    """Send everything over UDP, to the backend as well, in batches; hold the invariants and the memory."""
    memory = subject.rss()
    suspects = []
    for at in range(0, len(messages), _BATCH):
        batch = messages[at : at + _BATCH]
        wheres = [backend.address] * len(batch) + [subject.address] * len(batch)
        found = dnsio.udp_gather(wheres, batch * 2)
        judged = zip(batch, found[: len(batch)], found[len(batch) :], strict=True)
        suspects += [triple for triple in judged if hostile.violation(*triple)]
        assert wait_until(lambda: subject.serves(zones.PLAIN, 0.5), 2), f"deaf after {at + len(batch)} messages"
    proofs = (confirm(subject, backend, message) for message, *_ in suspects[:40])
    wrong = list(itertools.islice(filter(None, proofs), 4))
    assert not wrong, f"{len(wrong)} or more of {len(messages)} are wrong:\n" + "\n".join(wrong)
    assert subject.rss() < memory + 60 * _MIB


def confirm(subject: Subject, backend: Nameserver, message: bytes) -> str | None:
    """Ask once more, alone: NSD answers a hundred errors a second at most, which is no fault of the subject."""
    if backend.kind == "nsd":
        let_pass(1.01 - time.time() % 1)
    direct, through = dnsio.udp_gather([backend.address, subject.address], [message] * 2, quiet_s=1)
    rule = hostile.violation(message, direct, through)
    if rule is None:
        return None
    shown = [[*map(compare.brief, replies)] for replies in (direct, through)]
    return f"{rule}: {message.hex()}\n  direct {shown[0]}\n  through {shown[1]}"


@pytest.mark.must
@pytest.mark.parametrize("kind", ["nsd", "knot"])
def test_046_malformed_corpus(arena: Arena, kind: str) -> None:
    backend, subject = arena.backend(kind), arena.shared(kind)
    rng = random.Random(46)
    corpus = hostile.corpus()
    assert len(corpus) > 1000
    cleared = [
        packets.with_flags(message, packets.flags_of(message) & 0x7FFF) for message in corpus if len(message) > 3
    ]
    mutants = [hostile.mutant(rng, corpus) for _ in range(1000)]
    bombard(subject, backend, list(dict.fromkeys(corpus + cleared + mutants)))
    for message, reply in zip(corpus, dnsio.tcp_many(subject.address, corpus, window=200, wait_s=1), strict=True):
        assert reply is None or reply[:2] == message[:2]
    arena.verify_alive(kind)


@pytest.mark.must
def test_047_mutants_and_noise(arena: Arena) -> None:
    backend, subject = arena.backend("knot"), arena.shared("knot")
    rng = random.Random(47)
    stock = hostile.well_formed()
    messages = [hostile.mutant(rng, stock) for _ in range(5000)] + [hostile.noise(rng) for _ in range(500)]
    bombard(subject, backend, messages)
    good = [packets.query(f"n{index}.wild.{zones.PLAIN}", ident=index) for index in range(200)]
    compare.as_backend(subject, backend, good, answered=True)


def proxied(message: bytes) -> list[bytes]:
    """Return the message behind PROXY protocol headers that claim 198.51.100.7 for the client."""
    addresses = bytes((198, 51, 100, 7, 198, 51, 100, 8)) + b"\x10\x00\x00\x35"
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    return [
        b"PROXY TCP4 198.51.100.7 198.51.100.8 4096 53\r\n" + message,
        signature + b"\x21\x11\0\x0c" + addresses + message,
        signature + b"\x21\x12\0\x0c" + addresses + message,
        signature + b"\x20\x00\0\x00" + message,
    ]


@pytest.mark.must
def test_048_proxy_protocol_is_not_believed(pair: Pair, start: Launch) -> None:
    message = packets.query(zones.PLAIN, ident=0x4848)
    guarded = start(pair.backend, query=("198.51.100.0/24",), probe=None)
    for subject in (pair.subject, guarded):
        for replies in dnsio.udp_gather([subject.address] * 4, proxied(message), quiet_s=1):
            assert all(packets.rcode_of(reply) not in {0, 3} and reply[6:8] == b"\0\0" for reply in replies)
        connections = [dnsio.Connection(subject.address) for _ in range(8)]
        streams = proxied(packets.frame(message)) + proxied(message)
        for connection, stream in zip(connections, streams, strict=True):
            connection.send_octets(stream)
        deadline = time.monotonic() + 1
        for connection in connections:
            reply = connection.receive(max(0.01, deadline - time.monotonic()))
            assert reply is None or packets.rcode_of(reply) not in {0, 3}
            connection.close()
    assert dnsio.udp(guarded.address, message, 0.5) is None or not guarded.serves(zones.PLAIN, 0.5)
