"""Loss, damage, nameservers that come and go, a subject that is stopped or killed."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import clients, dnsio, packets
from tests.support.network import in_own_network
from tests.support.packets import frame
from tests.support.ports import free_port
from tests.support.relay import FAIR, Relay, Weather
from tests.support.scripted import Scripted
from tests.support.waiting import let_pass, wait_until

from . import faults, load, zones
from .subject import process_of

if TYPE_CHECKING:
    from tests.support.nameserver import Nameserver

    from .arena import Arena, Launch


@pytest.mark.must
def test_098_a_start_without_backend(start: Launch, own_nsd: Nameserver) -> None:
    own_nsd.stop()
    subject = start(own_nsd, probe=None)
    until = time.monotonic() + 7
    while time.monotonic() < until:
        dnsio.udp(subject.address, packets.query(zones.PLAIN), 0.5)
        with dnsio.Connection(subject.address) as connection:
            assert connection.raw.fileno() >= 0, "it listens"
        let_pass(0.1)
    assert subject.alive()
    own_nsd.start()
    assert wait_until(lambda: subject.serves(zones.PLAIN, 0.5), 10)


@pytest.mark.must
def test_100_loss_on_either_side(start: Launch, arena: Arena) -> None:
    weather = Weather(loss=0.1, twice=0.05, reorder=0.25, delay_s=0.02, jitter_s=0.01)
    messages = [packets.query(f"lossy{index}.example.test") for index in range(600)]
    with Scripted(load.own) as stub, Relay(stub.address, 1, weather, port=arena.claim_backend_port()) as behind:
        subject = start(behind)
        with Relay(subject.address, 1000, weather) as before:
            outcome = clients.insist(before.address, messages, load.is_own, rate=150)
    assert not outcome.wrong
    assert outcome.share >= 0.99, f"{outcome.right} of {outcome.asked}"


def keeps_the_question(message: bytes, reply: bytes) -> bool:
    """Tell whether a reply carries this query's question, or none: a backend's word on what reached it damaged."""
    return packets.question_of(reply) in {packets.question_of(message), b""}


@pytest.mark.must
def test_101_damaged_packets(start: Launch, arena: Arena) -> None:
    messages = [packets.query(f"damaged{index}.example.test") for index in range(300)]
    weather = Weather(flip=0.3)
    with Scripted(load.own) as stub, Relay(stub.address, 101, weather, port=arena.claim_backend_port()) as behind:
        subject = start(behind)
        outcome = clients.insist(subject.address, messages, keeps_the_question, tries=3, try_s=0.5)
        assert not outcome.wrong, [reply.hex() for reply in outcome.wrong[:5]]
        assert outcome.right > 200
        behind.weather = FAIR
        assert subject.alive()
        good = [packets.query(f"good{index}.example.test") for index in range(50)]
        assert clients.insist(subject.address, good, load.is_own, tries=3, try_s=1.0).right == 50


@pytest.mark.must
def test_102_heavy_loss_to_the_only_backend(start: Launch, arena: Arena) -> None:
    messages = [packets.query(f"heavy{index}.example.test") for index in range(300)]
    weather = Weather(loss=0.25)
    with Scripted(load.own) as stub, Relay(stub.address, 102, weather, port=arena.claim_backend_port()) as behind:
        subject = start(behind)
        outcome = clients.insist(subject.address, messages, load.is_own, try_s=1.0, rate=25)
    assert not outcome.wrong
    assert outcome.share >= 0.93, f"{outcome.right} of {outcome.asked}"


@pytest.mark.must
def test_103_a_backend_that_flaps(start: Launch, own_nsd: Nameserver) -> None:
    subject = start(own_nsd)
    usual: list[tuple[int, int]] = []
    for down_s in (0.5, 1.5, 7.0, 0.5):
        own_nsd.stop()
        with clients.Steady(subject.address, 50, load.is_wild, load.wild, wait_s=0.0):
            let_pass(down_s)
        own_nsd.start()
        let_pass(1.5)
        messages = [packets.query(load.wild(index)) for index in range(60)]
        for replies in (dnsio.udp_many(subject.address, messages), dnsio.tcp_many(subject.address, messages, window=8)):
            right = [load.is_wild(message, reply or b"") for message, reply in zip(messages, replies, strict=True)]
            assert sum(right) > 0.95 * 60, f"{sum(right)} of 60 after {down_s} s of absence"
        usual.append((subject.fds(), subject.rss()))
    fds, memory = usual[0]
    assert wait_until(lambda: subject.fds() <= fds + 20), f"{fds} descriptors before, {subject.fds()} after"
    assert subject.rss() < memory + 15 * load.MIB


@pytest.mark.must
def test_107_stopped_and_continued(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd)
    process_of(subject)
    for number, wait_s in ((signal.SIGSTOP, 3.0), (signal.SIGCONT, 0.0)):
        for pid in subject.pids:
            os.kill(pid, number)
        let_pass(wait_s)
    assert wait_until(lambda: subject.serves(zones.PLAIN, 1), 2)


@pytest.mark.must
def test_110_killed_and_started_again(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd, port=free_port())
    process_of(subject)
    with load.Crowd(subject.address, 50, first=frame(packets.query(zones.PLAIN))):
        assert subject.process is not None
        subject.process.kill()
        subject.process.wait()
        killed = time.monotonic()
        again = start(nsd, port=subject.port)
        assert again.serves(zones.PLAIN)
        assert time.monotonic() - killed < 5


@pytest.mark.must
def test_113_packets_lost_in_the_kernel(arena: Arena) -> None:
    if arena.kind == "external":
        pytest.skip("an external subject is not in the network that loses packets")
    messages = [packets.query(load.wild(index)) for index in range(200)]

    def lossy() -> tuple[clients.Insisted, int]:
        backend = arena.new_backend()
        subject = arena.subject_before(backend, probe=zones.PLAIN)
        try:
            direct = dict(zip(messages, dnsio.udp_many(backend.address, messages), strict=True))
            faults.lose_packets(10)
            outcome = clients.insist(subject.address, messages, lambda message, reply: reply == direct[message])
            return outcome, faults.packets_lost()
        finally:
            subject.stop()
            backend.stop()

    outcome, lost = in_own_network(lossy)
    assert lost > 20, "the kernel did lose packets"
    assert not outcome.wrong
    assert outcome.share >= 0.95, f"{outcome.right} of {outcome.asked}"
