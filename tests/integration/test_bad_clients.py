"""Bad input from clients: nothing crashes, grows, or is answered that should not be, and everybody else is served."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import dns.message
import dns.rcode
import pytest

from tests.support import dnsio, packets, queries
from tests.support.configuration import configuration
from tests.support.exchange import over_udp
from tests.support.proxy import Proxy
from tests.support.waiting import until
from tests.support.zones import wire_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.internet import FakeInternet
    from tests.support.nameserver import Nameserver

_APEX, _MAIL = wire_name("example.com"), wire_name("mail.example.com")
_RUNTS = [bytes(size) for size in range(12)]
_QR = 0x8000


@pytest.fixture(scope="module")
def proxy(nameserver: Nameserver, internet: FakeInternet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    internet.set("lb.test", "A", ["203.0.113.1"])
    config = configuration(
        upstream=[nameserver.address],
        resolver=[internet.address],
        upstream_={"timeout": "500ms"},
        flatten={"example.com": {"target": "lb.test", "types": ["A"]}},
    )
    with Proxy(tmp_path_factory.mktemp("proxy"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def _still_serving(proxy: Proxy) -> Iterator[None]:
    """After each test a flattened and a forwarded name are answered, over UDP and TCP."""
    yield
    for tcp in (False, True):
        reply = proxy.ask(dns.message.make_query("example.com", "A"), tcp=tcp)
        assert reply.answer[0][0].to_text() == "203.0.113.1"
        reply = proxy.ask(dns.message.make_query("example.com", "MX"), tcp=tcp)
        assert reply.rcode() == dns.rcode.NOERROR
        assert reply.answer
    assert not proxy.since(0, "upstream_down")


def _resident_octets(proxy: Proxy) -> int:
    pages = int(Path(f"/proc/{proxy.pid}/statm").read_text().split()[1])
    return pages * 4096


def _answers_meanwhile(proxy: Proxy, sent: list[bytes]) -> list[bytes]:
    """Send datagrams, then a good query, and return what came back before the good query's reply."""
    good = queries.query(_MAIL, 1)
    good = b"\xab\xcd" + good[2:]
    came = []
    with dnsio.udp_socket(proxy.address) as sock:
        for message in sent:
            sock.send(message)
        sock.send(good)
        while (reply := sock.recv(65535))[:2] != good[:2]:
            came.append(reply)
    return came


# UDP


def test_runts_get_no_reply_and_are_counted(proxy: Proxy) -> None:
    before = proxy.metrics()
    assert _answers_meanwhile(proxy, _RUNTS[1:]) == []
    after = proxy.metrics()
    dropped = ("queries_total", {"transport": "udp", "verdict": "dropped"})
    assert after.value(dropped[0], **dropped[1]) == before.value(dropped[0], **dropped[1]) + 11
    assert after.value("malformed_total") >= before.value("malformed_total") + 11


def test_responses_get_no_reply(proxy: Proxy, nameserver: Nameserver) -> None:
    """Whatever the opcode, and a real response of the nameserver as well: two servers must not talk for ever."""
    sent_before = proxy.metrics().value("upstream_sent_total")
    real = dnsio.udp(nameserver.address, queries.query(_APEX, 15))
    assert real is not None
    responses = [queries.query(_APEX, rdtype, flags=_QR | opcode << 11) for opcode in range(16) for rdtype in (1, 6)]
    assert _answers_meanwhile(proxy, [real, *responses]) == []
    assert proxy.metrics().value("upstream_sent_total") <= sent_before + 2, "one good query, and perhaps a probe"


def test_noise(proxy: Proxy) -> None:
    """Random octets, as they are and with QR cleared: a reply, if there is one, is a response, small, with the ID."""
    chance = random.Random(11)
    messages = [chance.randbytes(chance.randrange(1, 600)) for _ in range(1000)]
    messages += [wire[:2] + bytes([wire[2] & 0x7F]) + wire[3:] for wire in messages if len(wire) > 12]
    identities = {wire[:2] for wire in messages}
    with dnsio.udp_socket(proxy.address, 1.5) as sock:
        for at in range(0, len(messages), 50):
            for wire in messages[at : at + 50]:
                sock.send(wire)
        replies = []
        with contextlib.suppress(TimeoutError):
            while True:
                replies.append(sock.recv(65535))
    assert len(replies) <= len(messages)
    for reply in replies:
        assert reply[:2] in identities
        assert reply[2] & 0x80
        assert len(reply) <= 612


def _mutants(count: int) -> Iterator[bytes]:
    """Good queries with an octet changed, something cut off, put in or doubled."""
    chance = random.Random(12)
    good = [
        queries.query(name, rdtype, tail=tail)
        for name in (_APEX, _MAIL, wire_name("www.example.com"))
        for rdtype in (1, 28, 255, 16, 252)
        for tail in (b"", packets.edns(), packets.edns(options=queries.OPTIONS[6]))
    ]
    for _ in range(count):
        wire = bytearray(chance.choice(good))
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(2, len(wire))
            change = chance.randrange(4)
            if change == 0:
                wire[at] = chance.randrange(256)
            elif change == 1:
                del wire[at : at + chance.randrange(1, 8)]
            elif change == 2:
                wire[at:at] = chance.randbytes(chance.randrange(1, 8))
            else:
                wire[at:at] = wire[at : at + 8]
            if len(wire) < 13:
                break
        yield bytes(wire)


def test_mutants_are_answered_with_their_own_question_or_an_error(proxy: Proxy) -> None:
    messages = [wire for wire in _mutants(700) if len(wire) > 12 and not wire[2] & 0x80]
    replies = over_udp(proxy.address, messages, 0.8)  # fails where one query has two replies
    for wire, reply in zip(messages, replies, strict=True):
        if reply is None:
            continue
        assert reply[2] & 0x80
        assert (reply[2] ^ wire[2]) & 0x78 == 0, "the opcode that was asked with"
        if int.from_bytes(reply[6:8], "big"):
            question = dns.message.from_wire(reply, question_only=True).question[0]
            asked = dns.message.from_wire(wire, question_only=True).question[0]
            assert (question.name, question.rdtype) == (asked.name, asked.rdtype)


@pytest.mark.parametrize(
    "name",
    [b"\xc0\x0c", b"\1a\xc0\x0c", b"\xc0\x0e\xc0\x0c", b"\xc0\x10" * 10 + b"\0", b"\7example\3com\xc0\x0c"],
    ids=["itself", "behind a label", "one another", "many", "apex"],
)
def test_compression_loops(proxy: Proxy, name: bytes) -> None:
    for tcp in (False, True):
        wire = b"\x12\x34" + queries.query(name, 1)[2:]
        reply = (dnsio.tcp if tcp else dnsio.udp)(proxy.address, wire, 1.5)
        assert reply is None or (reply[:2] == wire[:2] and reply[3] & 0x0F in {1, 2, 4, 5})


def test_the_largest_datagram(proxy: Proxy) -> None:
    wire = queries.query(_MAIL, 1, tail=bytes(65507 - 12 - len(_MAIL) - 4), counts=(1, 0, 0, 0))
    assert _answers_meanwhile(proxy, [wire] * 3) is not None


# TCP


@pytest.mark.parametrize("size", [0, 1, 11])
def test_a_frame_that_is_too_short(proxy: Proxy, size: int) -> None:
    """No reply to it; the connection may be closed, or go on."""
    with dnsio.tcp_socket(proxy.address, 1.5) as connection:
        connection.sendall(packets.frame(bytes(size)) + packets.frame(queries.query(_MAIL, 1)))
        with contextlib.suppress(TimeoutError, ConnectionError):
            reply = dnsio.read_frame(connection)
            assert reply is None or reply[3] & 0x0F == dns.rcode.NOERROR


def test_responses_over_tcp_get_no_reply(proxy: Proxy) -> None:
    with dnsio.tcp_socket(proxy.address) as connection:
        good = b"\xab\xcd" + queries.query(_MAIL, 1)[2:]
        connection.sendall(packets.frame(queries.query(_APEX, 1, flags=_QR)) * 5 + packets.frame(good))
        reply = dnsio.read_frame(connection)
        assert reply is None or reply[:2] == good[:2]


@pytest.mark.parametrize("flagged", [False, True])
def test_the_largest_frame(proxy: Proxy, nameserver: Nameserver, *, flagged: bool) -> None:
    """65,535 octets: the nameserver's own answer, or the connection's end."""
    name = _APEX if flagged else _MAIL
    wire = queries.query(name, 1, tail=bytes(65535 - 12 - len(name) - 4), counts=(1, 0, 0, 0))
    assert len(wire) == 65535
    reply = dnsio.tcp(proxy.address, wire)
    assert reply is None or reply[:2] == wire[:2]
    assert reply is None or reply == dnsio.tcp(nameserver.address, wire) or reply[3] & 0x0F == dns.rcode.SERVFAIL


def test_frames_that_never_end(proxy: Proxy) -> None:
    """A hundred clients that announce 65,535 octets and send 30,000: everybody else is served, little is held."""
    before = _resident_octets(proxy)
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            connection = stack.enter_context(dnsio.tcp_socket(proxy.address))
            connection.sendall(b"\xff\xff" + bytes(30_000))
        until(lambda: proxy.metrics().value("tcp_connections") >= 100, "all of them connected")
        assert proxy.ask(dns.message.make_query("example.com", "A")).answer
        assert proxy.ask(dns.message.make_query("example.com", "MX"), tcp=True).answer
        assert _resident_octets(proxy) - before < 40 * 2**20
    until(lambda: proxy.metrics().value("tcp_connections") == 0, "all of them gone")


@pytest.mark.parametrize("part", [b"", b"\0", b"\0\x20", b"\0\x20" + bytes(5)])
def test_an_incomplete_frame_costs_nobody_else_anything(proxy: Proxy, part: bytes) -> None:
    with dnsio.tcp_socket(proxy.address) as connection:
        connection.sendall(part)
        assert proxy.ask(dns.message.make_query("example.com", "MX"), tcp=True).answer


def test_octet_by_octet(proxy: Proxy) -> None:
    wire = queries.query(_MAIL, 1)
    with dnsio.tcp_socket(proxy.address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in packets.frame(wire) + packets.frame(queries.query(_APEX, 1)):
            connection.sendall(bytes([octet]))
        first, second = dnsio.read_frame(connection), dnsio.read_frame(connection)
    assert first is not None
    assert second is not None


@pytest.mark.parametrize(
    "text",
    [b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"SSH-2.0-x\r\n"],
    ids=["http", "tls", "ssh"],
)
def test_other_protocols(proxy: Proxy, text: bytes) -> None:
    with dnsio.tcp_socket(proxy.address, 1) as connection:
        connection.sendall(text + bytes(300))
        with contextlib.suppress(TimeoutError, ConnectionError):
            assert len(connection.recv(65535)) < 600


def test_resets_leave_nothing_behind(proxy: Proxy) -> None:
    descriptors = Path(f"/proc/{proxy.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(100):
        connection = dnsio.tcp_socket(proxy.address)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(packets.frame(queries.query(_MAIL, 1)) + packets.frame(queries.query(_MAIL, 252))[:9])
        connection.close()
    until(lambda: len(list(descriptors.iterdir())) <= before + 10, "the descriptors are back")


def test_bad_names_do_not_make_log_lines_or_series(proxy: Proxy) -> None:
    """Nothing that a client sends is repeated in the log, and no client can make a metric grow."""
    mark, series = proxy.mark, len(proxy.metrics().text.splitlines())
    names = [wire_name(f"{number}\\010\\027[31m.example.com") for number in range(200)]
    over_udp(proxy.address, [queries.query(name, 1) for name in names], 1)
    over_udp(proxy.address, [queries.query(name, 60000 + number) for number, name in enumerate(names)], 1)
    assert len(proxy.metrics().text.splitlines()) <= series + 10
    assert proxy.events[mark:] == []
