"""flatproxy as a service: sockets from systemd, notes to it, files that others can write."""

from __future__ import annotations

import os
import re
import signal
import socket
from typing import TYPE_CHECKING

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.support.configuration import configuration
from tests.support.ports import Address, free_port, text
from tests.support.service import FLATTENED, MX, Notes, Prepare, assert_answers, bound_pair, lb, no_error, service
from tests.support.waiting import let_pass, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.scripted import Scripted

__all__ = ["lb", "no_error", "service"]


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Notes]:
    found = Notes(tmp_path / "notify")
    yield found
    found.close()


# Sockets that systemd opened


def test_passed_sockets_are_served(no_error: Scripted, service: Prepare) -> None:
    with bound_pair() as (address, sockets):
        proxy = service(configuration(upstream=[no_error.address], dns=[text(address)]), passed=sockets)
        proxy.start()
        assert proxy.listening == [address]
        assert_answers(proxy)


def test_pairs_are_found_by_address_and_the_rest_is_bound(no_error: Scripted, service: Prepare) -> None:
    """The order of the configuration counts, not that of the descriptors."""
    with bound_pair("127.0.0.1") as (one, of_one), bound_pair("127.0.0.2") as (two, of_two):
        passed = (of_two[1], of_one[0], of_one[1], of_two[0])
        addresses = [text(one), "127.0.0.3:0", text(two)]
        proxy = service(configuration(upstream=[no_error.address], dns=addresses), passed=passed)
        proxy.start()
        assert [proxy.listening[0], proxy.listening[2]] == [one, two]
        for host, port in proxy.listening:
            assert dns.query.udp(MX, host, timeout=4, port=port).rcode() == dns.rcode.NOERROR
            assert dns.query.tcp(MX, host, timeout=4, port=port).rcode() == dns.rcode.NOERROR


def test_a_wildcard_that_was_passed_replies_from_the_address_asked(no_error: Scripted, service: Prepare) -> None:
    with bound_pair("0.0.0.0") as (address, sockets):
        proxy = service(configuration(upstream=[no_error.address], dns=[text(address)]), passed=sockets)
        proxy.start()
        for host in ("127.0.0.1", "127.0.0.9"):
            assert dns.query.udp(MX, host, timeout=4, port=address[1]).rcode() == dns.rcode.NOERROR


def test_what_is_asked_during_a_restart_is_answered_after_it(no_error: Scripted, service: Prepare) -> None:
    """The sockets outlive the process: the kernel keeps what comes."""
    with bound_pair() as (address, sockets):
        proxy = service(configuration(upstream=[no_error.address], dns=[text(address)]), passed=sockets)
        proxy.start()
        assert_answers(proxy)
        proxy.stop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.create_connection(address, 5) as tcp:
            udp.settimeout(5)
            udp.connect(address)
            wire = MX.to_wire()
            udp.send(wire)
            tcp.sendall(len(wire).to_bytes(2, "big") + wire)
            proxy.start()
            assert udp.recv(4096)[:2] == wire[:2]
            assert tcp.recv(4096)[2:4] == wire[:2]


@pytest.mark.parametrize(("kept", "key"), [(0, "ListenStream"), (1, "ListenDatagram")])
def test_half_a_pair_is_2_and_says_what_to_write(no_error: Scripted, service: Prepare, kept: int, key: str) -> None:
    with bound_pair() as (address, sockets):
        config = configuration(upstream=[no_error.address], dns=[text(address)])
        code, said = service(config, passed=(sockets[kept],), environ={"LISTEN_FDNAMES": "flatproxy.socket"}).refused()
    assert code == 2
    assert f"write: {key}={text(address)} into the socket unit" in said


def test_a_socket_for_no_address_is_2_and_says_what_to_write(no_error: Scripted, service: Prepare) -> None:
    with bound_pair() as (address, sockets):
        config = configuration(upstream=[no_error.address], dns=["127.0.0.2:0"])
        code, said = service(config, passed=sockets, environ={"LISTEN_FDNAMES": "dns.socket:dns.socket"}).refused()
    assert code == 2
    assert f"a socket of dns.socket for {text(address)} (UDP), which is not in listen.dns" in said
    assert f'write: "{text(address)}" into listen.dns' in said


# Notes to systemd


def test_the_notes_of_a_whole_life(no_error: Scripted, service: Prepare, notes: Notes) -> None:
    config = configuration(upstream=[no_error.address])
    proxy = service(config, environ={"NOTIFY_SOCKET": str(notes.path)})
    proxy.start()
    until(lambda: notes.states() == ["READY=1"], lambda: str(notes.heard))
    assert f"STATUS=listening on {text(proxy.address)}" in notes.heard[0]
    proxy.reload(config)
    until(lambda: notes.states() == ["READY=1", "RELOADING=1", "READY=1"], lambda: str(notes.heard))
    assert re.search(r"^MONOTONIC_USEC=\d+$", notes.heard[1], re.MULTILINE)
    proxy.reload("= what", "reload_failed")
    until(lambda: notes.states()[3:] == ["RELOADING=1", "READY=1"], lambda: str(notes.heard))
    proxy.stop()
    assert notes.states()[5:] == ["STOPPING=1"]
    assert notes.count("WATCHDOG=1") == 0, "nobody asked for signs of life"


def test_ready_does_not_wait_for_the_nameserver(service: Prepare, notes: Notes) -> None:
    """A unit that fails because the nameserver is down would take the flattened names down with it."""
    dead: Address = ("127.0.0.1", free_port())
    proxy = service(configuration(upstream=[dead]), environ={"NOTIFY_SOCKET": str(notes.path)})
    proxy.start(ready=False)
    until(lambda: notes.states() == ["READY=1"], lambda: str(notes.heard))


def test_a_start_that_fails_is_never_ready(no_error: Scripted, service: Prepare, notes: Notes) -> None:
    with bound_pair() as (address, _sockets):
        config = configuration(upstream=[no_error.address], dns=[text(address)])
        code, said = service(config, environ={"NOTIFY_SOCKET": str(notes.path)}).refused()
    assert code == 1
    assert "Address already in use" in said
    assert notes.hear() == []


def test_signs_of_life_come_while_it_lives_and_only_then(no_error: Scripted, service: Prepare, notes: Notes) -> None:
    environ = {"NOTIFY_SOCKET": str(notes.path), "WATCHDOG_USEC": "400000"}
    proxy = service(configuration(upstream=[no_error.address]), environ=environ)
    proxy.start()
    until(lambda: notes.count("WATCHDOG=1") >= 3, lambda: str(notes.heard))
    proxy.send(signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, proxy.pid, os.WSTOPPED)
        before = notes.count("WATCHDOG=1")
        let_pass(0.6)
        assert notes.count("WATCHDOG=1") == before
    finally:
        proxy.send(signal.SIGCONT)
    until(lambda: notes.count("WATCHDOG=1") > before, lambda: str(notes.heard))


# Files that others can write


def test_a_configuration_that_others_can_write_is_2(no_error: Scripted, service: Prepare) -> None:
    proxy = service(configuration(upstream=[no_error.address]))
    proxy.path.write_text(proxy.config)
    proxy.path.chmod(0o646)
    code, said = proxy.refused()
    assert code == 2
    assert f"chmod o-w {proxy.path}" in said


def test_a_reload_of_what_others_can_write_changes_nothing(no_error: Scripted, service: Prepare) -> None:
    proxy = service(configuration(upstream=[no_error.address]))
    proxy.start()
    proxy.path.chmod(0o666)
    failed = proxy.reload(configuration(upstream=[no_error.address], zones=["example.net"]), "reload_failed")
    assert "every user of this host can write it" in failed["error"]
    assert_answers(proxy)
    proxy.path.chmod(0o644)
    proxy.reload(configuration(upstream=[no_error.address], zones=["example.net"]))
    assert proxy.ask(MX).rcode() == dns.rcode.REFUSED


def test_a_state_file_that_others_can_write_is_not_believed(
    no_error: Scripted, lb: FakeInternet, service: Prepare, tmp_path: Path
) -> None:
    path = tmp_path / "answers.sqlite"
    config = configuration(
        upstream=[no_error.address],
        resolver=[lb.address],
        flatten=FLATTENED,
        tables={"state": {"path": str(path)}},
    )
    first = service(config)
    first.start()
    until(lambda: path.exists() and path.stat().st_size > 0, "the state is written")
    first.stop()
    path.chmod(0o666)
    again = service(config)
    again.start()
    assert "every user of this host can write it" in again.wait_event("state_unusable")["reason"]
    assert path.with_name("answers.sqlite.damaged").exists()
    until(lambda: path.exists() and path.stat().st_mode & 0o777 == 0o600, "a new one")
