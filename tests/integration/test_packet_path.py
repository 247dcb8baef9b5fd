"""Which path takes packets, and several threads of the one in C."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import dns.message
import dns.rcode
import pytest

from flatproxy.forward.native.choice import VARIABLE, installed
from tests.support import dnsio
from tests.support.configuration import configuration
from tests.support.load import Load
from tests.support.ports import free_port, text
from tests.support.service import bound_pair, no_error, service
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.nameserver import Nameserver
    from tests.support.nsd import Nsd
    from tests.support.proxy import Proxy
    from tests.support.scripted import Scripted
    from tests.support.service import Prepare

    Start = Callable[..., Proxy]

__all__ = ["no_error", "service"]

MX = dns.message.make_query("example.com", "MX")


def _threads(proxy: Proxy) -> set[str]:
    assert proxy.process is not None
    return {each.read_text().strip() for each in Path(f"/proc/{proxy.process.pid}/task").glob("*/comm")}


@pytest.mark.parametrize(("value", "path"), [("0", "Python"), ("1", "C")])
def test_the_log_the_metric_and_the_version_say_which_runs(
    nsd: Nsd, start: Start, monkeypatch: pytest.MonkeyPatch, value: str, path: str
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    proxy = start(configuration(upstream=[nsd.address]))
    assert proxy.wait_event("packet_path")["path"] == path
    assert f'packets="{path}"' in proxy.metrics().text
    command = [sys.executable, "-m", "flatproxy", "--version"]
    assert f"in {path}" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_two_threads_answer_alike_and_reload(
    nameserver: Nameserver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many clients, since the kernel spreads them by their port; a reload under load loses nothing."""
    monkeypatch.setenv(VARIABLE, "1")
    config = configuration(upstream=[nameserver.address], listen={"threads": 2})
    proxy = start(config)
    said = dnsio.udp(nameserver.address, MX.to_wire())
    assert said is not None
    direct = dns.message.from_wire(said).answer
    with Load(proxy.address, [("example.com", "MX"), ("www.example.com", "A")]) as load:
        for number in range(20):
            assert proxy.ask(MX, tcp=bool(number % 2)).answer == direct
        proxy.reload(config)
        asked = len(load.asked)
        until(lambda: len(load.asked) > asked + 20, "it goes on")
    assert load.lost == []
    assert {"packets-0", "packets-1"} <= _threads(proxy)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_threads_share_the_sockets_that_systemd_passed(
    no_error: Scripted, service: Prepare, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """What is asked during a restart is answered after it."""
    monkeypatch.setenv(VARIABLE, "1")
    with bound_pair(host) as (address, sockets):
        config = configuration(upstream=[no_error.address], dns=[text(address)], listen={"threads": 2})
        proxy = service(config, passed=sockets)
        proxy.start()
        for number in range(10):
            assert proxy.ask(MX, tcp=bool(number % 2)).rcode() == dns.rcode.NOERROR
        assert {"packets-0", "packets-1"} <= _threads(proxy)
        proxy.stop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(10)
            udp.connect(("127.0.0.1", address[1]))
            udp.send(MX.to_wire())
            proxy.start()
            assert udp.recv(4096)[:2] == MX.to_wire()[:2]


def test_a_port_that_is_taken_is_not_shared(nsd: Nsd, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads share a port among themselves, never with another process."""
    monkeypatch.setenv(VARIABLE, "1")
    port = free_port()
    config = configuration(upstream=[nsd.address], dns=[f"127.0.0.1:{port}"], listen={"threads": 2})
    first = start(config)
    command = [sys.executable, "-m", "flatproxy", "run", "--config", str(first.path)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "ss -lnptu" in second.stderr
    assert dnsio.udp(first.address, MX.to_wire()) is not None


def test_threads_without_the_path_in_c_are_an_error(nsd: Nsd, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration(upstream=[nsd.address], listen={"threads": 2})
    monkeypatch.setenv(VARIABLE, "1")
    path = start(config).path
    monkeypatch.setenv(VARIABLE, "0")
    assert installed().core is None
    command = [sys.executable, "-m", "flatproxy", "run", "--config", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "write threads = 1" in ended.stderr
