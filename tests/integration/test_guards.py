"""What guards do to answers: of targets that go empty, have addresses that they should not, or change wholly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dns.edns
import dns.message
import dns.rcode
import pytest

from tests.support.configuration import configuration
from tests.support.internet import FakeInternet, Mood
from tests.support.proxy import Proxy
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nsd import Nsd

Start = Callable[..., Proxy]

_PUBLIC, _OTHER, _PRIVATE, _PUBLIC6 = "9.9.9.1", "9.9.9.2", "10.0.0.1", "2606:4700::1"
_PLACEHOLDER = "192.0.2.1"
_STALE_TTL = 7
_STALE = 3


@pytest.fixture
def resolver() -> Iterator[FakeInternet]:
    internet = FakeInternet()
    internet.set("lb.test", "A", [_PUBLIC], 1)
    internet.start()
    yield internet
    internet.stop()


def _configuration(nsd: Nsd, resolver: FakeInternet, state: Path | None = None, **keys: Any) -> str:
    return configuration(
        upstream=[nsd.address],
        resolver=[resolver.address],
        resolver_={"timeout": "1s"},
        defaults={"special": "refuse", "stale_ttl": f"{_STALE_TTL}s"},
        flatten={"example.com": {"target": "lb.test", **keys}},
        tables={"state": {"path": str(state)}} if state else {},
    )


def _ask(proxy: Proxy, rdtype: str = "A") -> dns.message.Message:
    return proxy.ask(dns.message.make_query("example.com", rdtype, use_edns=0))


def _addresses(reply: dns.message.Message) -> list[str]:
    return sorted(rdata.to_text() for rrset in reply.answer for rdata in rrset)


def _errors(reply: dns.message.Message) -> list[tuple[int, bool]]:
    """Return the extended errors of a reply (RFC 8914), and whether each has a text."""
    return [(int(option.code), bool(option.text)) for option in reply.options if isinstance(option, dns.edns.EDEOption)]


def _until_rung(proxy: Proxy, rung: str, rdtype: str = "A") -> None:
    until(lambda: proxy.metrics().rung("example.com", rdtype) == rung, f"{rdtype} is {rung}")


def _is_held(proxy: Proxy, *addresses: str) -> None:
    _until_rung(proxy, "held")
    reply = _ask(proxy)
    assert (_addresses(reply), reply.answer[0].ttl, _errors(reply)) == (
        list(addresses),
        _STALE_TTL,
        [(_STALE, True)],
    )


# Held


@pytest.mark.parametrize("empty", [False, True], ids=["nxdomain", "empty"])
def test_a_target_that_loses_its_addresses_is_held(
    nsd: Nsd, resolver: FakeInternet, start: Start, *, empty: bool
) -> None:
    """Whoever deleted the wrong load balancer has an hour; addresses end it, whichever they are."""
    if empty:
        resolver.set("lb.test", "TXT", ['"there"'])
    proxy = start(_configuration(nsd, resolver))
    _until_rung(proxy, "fresh")
    if empty:
        resolver.set("lb.test", "A", [])
    else:
        resolver.forget("lb.test")
    _is_held(proxy, _PUBLIC)
    assert proxy.metrics().value("names", rung="held") == 1
    assert proxy.metrics().value("age_seconds", name="example.com", type="A") >= 0
    resolver.set("lb.test", "A", [_OTHER], 1)
    _until_rung(proxy, "fresh")
    assert _addresses(_ask(proxy)) == [_OTHER]
    proxy.wait_event("rung_change", name="example.com", type="A", old="fresh", new="held")
    proxy.wait_event("rung_change", name="example.com", type="A", old="held", new="fresh")


def test_what_is_held_ends_in_nodata(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver, hold_absent="2s"))
    _until_rung(proxy, "fresh")
    resolver.forget("lb.test")
    _until_rung(proxy, "held")
    until(lambda: not _ask(proxy).answer, "NODATA")
    reply = _ask(proxy)
    assert (reply.rcode(), len(reply.authority), _errors(reply)) == (dns.rcode.NOERROR, 1, [])


def test_0s_tells_at_once(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver, hold_absent="0s"))
    _until_rung(proxy, "fresh")
    resolver.forget("lb.test")
    until(lambda: not _ask(proxy).answer, "NODATA")
    assert proxy.since(0, "rung_change", new="held") == []


def test_a_family_that_goes_beside_a_living_one_goes_at_once(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    resolver.set("lb.test", "AAAA", [_PUBLIC6], 60)
    proxy = start(_configuration(nsd, resolver))
    _until_rung(proxy, "fresh")
    _until_rung(proxy, "fresh", "AAAA")
    asked = resolver.asked["lb.test", "AAAA"]
    resolver.set("lb.test", "A", [])
    until(lambda: not _ask(proxy).answer, "NODATA")
    assert resolver.asked["lb.test", "AAAA"] == asked + 1, "the living one was asked whether it lives"
    assert proxy.metrics().rung("example.com") == "fresh"
    assert _addresses(_ask(proxy, "AAAA")) == [_PUBLIC6]


def test_families_that_go_together_are_both_held(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    """The one whose TTL is long would be noticed minutes later."""
    resolver.set("lb.test", "AAAA", [_PUBLIC6], 3600)
    proxy = start(_configuration(nsd, resolver))
    _until_rung(proxy, "fresh", "AAAA")
    resolver.forget("lb.test")
    _is_held(proxy, _PUBLIC)
    _until_rung(proxy, "held", "AAAA")
    assert _addresses(_ask(proxy, "AAAA")) == [_PUBLIC6]


def test_a_restart_goes_on_holding(nsd: Nsd, resolver: FakeInternet, start: Start, tmp_path: Path) -> None:
    config = _configuration(nsd, resolver, state=tmp_path / "state.sqlite")
    proxy = start(config)
    _until_rung(proxy, "fresh")
    resolver.forget("lb.test")
    _until_rung(proxy, "held")
    proxy.stop()
    _is_held(start(config), _PUBLIC)


def test_and_does_so_without_a_resolver(nsd: Nsd, resolver: FakeInternet, start: Start, tmp_path: Path) -> None:
    config = _configuration(nsd, resolver, state=tmp_path / "state.sqlite")
    proxy = start(config)
    _until_rung(proxy, "fresh")
    resolver.forget("lb.test")
    _until_rung(proxy, "held")
    proxy.stop()
    resolver.mood = Mood.SILENT
    _is_held(start(config), _PUBLIC)


# Refused


def test_special_addresses_are_left_out_and_said_once(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    resolver.set("lb.test", "A", [_PUBLIC, _PRIVATE, "203.0.113.9"], 1)
    proxy = start(_configuration(nsd, resolver))
    _until_rung(proxy, "fresh")
    assert _addresses(_ask(proxy)) == [_PUBLIC]
    asked = resolver.asked["lb.test", "A"]
    until(lambda: resolver.asked["lb.test", "A"] > asked + 1, "two more resolutions")
    (said,) = proxy.since(0, "address_refused")
    assert (said["target"], sorted(said["address"].split(", "))) == ("lb.test", [_PRIVATE, "203.0.113.9"])


def test_a_set_of_which_nothing_is_left_goes_down_the_ladder(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver, stale_for="2s"))
    _until_rung(proxy, "fresh")
    resolver.set("lb.test", "A", [_PRIVATE], 1)
    _until_rung(proxy, "stale")
    assert _addresses(_ask(proxy)) == [_PUBLIC]
    _until_rung(proxy, "upstream")
    assert _addresses(_ask(proxy)) == [_PLACEHOLDER]
    assert proxy.metrics().value("resolutions_total", name="example.com", type="A", outcome="refused") >= 1
    (said,) = proxy.since(0, "target_failed", type="A")
    assert f"{_PRIVATE} is in 10.0.0.0/8 (private)" in said["reason"]


def test_addresses_outside_allow_are_left_out(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    resolver.set("lb.test", "A", [_PRIVATE, _PUBLIC, _OTHER], 1)
    proxy = start(_configuration(nsd, resolver, special="allow", allow=["10.0.0.0/8", f"{_OTHER}/32"]))
    _until_rung(proxy, "fresh")
    assert _addresses(_ask(proxy)) == [_PRIVATE, _OTHER]


def test_a_reload_that_refuses_more_keeps_the_rest(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    """What was known stays known, though nobody resolves any more."""
    resolver.set("lb.test", "A", [_PRIVATE, _PUBLIC], 60)
    proxy = start(_configuration(nsd, resolver, special="allow"))
    _until_rung(proxy, "fresh")
    resolver.mood = Mood.SILENT
    proxy.reload(_configuration(nsd, resolver))
    assert _addresses(_ask(proxy)) == [_PUBLIC]


# Pinned, and changed


def test_a_pin_beats_everything_and_resolves_nothing(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver, pin=[_PRIVATE]))
    reply = _ask(proxy)
    assert (_addresses(reply), reply.answer[0].ttl, _errors(reply)) == ([_PRIVATE], _STALE_TTL, [])
    assert _ask(proxy, "AAAA").answer == []
    assert proxy.metrics().rung("example.com") == "pinned"
    assert proxy.get("/readyz")[0] == 200
    assert resolver.asked["lb.test", "A"] == 0
    proxy.reload(_configuration(nsd, resolver))
    _until_rung(proxy, "fresh")
    assert _addresses(_ask(proxy)) == [_PUBLIC]
    proxy.reload(_configuration(nsd, resolver, pin=[_OTHER]))
    assert _addresses(_ask(proxy)) == [_OTHER]
    asked = resolver.asked["lb.test", "A"]
    until(lambda: proxy.metrics().value("rung", name="example.com", type="A") == -1, "pinned")
    assert resolver.asked["lb.test", "A"] == asked


def test_a_wholly_different_set_is_believed_when_seen_twice(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver, hold_change="3s"))
    _until_rung(proxy, "fresh")
    asked = resolver.asked["lb.test", "A"]
    resolver.set("lb.test", "A", [_OTHER], 3600)  # which must not put off the second look
    until(lambda: _addresses(_ask(proxy)) == [_OTHER], "the new set")
    assert resolver.asked["lb.test", "A"] >= asked + 2
    assert [event["new"] for event in proxy.since(0, "address_change", type="A")] == [[_PUBLIC], [_OTHER]]
