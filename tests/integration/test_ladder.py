"""The failure ladder as clients and metrics see it: resolver and nameserver are lost and come back under light load."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import dns.edns
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from tests.support.configuration import configuration
from tests.support.internet import FakeInternet, Mood
from tests.support.load import Load
from tests.support.proxy import Proxy
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nameserver import Nameserver
    from tests.support.nsd import Nsd

Start = Callable[..., Proxy]

_FIRST, _SECOND, _FALLBACK, _PLACEHOLDER = "203.0.113.1", "203.0.113.2", "198.51.100.200", "192.0.2.1"
_TTL = 2
_RESOLVER_S, _UPSTREAM_S = 1, 2
"""How long flatproxy waits for them."""
_BUSY_S = 1
"""What a busy machine may add to what clients wait."""
_STALE_TTL = 7
_STALE, _NO_REACHABLE_AUTHORITY, _NETWORK_ERROR = 3, 22, 23


@pytest.fixture
def resolver() -> Iterator[FakeInternet]:
    """A resolver of the test's own, to be broken."""
    internet = FakeInternet()
    internet.set("lb.test", "A", [_FIRST], _TTL)
    internet.set("lb.test", "AAAA", [], _TTL)
    internet.start()
    yield internet
    internet.stop()


def _configuration(
    nameserver: Nameserver, resolver: FakeInternet, *, stale_for: str = "2s", state: Path | None = None
) -> str:
    """`example.com` has a fallback, `flat.example.net` has none."""
    return configuration(
        upstream=[nameserver.address],
        resolver=[resolver.address],
        resolver_={"timeout": f"{_RESOLVER_S}s"},
        upstream_={"timeout": f"{_UPSTREAM_S}s"},
        defaults={"stale_for": stale_for, "stale_ttl": f"{_STALE_TTL}s"},
        flatten={
            "example.com": {"target": "lb.test", "fallback": [_FALLBACK]},
            "flat.example.net": {"target": "lb.test"},
        },
        tables={"state": {"path": str(state)}} if state else {},
    )


def _ask(proxy: Proxy, name: str, rdtype: str = "A") -> dns.message.Message:
    return proxy.ask(dns.message.make_query(name, rdtype, use_edns=0))


def _address(reply: dns.message.Message) -> str | None:
    return reply.answer[0][0].to_text() if reply.answer else None


def _errors(reply: dns.message.Message) -> list[int]:
    """Return the extended errors (RFC 8914) of a reply."""
    return [int(option.code) for option in reply.options if isinstance(option, dns.edns.EDEOption)]


def _until_rung(proxy: Proxy, name: str, rung: str) -> None:
    until(lambda: proxy.metrics().rung(name) == rung, f"{name} is {rung}")


def test_down_the_ladder_and_up_again(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    """The resolver falls silent under load: fresh, stale, fallback or the nameserver's own, and fresh again."""
    proxy = start(_configuration(nsd, resolver))
    with Load(proxy.address, [("example.com", "A"), ("flat.example.net", "A"), ("example.com", "MX")]) as load:
        _until_rung(proxy, "example.com", "fresh")
        reply = _ask(proxy, "example.com")
        assert (_address(reply), _errors(reply)) == (_FIRST, [])
        assert reply.answer[0].ttl <= _TTL

        resolver.mood = Mood.SILENT
        _until_rung(proxy, "example.com", "stale")
        reply = _ask(proxy, "example.com")
        assert (_address(reply), reply.answer[0].ttl, _errors(reply)) == (_FIRST, _STALE_TTL, [_STALE])
        assert proxy.ask(dns.message.make_query("example.com", "A")).edns == -1  # who knows no EDNS gets no OPT
        assert proxy.metrics().value("stale_left_seconds", name="example.com", type="A") <= 2
        assert proxy.metrics().value("names", rung="stale") >= 1

        _until_rung(proxy, "example.com", "fallback")
        _until_rung(proxy, "flat.example.net", "upstream")
        reply = _ask(proxy, "example.com")
        assert (_address(reply), reply.answer[0].ttl) == (_FALLBACK, _STALE_TTL)
        assert _address(_ask(proxy, "flat.example.net")) == _PLACEHOLDER
        assert proxy.metrics().value("resolutions_total", name="example.com", type="A", outcome="timeout") >= 1
        assert proxy.get("/readyz")[0] == 200

        resolver.set("lb.test", "A", [_SECOND], _TTL)
        resolver.mood = Mood.HONEST
        _until_rung(proxy, "example.com", "fresh")
        assert _address(_ask(proxy, "example.com")) == _SECOND
        assert _address(_ask(proxy, "flat.example.net")) == _SECOND
    assert len(load.asked) > 100
    assert not load.lost
    assert {reply.rcode() for reply in load.replies()} == {dns.rcode.NOERROR}
    assert max(asked.took_s for asked in load.asked) < _RESOLVER_S, "nobody waited for a resolution"
    assert [(event["old"], event["new"]) for event in proxy.since(0, "rung_change", name="example.com", type="A")] == [
        ("fresh", "stale"),
        ("stale", "fallback"),
        ("fallback", "fresh"),
    ]
    changes = proxy.since(0, "address_change", name="example.com", type="A")
    assert [(event["old"], event["new"]) for event in changes][-1] == ([_FIRST], [_SECOND])


@pytest.mark.parametrize("mood", [Mood.SERVFAIL, Mood.REFUSED, Mood.GARBAGE, Mood.WRONG_ID, Mood.WRONG_QUESTION])
def test_a_resolver_that_fails_otherwise(nsd: Nsd, resolver: FakeInternet, start: Start, mood: Mood) -> None:
    """Whatever it says that is not an answer, what was known goes on."""
    proxy = start(_configuration(nsd, resolver, stale_for="1h"))
    _until_rung(proxy, "example.com", "fresh")  # ready is ready on any rung
    resolver.mood = mood
    _until_rung(proxy, "example.com", "stale")
    reply = _ask(proxy, "example.com")
    assert (_address(reply), _errors(reply)) == (_FIRST, [_STALE])


def test_a_resolver_whose_port_is_closed(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver, stale_for="1h"))
    _until_rung(proxy, "example.com", "fresh")
    resolver.stop()
    _until_rung(proxy, "example.com", "stale")
    resolver.start()
    _until_rung(proxy, "example.com", "fresh")


def test_the_second_resolver_is_asked_where_the_first_is_dead(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    dead = FakeInternet(mood=Mood.SILENT)
    dead.start()
    config = _configuration(nsd, resolver).replace(
        f'servers = ["127.0.0.1:{resolver.address[1]}"]',
        f'servers = ["127.0.0.1:{dead.address[1]}", "127.0.0.1:{resolver.address[1]}"]',
    )
    try:
        proxy = start(config.replace(f'timeout = "{_RESOLVER_S}s"', 'timeout = "4s"'))
        assert dead.asked["lb.test", "A"] >= 1
        assert _address(_ask(proxy, "example.com")) == _FIRST
        assert proxy.metrics().rung("example.com") == "fresh"
    finally:
        dead.stop()


def test_cold_with_nothing_to_fall_back_on(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    """Started while the resolver is silent: a client waits for the resolver's timeout at most, then goes down."""
    resolver.mood = Mood.SILENT
    proxy = start(_configuration(nsd, resolver), ready=False)
    with Load(proxy.address, [("example.com", "A"), ("flat.example.net", "A")]) as load:
        until(lambda: len(load.asked) > 20, "some replies")
    assert not load.lost
    assert {_address(reply) for reply in load.replies()} == {_FALLBACK, _PLACEHOLDER}
    assert max(asked.took_s for asked in load.asked) < _RESOLVER_S + _BUSY_S
    proxy.wait_event("ready")


# The nameserver


def test_the_nameserver_is_lost_and_comes_back(nameserver: Nameserver, resolver: FakeInternet, start: Start) -> None:
    """Flattened names go on, everything else is SERVFAIL that says why, at once where it is known to be down."""
    proxy = start(_configuration(nameserver, resolver))
    with Load(proxy.address, [("example.com", "A"), ("example.com", "MX")], over_tcp=("example.com", "AAAA")) as load:
        until(lambda: len(load.asked) > 20, "some replies")
        mark = proxy.mark
        nameserver.kill()
        try:
            until(lambda: _ask(proxy, "example.com", "MX").rcode() == dns.rcode.SERVFAIL, "SERVFAIL")
            reply = _ask(proxy, "example.com", "MX")
            assert _errors(reply) == [_NETWORK_ERROR]
            assert _address(_ask(proxy, "example.com")) == _FIRST
            proxy.wait_event("upstream_down", mark=mark)
            assert proxy.metrics().value("upstream_up") == 0
            status, body = proxy.get("/readyz")
            assert status == 503
            assert "upstream" in body
            assert proxy.get("/healthz")[0] == 200
        finally:
            nameserver.restart()
        proxy.wait_event("upstream_up", mark=mark)
        until(lambda: _ask(proxy, "example.com", "MX").rcode() == dns.rcode.NOERROR, "MX again")
        assert proxy.metrics().value("upstream_up") == 1
        assert proxy.get("/readyz")[0] == 200
    assert not load.lost
    assert {reply.rcode() for reply in load.replies()} == {dns.rcode.NOERROR, dns.rcode.SERVFAIL}
    failed = [reply for reply in load.replies() if reply.rcode() == dns.rcode.SERVFAIL]
    assert {reply.question[0].rdtype for reply in failed} == {dns.rdatatype.MX}, "flattened answers went on"
    assert max(asked.took_s for asked in load.asked) < _UPSTREAM_S + _BUSY_S


def test_everything_is_lost(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    """No resolver, no fallback, no nameserver: SERVFAIL, the last rung, with its own extended error."""
    resolver.mood = Mood.SILENT
    proxy = start(_configuration(nsd, resolver))
    assert _address(_ask(proxy, "flat.example.net")) == _PLACEHOLDER
    nsd.kill()
    try:
        until(lambda: _ask(proxy, "flat.example.net").rcode() == dns.rcode.SERVFAIL, "SERVFAIL")
        reply = _ask(proxy, "flat.example.net")
        assert _errors(reply) == [_NO_REACHABLE_AUTHORITY]
        assert _address(_ask(proxy, "example.com")) == _FALLBACK
        plain = proxy.ask(dns.message.make_query("flat.example.net", "A"))
        assert (plain.rcode(), plain.edns) == (dns.rcode.SERVFAIL, -1)
    finally:
        nsd.restart()
    until(lambda: _address(_ask(proxy, "flat.example.net")) == _PLACEHOLDER, "the nameserver's own answer")


# The state file


def test_answers_survive_a_restart(nsd: Nsd, resolver: FakeInternet, start: Start, tmp_path: Path) -> None:
    """Stale answers from the file while the resolver is silent, also after SIGKILL."""
    config = _configuration(nsd, resolver, state=tmp_path / "answers.sqlite", stale_for="1h")
    proxy = start(config)
    assert _address(_ask(proxy, "example.com")) == _FIRST
    resolver.mood = Mood.SILENT
    for end in (proxy.stop, proxy.kill):
        end()
        proxy.start(ready=False)
        assert _address(_ask(proxy, "example.com")) == _FIRST
        _until_rung(proxy, "example.com", "stale")
        assert _errors(_ask(proxy, "example.com")) == [_STALE]


@pytest.mark.parametrize("damage", ["garbage", "directory", "cut"])
def test_a_damaged_state_file_costs_a_log_line(
    nsd: Nsd, resolver: FakeInternet, start: Start, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "answers.sqlite"
    config = _configuration(nsd, resolver, state=path, stale_for="1h")
    if damage == "garbage":
        path.write_bytes(b"this is no database" * 1000)
    elif damage == "directory":
        path.mkdir()
    else:
        proxy = start(config)
        proxy.stop()
        path.write_bytes(path.read_bytes()[:600])
    proxy = start(config)
    assert _address(_ask(proxy, "example.com")) == _FIRST
    proxy.wait_event("state_unusable")
    assert proxy.metrics().value("state_errors_total") >= 1


def test_changes_of_the_load_balancer_are_followed(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    """Refresh ahead: with nobody waiting, each change is served within its TTL, and no reply is ever stale."""
    proxy = start(_configuration(nsd, resolver))
    with Load(proxy.address, [("example.com", "A")]) as load:
        for last in (11, 12, 13):
            resolver.set("lb.test", "A", [f"203.0.113.{last}"], _TTL)
            until(lambda last=last: _address(_ask(proxy, "example.com")) == f"203.0.113.{last}", "the change")  # type: ignore[misc]
    assert not load.lost
    seen = [_address(reply) for reply in load.replies()]
    assert seen == sorted(
        seen, key=lambda address: [_FIRST, *(f"203.0.113.{last}" for last in (11, 12, 13))].index(str(address))
    )
    assert not proxy.since(0, "rung_change", name="example.com", new="stale")
    assert max(reply.answer[0].ttl for reply in load.replies()) <= _TTL, "stale answers have a TTL of their own"
    changed = proxy.metrics().value("address_change_timestamp_seconds", name="example.com", type="A")
    assert changed > 1_700_000_000
