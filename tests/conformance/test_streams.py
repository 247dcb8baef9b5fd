"""Streams cut into pieces, pipelines, half-closed, slow and idle connections."""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from attrs import define, field

from tests.support import dnsio, packets
from tests.support.packets import frame
from tests.support.waiting import let_pass, wait_until

from . import compare, load, zones

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.nameserver import Nameserver
    from tests.support.scripted import Query, Scripted

    from .arena import Arena, Launch
    from .subject import Subject

_MAX_IDLE_S = 45.0
_DRIP_S = 2.0


@define(eq=False)
class Idler:
    """A connection that is left alone, or fed an octet at a time; `closed_s` is how long it was borne with."""

    sock: socket.socket
    kind: str
    drip: bytes = b""
    closed_s: float | None = None


@define(eq=False)
class Idlers:
    """Connections that nobody needs, watched from a thread of its own while other tests run."""

    address: tuple[str, int]
    found: dict[str, Idler] = field(factory=dict)
    began: float = field(factory=time.monotonic)
    _over: threading.Event = field(factory=threading.Event)

    def start(self) -> None:
        message = packets.query("a.long.name.that.takes.long.to.send.at.two.seconds.an.octet." + zones.PLAIN)
        whole = frame(packets.query(zones.PLAIN))
        firsts = {
            "never sent": b"", "one octet": whole[:1], "half a query": whole[:15], "after an answer": whole,
            "fed drop by drop": frame(message)[:1],
        }  # fmt: skip
        for kind, first in firsts.items():
            sock = socket.create_connection(self.address, 5)
            sock.sendall(first)
            sock.setblocking(False)
            self.found[kind] = Idler(sock, kind)
        self.found["fed drop by drop"].drip = frame(message)[1:]
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        fed_at = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for idler in self.found.values():
                selector.register(idler.sock, selectors.EVENT_READ, idler)
            while selector.get_map() and not self._over.is_set():
                for key, _ in selector.select(0.1):
                    with contextlib.suppress(OSError):
                        if key.data.sock.recv(65536):
                            continue
                    key.data.closed_s = time.monotonic() - self.began
                    selector.unregister(key.data.sock)
                if time.monotonic() - fed_at >= _DRIP_S:
                    fed_at = time.monotonic()
                    self._feed()

    def _feed(self) -> None:
        for idler in self.found.values():
            if idler.drip and idler.closed_s is None:
                with contextlib.suppress(OSError):
                    idler.sock.send(idler.drip[:1])
                idler.drip = idler.drip[1:]

    def borne_s(self, kind: str, wait_s: float) -> float | None:
        """Return after how many seconds a connection was closed; None where it is still open after `wait_s`."""
        idler = self.found[kind]
        wait_until(lambda: idler.closed_s is not None, self.began + wait_s - time.monotonic(), 0.1)
        return idler.closed_s

    def stop(self) -> None:
        self._over.set()
        for idler in self.found.values():
            idler.sock.close()


@pytest.fixture(scope="session", autouse=True)
def idlers(arena: Arena, request: pytest.FixtureRequest) -> Iterator[Idlers | None]:
    """Connections to a subject of their own that grow old while the tests from this module on run."""
    if not any("test_061" in item.nodeid or "test_062" in item.nodeid for item in request.session.items):
        yield None
        return
    subject = arena.subject_before(arena.backend("nsd"), probe=zones.PLAIN)
    idlers = Idlers(subject.address)
    idlers.start()
    yield idlers
    idlers.stop()
    subject.stop()


@pytest.mark.must
def test_054_two_queries_in_one_segment(proxy: Subject, nsd: Nameserver) -> None:
    messages = [packets.query(name, ident=ident) for ident, name in enumerate((zones.PLAIN, f"mail.{zones.PLAIN}", ""))]
    direct = {packets.id_of(message): dnsio.tcp(nsd.address, message) or b"" for message in messages}
    assert all(direct.values())
    one, two, three = map(frame, messages)
    with dnsio.Connection(proxy.address) as connection:
        connection.send_octets(one + two)
        replies = [connection.receive() or b"" for _ in range(2)]
        assert sorted(replies) == sorted((direct[0], direct[1]))
        connection.send_octets(one + two[:9])  # one and a piece, then the rest and another
        assert connection.receive() == direct[0]
        connection.send_octets(two[9:] + three)
        replies = [connection.receive() or b"" for _ in range(2)]
        assert sorted(replies) == sorted((direct[1], direct[2]))


@pytest.mark.must
def test_055_one_octet_a_segment(proxy: Subject, nsd: Nameserver) -> None:
    message = packets.query(zones.PLAIN)
    direct = dnsio.tcp(nsd.address, message)
    with dnsio.Connection(proxy.address) as connection:
        for octet in frame(message):
            connection.send_octets(bytes((octet,)))
            let_pass(0.005)
        assert connection.receive() == direct
    with dnsio.Connection(proxy.address) as connection:
        for part in (frame(message)[:1], frame(message)[1:2]):
            connection.send_octets(part)
            let_pass(1)
        connection.send_octets(message)
        assert connection.receive() == direct


@pytest.mark.must
def test_056_pipelined_queries(proxy: Subject) -> None:
    ids = random.Random(56).sample(range(65536), 200)
    messages = [packets.query(load.wild(index), ident=ident) for index, ident in enumerate(ids)]
    same = [packets.query(load.wild(index), ident=0x5656) for index in range(20)]
    for batch in (messages, same):
        with dnsio.Connection(proxy.address) as connection:
            connection.send_octets(b"".join(map(frame, batch)))
            replies, rest = load.read_messages(connection, len(batch), dnsio.TCP_WAIT_S)
        assert rest == b""
        asked = {(message[:2], packets.question_of(message)): message for message in batch}
        answered = {(reply[:2], packets.question_of(reply)): reply for reply in replies}
        assert answered.keys() == asked.keys()
        assert len(replies) == len(batch)
        assert all(load.is_wild(message, answered[key]) for key, message in asked.items())


@pytest.mark.must
def test_057_a_connection_is_used_again(proxy: Subject, nsd: Nameserver) -> None:
    with dnsio.Connection(proxy.address) as connection:
        for index in range(4):
            if index:
                let_pass(1)
            message = packets.query(load.wild(index))
            connection.send(message)
            assert load.is_wild(message, connection.receive() or b"")


@pytest.mark.should
def test_058_half_closed_with_queries_under_way(stub: Scripted, stub_proxy: Subject) -> None:
    def slowly(query: Query) -> bytes | None:
        let_pass(0.03)
        return load.own(query)

    stub.answer = slowly
    for round_ in range(3):
        messages = [packets.query(f"half{round_}-{index}.example.test", ident=index) for index in range(10)]
        with dnsio.Connection(stub_proxy.address) as connection:
            connection.send_octets(b"".join(map(frame, messages)))
            connection.raw.shutdown(socket.SHUT_WR)
            replies, rest = load.read_messages(connection, 10, dnsio.TCP_WAIT_S)
        assert rest == b""
        assert sorted(replies) == sorted(map(load.own_answer, messages))


@pytest.mark.must
def test_059_slow_readers_get_everything(proxy: Subject, nsd: Nameserver) -> None:
    message = packets.query(f"t62k.{zones.PLAIN}", packets.TXT)
    direct = dnsio.tcp(nsd.address, message)
    assert direct is not None
    with dnsio.Connection(proxy.address, receive_buffer=2048) as connection:
        connection.send(message)
        stream = bytearray()
        connection.raw.settimeout(dnsio.TCP_WAIT_S)
        while len(stream) < 2 + len(direct) and (data := connection.raw.recv(4096)):
            stream += data
            let_pass(0.03)
    assert bytes(stream) == frame(direct), compare.brief(bytes(stream[2:]))


@pytest.mark.must
def test_060_idle_connections_hold_nobody_up(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd)
    half = frame(packets.query(zones.PLAIN))[:15]
    with load.Crowd(subject.address, 150), load.Crowd(subject.address, 150, first=half):
        for index in range(10):
            message = packets.query(load.wild(index))
            assert load.is_wild(message, dnsio.udp(subject.address, message, 1) or b"")
            assert load.is_wild(message, dnsio.tcp(subject.address, message, 1) or b"")


@pytest.mark.late
@pytest.mark.must
def test_061_idle_connections_are_closed(idlers: Idlers | None) -> None:
    assert idlers is not None
    kinds = ("never sent", "one octet", "half a query", "after an answer")
    borne = {kind: idlers.borne_s(kind, _MAX_IDLE_S) for kind in kinds}
    assert None not in borne.values(), borne


@pytest.mark.late
@pytest.mark.should
def test_062_drop_by_drop_is_cut_off(idlers: Idlers | None) -> None:
    assert idlers is not None
    assert idlers.borne_s("fed drop by drop", 3 * _MAX_IDLE_S) is not None
