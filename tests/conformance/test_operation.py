"""Starting, stopping, reloading, the clock, a full disk, a loop, and long steady load."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import clients, dnsio, packets
from tests.support.packets import frame, record
from tests.support.ports import bind_pair, free_port
from tests.support.waiting import let_pass, wait_until

from . import faults, load, target, zones
from .proxies import SUBJECTS, Flatproxy
from .subject import Options, StartFailure, cpu_share, process_of

if TYPE_CHECKING:
    from tests.support.nameserver import Nameserver
    from tests.support.scripted import Query, Scripted

    from .arena import Arena, Launch, MakeStub
    from .subject import Subject

_DAY_S = 86400


def unable_to_start(arena: Arena, options: Options, wait_s: float) -> Subject:
    """Start a subject that must end by itself in time, with a code that says that something went wrong."""
    if arena.kind in {"direct", "external"}:
        pytest.skip("the subject is not ours to start")
    subject = SUBJECTS[arena.kind](options, arena.new_folder(arena.kind))
    began = time.monotonic()
    with pytest.raises(StartFailure):
        subject.start(wait_s)
    assert time.monotonic() - began < wait_s
    assert subject.process is not None
    assert subject.process.returncode > 0
    return subject


@pytest.mark.must
@pytest.mark.parametrize("taken", ["udp", "tcp", "both"])
def test_099_the_port_is_taken(arena: Arena, nsd: Nameserver, taken: str) -> None:
    udp, tcp = bind_pair("127.0.0.1")
    with udp, tcp:
        tcp.listen()
        port = int(udp.getsockname()[1])
        if taken != "both":
            (tcp if taken == "udp" else udp).close()
        subject = unable_to_start(arena, Options(backends=(nsd.address,), port=port), 5)
    assert "in use" in subject.log().lower()
    assert str(port) in subject.log()


@pytest.mark.should
def test_104_what_is_under_way_is_answered(start: Launch, stub: Scripted) -> None:
    def later(query: Query) -> None:
        query.reply_later(load.own_answer(query.data), 0.6)

    stub.answer = later
    subject = start(stub)
    process_of(subject)
    messages = [packets.query(f"last{index}.example.test") for index in range(20)]
    sockets = [dnsio.udp_socket(subject.address) for _ in messages]
    over_tcp = packets.query("last.tcp.example.test")
    with dnsio.Connection(subject.address) as connection:
        for sock, message in zip(sockets, messages, strict=True):
            sock.send(message)
        connection.send(over_tcp)
        for message in (*messages, over_tcp):
            assert stub.wait_asked(packets.qname_of(message))
        assert subject.process is not None
        subject.process.terminate()
        until = time.monotonic() + 4
        answered = [
            dnsio.receive(sock, max(0.01, until - time.monotonic())) == load.own_answer(one)
            for sock, one in zip(sockets, messages, strict=True)
        ]
        answered.append(connection.receive(max(0.01, until - time.monotonic())) == load.own_answer(over_tcp))
    for sock in sockets:
        sock.close()
    assert sum(answered) == 21, f"{sum(answered)} of 21"
    assert subject.process.wait(5) == 0
    for sock in bind_pair(subject.host, subject.port):
        sock.close()


def endless(query: Query) -> bytes | None:
    """Begin a transfer that does not end; say nothing to "silent"."""
    if query.qtype == packets.AXFR:
        for _ in range(600):
            query.reply(packets.answer(query.data, [record(b"\xc0\x0c", packets.TXT, packets.txt(2000))]))
            let_pass(0.1)
        return None
    return None if query.qname.startswith(b"\6silent") else load.own(query)


@pytest.mark.must
def test_105_stalled_clients_do_not_keep_it(start: Launch, stub: Scripted) -> None:
    stub.answer = endless
    subject = start(stub)
    process_of(subject)
    transfer = frame(packets.query("example.test", packets.AXFR))
    silent = frame(packets.query("silent.example.test"))
    with (
        load.Crowd(subject.address, 5, first=transfer) as transferring,
        load.Crowd(subject.address, 5, first=silent),
        load.Crowd(subject.address, 5, first=silent[:9]),
        load.Crowd(subject.address, 5),
    ):
        assert None not in transferring.hear(5)
        assert stub.wait_asked("silent.example.test", 5)
        assert subject.process is not None
        subject.process.terminate()
        assert wait_until(lambda: not subject.alive(), 10), "still there ten seconds after SIGTERM"


def has_answered(steady: clients.Steady, count: int) -> bool:
    return steady.answered >= count


def has_reloaded(subject: Flatproxy, times: int) -> bool:
    return len(subject.events("reloaded")) == times


@pytest.mark.must
def test_106_reloads_under_load(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd)
    if not isinstance(subject, Flatproxy):
        pytest.skip("the subject cannot reload")
    message = packets.query(zones.PLAIN)
    crowd = clients.Steady(subject.address, 200, load.is_wild, load.wild)
    with dnsio.Connection(subject.address) as connection, crowd as steady:
        for reloads in range(5):
            subject.reload()
            assert wait_until(partial(has_reloaded, subject, reloads + 1))
            connection.send(message)
            reply = connection.receive()
            assert reply is not None
            assert packets.rcode_of(reply) == packets.NOERROR
            goal = steady.answered + 60
            assert wait_until(partial(has_answered, steady, goal)), "the others are answered"
    assert steady.sent > 200
    assert (steady.lost, steady.wrong) == (0, [])
    assert steady.rcodes == {packets.NOERROR: steady.sent}


@pytest.mark.must
def test_108_the_clock_jumps(start: Launch, nsd: Nameserver, tmp_path: Path) -> None:
    clock = faults.Clock(tmp_path)
    subject = start(nsd, env=clock.env)
    process_of(subject)
    assert clock.is_seen_by(subject.pids)
    message = packets.query(load.wild(0))
    crowd = clients.Steady(subject.address, 50, load.is_wild, load.wild)
    with dnsio.Connection(subject.address) as connection, crowd as steady:
        for offset_s in (0, _DAY_S, -_DAY_S, 0):
            clock.shift(offset_s)
            for _ in range(3):
                let_pass(0.4)  # what a proxy does from time to time meets the new time, too
                assert subject.serves(zones.PLAIN)
                connection.send(message)
                assert load.is_wild(message, connection.receive() or b"")
    assert (steady.lost, steady.wrong) == (0, [])
    assert steady.rcodes == {packets.NOERROR: steady.sent}


@pytest.mark.must
def test_109_a_full_state_directory(
    arena: Arena, start: Launch, make_stub: MakeStub, nsd: Nameserver, tmp_path: Path
) -> None:
    if arena.kind != "flatproxy":
        pytest.skip("the subject keeps no state")
    folder = tmp_path / "full"
    wrapper = faults.full_folder(folder)
    resolver = make_stub(target.internet().answer)
    subject = start(
        nsd, resolvers=(resolver.address,), flatten=target.rule(), state=folder / "state.sqlite", wrapper=wrapper
    )
    as_it_sees = Path(f"/proc/{subject.pid}/root{folder}/full")
    assert as_it_sees.stat().st_size > 8192, "its folder is not full"
    with clients.Steady(subject.address, 100, load.is_wild, load.wild) as steady:
        for _ in range(20):
            message = packets.query(zones.APEX)
            reply = dnsio.udp(subject.address, message) or dnsio.tcp(subject.address, message) or b"\0" * 12
            assert int.from_bytes(reply[6:8], "big") == len(target.ADDRESSES[packets.A])
            assert wait_until(partial(has_answered, steady, steady.answered + 10)), "the others are answered"
    assert subject.alive()
    assert (steady.lost, steady.wrong) == (0, [])
    assert steady.rcodes == {packets.NOERROR: steady.sent}


@pytest.mark.must
def test_111_its_own_backend(arena: Arena, start: Launch) -> None:
    if arena.kind in {"direct", "external"}:
        pytest.skip("the subject is not ours to set up so")
    port = free_port()
    options = Options(backends=(("127.0.0.1", port),), port=port)
    subject = SUBJECTS[arena.kind](options, arena.new_folder(arena.kind))
    try:
        subject.start()
    except StartFailure:
        assert subject.process is not None
        assert subject.process.returncode > 0
        assert str(port) in subject.log(), "it says why it does not start"
        return
    try:
        for transport in (dnsio.udp, dnsio.udp, dnsio.tcp):
            transport(subject.address, packets.query("loop.example.test"), 0.5)
        let_pass(6)
        assert subject.alive()
        assert subject.fds() < 600
        assert cpu_share(subject, 1.0) < 0.3
    finally:
        subject.stop()


def churn(subject: Subject, until: float) -> None:
    """Open, use, reset and close TCP connections until then."""
    index = 0
    while time.monotonic() < until:
        index += 1
        message = packets.query(load.wild(index))
        with dnsio.Connection(subject.address) as connection:
            connection.send(message)
            if index % 3 == 0:
                connection.reset()
                continue
            assert load.is_wild(message, connection.receive() or b"")
        let_pass(0.03)


@pytest.mark.must
def test_112_steady_load(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd)
    with clients.Steady(subject.address, 300, load.is_wild, load.wild):
        churn(subject, time.monotonic() + 1)
    fds, memory = subject.fds(), subject.rss()
    with clients.Steady(subject.address, 300, load.is_wild, load.wild) as steady:
        churn(subject, time.monotonic() + 20)
    assert steady.sent > 5000
    assert not steady.wrong
    lost = steady.lost + steady.rcodes[packets.SERVFAIL]
    assert lost <= 0.0005 * steady.sent, f"{lost} of {steady.sent}"
    assert wait_until(lambda: subject.fds() <= fds + 30), f"{fds} descriptors before, {subject.fds()} after"
    assert subject.rss() < memory + 15 * load.MIB
