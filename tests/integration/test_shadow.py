"""Shadow mode: clients get the nameserver's answer, octet for octet, and what flatproxy would have said is compared."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import dns.message
import dns.rcode
import pytest

from tests.support import dnsio
from tests.support.configuration import configuration
from tests.support.internet import FakeInternet, Mood
from tests.support.waiting import until

from .commands import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.nsd import Nsd
    from tests.support.proxy import Proxy

    Start = Callable[..., Proxy]

_NEW, _PLACEHOLDER = "203.0.113.1", "192.0.2.1"


@pytest.fixture
def internet() -> Iterator[FakeInternet]:
    made = FakeInternet()
    made.set("lb.test", "A", [_NEW], 2)
    made.set("lb.test", "AAAA", [], 2)
    made.set("as-it-is.test", "A", [_PLACEHOLDER], 2)
    made.set("as-it-is.test", "AAAA", ["2001:db8::1"], 2)
    made.start()
    yield made
    made.stop()


@pytest.fixture(params=["0", "1"], ids=["Python", "C"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who takes the packets."""
    if request.param == "1" and os.environ.get("FLATPROXY_NATIVE") == "0":
        pytest.skip("without the path in C")
    monkeypatch.setenv("FLATPROXY_NATIVE", request.param)
    return str(request.param)


def _configuration(nsd: Nsd, internet: FakeInternet, state: Path | None = None, *, shadow: bool = True) -> str:
    return configuration(
        upstream=[nsd.address],
        resolver=[internet.address],
        resolver_={"timeout": "1s"},
        flatten={
            "example.com": {"target": "lb.test", "shadow": shadow, "stale_for": "1s"},
            "example.net": {"target": "as-it-is.test", "shadow": shadow},
            "flat.example.net": {"target": "lb.test"},
        },
        tables={"state": {"path": str(state)}} if state else {},
    )


def _counted(proxy: Proxy, name: str, rdtype: str, result: str) -> float:
    wanted = {"name": name, "type": rdtype, "result": result}
    return next((value for labels, value in proxy.metrics().samples("shadow_total") if labels == wanted), 0.0)


def _until_counted(proxy: Proxy, name: str, rdtype: str, result: str, count: int) -> None:
    until(lambda: _counted(proxy, name, rdtype, result) == count, f"{count} {name} {rdtype} {result}")


@pytest.mark.usefixtures("path")
def test_clients_get_the_nameservers_answer_octet_for_octet(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, internet))
    asked = 0
    for name in ("example.com", "www.example.com", "alias.example.com"):
        for rdtype in ("A", "AAAA", "MX", "ANY", "HTTPS"):
            for options in ({}, {"use_edns": 0}, {"want_dnssec": True}):
                query = dns.message.make_query(name, rdtype, **options).to_wire()
                for ask in (dnsio.udp, dnsio.tcp):
                    own, ours = ask(nsd.address, query), ask(proxy.address, query)
                    assert own is not None
                    assert ours is not None
                    assert dns.message.from_wire(ours) == dns.message.from_wire(own)
                    assert len(ours) == len(own)
                    asked += (name, rdtype) == ("example.com", "A")
    _until_counted(proxy, "example.com", "A", "differs", asked)
    flat = proxy.ask(dns.message.make_query("flat.example.net", "A"))
    assert flat.answer[0][0].to_text() == _NEW


@pytest.mark.usefixtures("path")
def test_what_is_compared_is_counted_and_the_last_differences_are_shown(
    nsd: Nsd, internet: FakeInternet, start: Start
) -> None:
    proxy = start(_configuration(nsd, internet))
    for tcp in (False, True):
        for name in ("example.com", "example.net"):
            for rdtype in ("A", "AAAA", "MX"):
                proxy.ask(dns.message.make_query(name, rdtype), tcp=tcp)
    _until_counted(proxy, "example.com", "A", "differs", 2)
    _until_counted(proxy, "example.com", "AAAA", "differs", 2)
    _until_counted(proxy, "example.net", "A", "same", 2)
    internet.mood = Mood.SERVFAIL
    until(lambda: proxy.metrics().rung("example.com") == "upstream", "nothing is left")
    for _ in range(3):
        proxy.ask(dns.message.make_query("example.com", "A"))
    _until_counted(proxy, "example.com", "A", "would_fail", 3)
    shadow = json.loads(proxy.get("/api/status")[1])["shadow"]
    said = {each["name"]: each for each in shadow["names"]}
    assert (said["example.com"]["comparisons"], said["example.com"]["would_fail"]) == (0, 3)
    assert not said["example.com"]["safe"]
    assert [(each["type"], each["flatproxy"]) for each in shadow["differences"][:3]] == [("A", [])] * 3
    assert {"A": [_NEW], "AAAA": []}.items() <= {
        each["type"]: each["flatproxy"] for each in shadow["differences"] if each["name"] == "example.com"
    }.items() or shadow["differences"][-1]["nameserver"]
    assert "Last differences" in proxy.get("/")[1]


@pytest.mark.usefixtures("path")
def test_it_is_switched_on_by_a_reload(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, internet))
    query = dns.message.make_query("example.com", "A")
    assert proxy.ask(query).answer[0][0].to_text() == _PLACEHOLDER
    proxy.reload(_configuration(nsd, internet, shadow=False))
    assert proxy.ask(query).answer[0][0].to_text() == _NEW
    assert proxy.ask(dns.message.make_query("www.example.com", "A")).answer[-1][0].to_text() == _NEW
    assert json.loads(proxy.get("/api/status")[1])["shadow"]["names"] == []
    proxy.reload(_configuration(nsd, internet))
    assert proxy.ask(query).answer[0][0].to_text() == _PLACEHOLDER


def test_it_is_safe_after_a_day_and_a_hundred_comparisons_over_a_restart(
    nsd: Nsd, internet: FakeInternet, start: Start, tmp_path: Path
) -> None:
    state = tmp_path / "answers.sqlite"
    proxy = start(_configuration(nsd, internet, state))
    for _ in range(60):
        proxy.ask(dns.message.make_query("example.com", "A"))
    _until_counted(proxy, "example.com", "A", "differs", 60)
    proxy.stop()
    with closing(sqlite3.connect(state)) as connection:
        ((name, since, comparisons),) = connection.execute("SELECT * FROM shadows").fetchall()
        assert (name, comparisons) == (b"\x07example\x03com\x00", 60)
        assert time.time() - 120 < since <= time.time()
        connection.execute("UPDATE shadows SET since = since - 86400")
        connection.commit()
    assert "60 comparisons in 24.0 h" in _checked(proxy)
    proxy.start()
    for _ in range(40):
        proxy.ask(dns.message.make_query("example.com", "A"))
    _until_counted(proxy, "example.com", "A", "differs", 40)
    (said,) = json.loads(proxy.get("/api/status")[1])["shadow"]["names"]
    assert (said["safe"], said["comparisons"]) == (True, 100)
    assert "safe to switch on" in proxy.get("/names/example.com")[1]
    proxy.stop()
    assert "the nameserver's answer; safe to switch on" in _checked(proxy)


def _checked(proxy: Proxy) -> str:
    report = run("check", "--config", str(proxy.path), "--json").json
    return str(next(each["what"] for each in report["findings"] if each["key"] == 'flatten."example.com".shadow'))
