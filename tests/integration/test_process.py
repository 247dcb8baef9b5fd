"""Exit codes, listening, who may ask: the process as an init system and clients see it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.support import dnsio, queries
from tests.support.configuration import configuration
from tests.support.ports import has_ipv6
from tests.support.proxy import Proxy
from tests.support.scripted import Scripted, noerror
from tests.support.zones import wire_name

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.nsd import Nsd

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
    with Scripted(noerror, host="::1") as server:
        proxy = start(configuration(upstream=[server.address]))
        for exchange in (dnsio.udp, dnsio.tcp):
            wire = b"\1\2" + queries.query(wire_name("six.example.com"), 1)[2:]
            assert exchange(proxy.address, wire) == b"\1\2\x84\0" + wire[4:]


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
