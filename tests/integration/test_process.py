"""flatproxy as a process: exit codes, addresses, signals, several nameservers."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.support import dnsio, packets, queries
from tests.support.configuration import configuration
from tests.support.ports import free_port, has_ipv6
from tests.support.proxy import Proxy
from tests.support.scripted import Scripted, late, noerror
from tests.support.scripted import silent as say_nothing
from tests.support.waiting import until
from tests.support.zones import wire_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.nameserver import Nameserver
    from tests.support.nsd import Nsd
    from tests.support.ports import Address

Start = Callable[..., Proxy]

_MX = dns.message.make_query("example.com", "MX")


def _flatproxy(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flatproxy", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


# Exit codes


def test_version() -> None:
    done = _flatproxy("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("flatproxy 0.")


@pytest.mark.parametrize("arguments", [(), ("run",), ("fly",), ("run", "--config"), ("run", "--no-such-option")])
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    done = _flatproxy(*arguments)
    assert done.returncode == 2
    assert "usage" in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_a_missing_file_is_2(tmp_path: Path) -> None:
    done = _flatproxy("run", "--config", str(tmp_path / "nowhere.toml"))
    assert done.returncode == 2
    assert "nowhere.toml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("[listen]\ndns = 53\n", "listen.dns"),
        ("[lisen]\n", "lisen"),
        ("= what\n", "flatproxy.toml"),
    ],
)
def test_a_bad_configuration_is_2_and_says_where(tmp_path: Path, wrong: str, said: str) -> None:
    path = tmp_path / "flatproxy.toml"
    path.write_text(wrong)
    done = _flatproxy("run", "--config", str(path))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["udp", "tcp"])
def test_a_port_that_is_taken_is_1(nsd: Nsd, tmp_path: Path, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        path = tmp_path / "flatproxy.toml"
        path.write_text(configuration(upstream=[nsd.address], dns=[f"127.0.0.1:{port}"]))
        done = _flatproxy("run", "--config", str(path), "--log-format", "json")
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_http_port_is_1(nsd: Nsd, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = tmp_path / "flatproxy.toml"
        path.write_text(configuration(upstream=[nsd.address], listen={"http": f"127.0.0.1:{port}"}))
        done = _flatproxy("run", "--config", str(path))
    assert done.returncode == 1
    assert str(port) in done.stderr


# Listening


def test_two_addresses(nsd: Nsd, start: Start) -> None:
    proxy = start(configuration(upstream=[nsd.address], dns=["127.0.0.1:0", "127.0.0.2:0"]))
    assert [host for host, _ in proxy.listening] == ["127.0.0.1", "127.0.0.2"]
    direct = dnsio.udp(nsd.address, _MX.to_wire())
    for address in proxy.listening:
        assert dnsio.udp(address, _MX.to_wire()) == direct
        assert dnsio.tcp(address, _MX.to_wire()) is not None


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on the loopback")
def test_ipv6_on_both_sides(start: Start, nsd: Nsd, internet: FakeInternet) -> None:
    """Clients over ::1, and over the wildcard address from the address that they asked."""
    internet.set("lb.test", "AAAA", ["2001:db8:5::1"])
    flatten = {"example.com": {"target": "lb.test"}}
    for dns_listen in (["[::1]:0"], ["127.0.0.1:0", "[::]:0"]):
        proxy = start(
            configuration(upstream=[nsd.address], resolver=[internet.address], flatten=flatten, dns=dns_listen)
        )
        address = ("::1", proxy.listening[-1][1])
        assert dnsio.udp(address, _MX.to_wire()) == dnsio.udp(nsd.address, _MX.to_wire())
        assert dnsio.tcp(address, _MX.to_wire()) is not None
        reply = dns.message.from_wire(
            dnsio.udp(address, dns.message.make_query("example.com", "AAAA").to_wire()) or b""
        )
        assert reply.answer[0][0].to_text() == "2001:db8:5::1"


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on the loopback")
def test_a_nameserver_over_ipv6(start: Start) -> None:
    server = Scripted(noerror, host="::1")
    server.start()
    try:
        proxy = start(configuration(upstream=[server.address]))
        for exchange in (dnsio.udp, dnsio.tcp):
            wire = b"\1\2" + queries.query(wire_name("six.example.com"), 1)[2:]
            assert exchange(proxy.address, wire) == b"\1\2\x84\0" + wire[4:]
    finally:
        server.stop()


def test_without_http(nsd: Nsd, start: Start) -> None:
    config = configuration(upstream=[nsd.address]).replace('http = "127.0.0.1:0"\n', "")
    proxy = start(config)
    assert proxy.http is None
    assert proxy.ask(_MX).answer


def test_healthz_readyz_and_unknown_paths(nsd: Nsd, start: Start) -> None:
    proxy = start(configuration(upstream=[nsd.address]))
    for path in ("/healthz", "/readyz"):
        status, body = proxy.get(path)
        assert status == 200
        json.loads(body)
    assert proxy.get("/nothing")[0] == 404


# Its end


def test_sigterm_answers_what_is_under_way(start: Start) -> None:
    """The nameserver takes 0.4 s: whoever asked before the signal has the reply, and the exit code is 0."""
    slow = Scripted(late(noerror, 0.4))
    slow.start()
    try:
        proxy = start(configuration(upstream=[slow.address]))
        wire = queries.query(wire_name("slow.example.com"), 1)
        with contextlib.ExitStack() as stack, dnsio.udp_socket(proxy.address) as udp:
            streams = [stack.enter_context(dnsio.tcp_socket(proxy.address)) for _ in range(20)]
            for number in range(20):
                udp.send(number.to_bytes(2, "big") + wire[2:])
                streams[number].sendall(packets.frame(number.to_bytes(2, "big") + wire[2:]))
            until(lambda: len(slow.with_octets(b"slow")) >= 40, "all of them asked")
            proxy.expected_to_end = True
            proxy.send(signal.SIGTERM)
            assert {udp.recv(4096)[:2] for _ in range(20)} == {number.to_bytes(2, "big") for number in range(20)}
            assert [(dnsio.read_frame(tcp) or b"")[:2] for tcp in streams] == [
                number.to_bytes(2, "big") for number in range(20)
            ]
        assert proxy.wait() == 0
        assert [event["event"] for event in proxy.events][-2:] == ["stopping", "stopped"]
    finally:
        slow.stop()


def test_sigterm_lets_large_replies_out(start: Start) -> None:
    """A client with a small window has everything that was on its way when the signal came."""
    large = Scripted(late(lambda query: noerror(query) + bytes(60_000), 0.2))
    large.start()
    try:
        proxy = start(configuration(upstream=[large.address]))
        wire = queries.query(wire_name("large.example.com"), 16)
        with socket.socket() as tcp:
            tcp.settimeout(dnsio.UDP_WAIT_S)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            tcp.connect(proxy.address)
            tcp.sendall(b"".join(packets.frame(bytes([0, number]) + wire[2:]) for number in range(10)))
            until(lambda: len(large.with_octets(b"large")) >= 10, "all of it asked for")
            proxy.expected_to_end = True
            proxy.send(signal.SIGTERM)
            replies = [dnsio.read_frame(tcp) or b"" for _ in range(10)]
        assert sorted(reply[1] for reply in replies) == list(range(10))
        assert {len(reply) for reply in replies} == {len(wire) + 60_000}
        assert proxy.wait() == 0
    finally:
        large.stop()


def test_sigterm_waits_no_longer_than_a_second(start: Start) -> None:
    silent = Scripted(say_nothing)
    silent.start()
    try:
        proxy = start(configuration(upstream=[silent.address], upstream_={"timeout": "30s"}), ready=False)
        with dnsio.udp_socket(proxy.address) as udp, dnsio.tcp_socket(proxy.address) as tcp:
            udp.send(queries.query(wire_name("never.example.com"), 1))
            tcp.sendall(packets.frame(queries.query(wire_name("never.example.com"), 1)))
            until(lambda: len(silent.with_octets(b"never")) >= 2, "both asked")
            began = monotonic()
            proxy.stop()
            assert monotonic() - began < 5, "a second to drain, and what a busy machine takes for the end"
    finally:
        silent.stop()


def test_the_port_is_free_afterwards(nsd: Nsd, start: Start) -> None:
    config = configuration(upstream=[nsd.address], dns=[f"127.0.0.1:{free_port()}"])
    first = start(config)
    with dnsio.tcp_socket(first.address) as idle:
        idle.sendall(b"\0")
        first.stop()
    again = start(config)
    assert again.ask(_MX).answer
    assert again.ask(_MX, tcp=True).answer


def test_sigint_ends_it_as_well(nsd: Nsd, start: Start) -> None:
    proxy = start(configuration(upstream=[nsd.address]))
    proxy.expected_to_end = True
    proxy.send(signal.SIGINT)
    assert proxy.wait() in {0, 130}


def test_a_stop_for_a_while(nsd: Nsd, start: Start) -> None:
    """SIGSTOP and SIGCONT: what came meanwhile is answered."""
    proxy = start(configuration(upstream=[nsd.address]))
    proxy.send(signal.SIGSTOP)
    try:
        with dnsio.udp_socket(proxy.address) as sock:
            sock.send(_MX.to_wire())
            proxy.send(signal.SIGCONT)
            assert sock.recv(4096)[:2] == _MX.to_wire()[:2]
    finally:
        proxy.send(signal.SIGCONT)


# Several nameservers


@pytest.fixture
def silent() -> Iterator[Scripted]:
    server = Scripted(say_nothing)
    server.start()
    yield server
    server.stop()


_PATIENCE_S = 2
"""Of the proxy with a nameserver, or half of it: long enough that a busy machine is not taken for waiting."""


def _took_s(proxy: Proxy, *, tcp: bool = False) -> float:
    began = monotonic()
    reply = proxy.ask(_MX, tcp=tcp)
    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.answer
    return monotonic() - began


def test_a_silent_first_nameserver_costs_its_timeout_once(silent: Scripted, nsd: Nsd, start: Start) -> None:
    patience = {"timeout": f"{_PATIENCE_S}s"}
    proxy = start(configuration(upstream=[silent.address, nsd.address], upstream_=patience), ready=False)
    assert _took_s(proxy) < 2 * _PATIENCE_S
    for _ in range(20):
        assert _took_s(proxy) < _PATIENCE_S
    assert _took_s(proxy, tcp=True) < _PATIENCE_S
    proxy.wait_event("upstream_down")
    assert proxy.metrics().value("upstream_up", server=f"127.0.0.1:{silent.port}") == 0
    assert proxy.metrics().value("upstream_up", server=f"127.0.0.1:{nsd.port}") == 1
    assert proxy.get("/readyz")[0] == 200


def test_a_closed_first_nameserver_costs_nothing(nsd: Nsd, start: Start) -> None:
    closed: Address = ("127.0.0.1", free_port())
    config = configuration(upstream=[closed, nsd.address], upstream_={"timeout": f"{2 * _PATIENCE_S}s"})
    proxy = start(config, ready=False)
    for tcp in (False, True):
        for _ in range(5):
            assert _took_s(proxy, tcp=tcp) < _PATIENCE_S


def test_the_first_nameserver_is_preferred_again_when_it_is_back(silent: Scripted, nsd: Nsd, start: Start) -> None:
    proxy = start(configuration(upstream=[silent.address, nsd.address], upstream_={"timeout": "500ms"}), ready=False)
    assert _took_s(proxy) < 2 * _PATIENCE_S
    silent.answer = lambda query: query.data[:2] + b"\x84\5" + query.data[4:]
    until(lambda: proxy.ask(_MX).rcode() == dns.rcode.REFUSED, "the first one's answer")


def test_all_nameservers_down_is_servfail_at_once(start: Start) -> None:
    closed: list[Address] = [("127.0.0.1", free_port()), ("127.0.0.1", free_port())]
    proxy = start(configuration(upstream=closed, upstream_={"timeout": f"{2 * _PATIENCE_S}s"}), ready=False)
    for tcp in (False, True):
        began = monotonic()
        assert proxy.ask(_MX, tcp=tcp).rcode() == dns.rcode.SERVFAIL
        assert monotonic() - began < _PATIENCE_S
    assert proxy.get("/readyz")[0] == 503


def test_started_before_the_nameserver(nameserver: Nameserver, start: Start) -> None:
    nameserver.stop()
    try:
        proxy = start(configuration(upstream=[nameserver.address]), ready=False)
        assert proxy.ask(_MX).rcode() == dns.rcode.SERVFAIL
    finally:
        nameserver.restart()
    until(lambda: proxy.ask(_MX).rcode() == dns.rcode.NOERROR, "the nameserver's answers")
    proxy.wait_event("ready")


# Who may ask


def test_a_client_that_may_not_ask_is_refused(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    internet.set("lb.test", "A", ["203.0.113.1"])
    config = configuration(
        upstream=[nsd.address],
        resolver=[internet.address],
        dns=["0.0.0.0:0"],
        access={"query": ["127.0.0.2/32"]},
        flatten={"example.com": {"target": "lb.test"}},
    )
    proxy = start(config)
    for source, rcode in (("127.0.0.1", dns.rcode.REFUSED), ("127.0.0.2", dns.rcode.NOERROR)):
        for rdtype in ("A", "MX"):
            query = dns.message.make_query("example.com", rdtype)
            host, port = proxy.address
            assert dns.query.udp(query, host, port=port, timeout=4, source=source).rcode() == rcode
            assert dns.query.tcp(query, host, port=port, timeout=4, source=source).rcode() == rcode
