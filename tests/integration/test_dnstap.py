"""The query log, read by fstrm_capture and dnstap-ldns; and readers that come late, go away or hang."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import dns.message
import pytest

from tests.support.child import Child, program, run
from tests.support.configuration import configuration
from tests.support.ports import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.nsd import Nsd
    from tests.support.proxy import Proxy

    Start = Callable[..., Proxy]

MX = dns.message.make_query("example.com", "MX")
FLAGGED = dns.message.make_query("example.com", "A")


def _config(nsd: Nsd, internet: FakeInternet, **dnstap: object) -> str:
    internet.set("lb.test", "A", ["203.0.113.1"])
    return configuration(
        upstream=[nsd.address],
        resolver=[internet.address],
        flatten={"example.com": {"target": "lb.test", "types": ["A"]}},
        dnstap=dnstap,
    )


def _lines(file: Path) -> list[str]:
    return run(["dnstap-ldns", "-r", str(file), "-q"], check=False).splitlines()


def _of(lines: list[str], kind: str, what: str) -> list[str]:
    return [line for line in lines if f" {kind} " in line and what in line]


def _is_whole(lines: list[str]) -> bool:
    wanted = [("AQ", "MX"), ("AR", "MX"), ("AQ", '"example.com." IN A'), ("AR", '"example.com." IN A')]
    wanted += [("RQ", "lb.test"), ("RR", "lb.test")]
    return all(_of(lines, kind, what) for kind, what in wanted)


def test_a_file(nsd: Nsd, internet: FakeInternet, start: Start, tmp_path: Path) -> None:
    program("dnstap-ldns")
    file = tmp_path / "queries.dnstap"
    proxy = start(_config(nsd, internet, file=str(file)))
    path = proxy.wait_event("packet_path")
    assert path["path"] == "Python"
    assert "[dnstap]" in path["why"]
    proxy.ask(MX)
    proxy.ask(FLAGGED)
    proxy.ask(MX, tcp=True)
    until(lambda: _is_whole(_lines(file)), lambda: "\n".join(_lines(file)))
    assert _of(_lines(file), "AQ", "TCP")
    proxy.stop()
    assert _is_whole(_lines(file))


@pytest.mark.parametrize("way", ["socket", "tcp"])
def test_fstrm_capture_that_comes_goes_and_comes_again(
    nsd: Nsd, internet: FakeInternet, start: Start, tmp_path: Path, way: str
) -> None:
    program("fstrm_capture")
    place, port = tmp_path / "dnstap.sock", free_port()
    where = {"socket": str(place)} if way == "socket" else {"tcp": f"127.0.0.1:{port}"}
    proxy = start(_config(nsd, internet, **where))
    proxy.wait_event("dnstap_lost")
    listen = ["-u", str(place)] if way == "socket" else ["-a", "127.0.0.1", "-p", str(port)]
    command = ["fstrm_capture", "-t", "protobuf:dnstap.Dnstap", *listen, "-w"]
    reader = Child.start([*command, str(tmp_path / "first")], tmp_path / "reader.log")
    try:
        proxy.wait_event("dnstap_open")
    finally:
        reader.stop()
    mark = proxy.mark
    until(lambda: proxy.ask(MX).answer and proxy.since(mark, "dnstap_lost"), lambda: proxy.log)
    reader = Child.start([*command, str(tmp_path / "second")], tmp_path / "reader.log")
    try:
        proxy.wait_event("dnstap_open", mark=mark)
        proxy.ask(FLAGGED)
        proxy.ask(MX)
        proxy.stop()  # it says goodbye once all is written
    finally:
        reader.stop()
    lines = _lines(tmp_path / "second")
    assert all(_of(lines, kind, "MX") for kind in ("AQ", "AR")), reader.tail()
    assert all(_of(lines, kind, '"example.com." IN A') for kind in ("AQ", "AR"))


def test_a_reader_that_hangs_costs_messages_and_nothing_else(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        host, port = hanging.getsockname()
        proxy = start(_config(nsd, internet, tcp=f"{host}:{port}"))
        until(lambda: _ask_many(proxy) and proxy.metrics().value("dnstap_dropped_total") > 0, "messages are dropped")


def _ask_many(proxy: Proxy) -> bool:
    for _ in range(500):
        proxy.ask(FLAGGED, timeout=2)
    return True


def test_a_sample(nsd: Nsd, internet: FakeInternet, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "queries.dnstap"
    proxy = start(_config(nsd, internet, file=str(file), sample=4))
    for ident in range(200):
        query = dns.message.make_query("mail.example.com", "A", id=ident)
        proxy.ask(query)
    proxy.stop()
    lines = _lines(file)
    asked = _of(lines, "AQ", "mail.example.com")
    assert 20 <= len(asked) <= 90
    assert len(asked) == len(_of(lines, "AR", "mail.example.com")), "each with its reply"
