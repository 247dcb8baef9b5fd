"""The status page and its JSON over a transport of bytes and a clock that is moved by hand."""

# mypy: allow-untyped-calls
# (neither StringTransport nor HTTPChannel is annotated)

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from flatproxy.observe.channel import ObserveSite
from flatproxy.observe.http import Pages
from flatproxy.observe.pages.html import clock, latency, listing_path, share, span
from flatproxy.observe.pages.site import NAMES_A_PAGE, StatusPages
from flatproxy.observe.replies import HEADERS, turns_of
from flatproxy.observe.scrapes import Scrapes

from .fakes import registry_of, sources
from .test_http import Reply, parse
from .world import ONE, FakeCounted, World

if TYPE_CHECKING:
    from twisted.logger import LogEvent


class CountedTurns(Clock):
    """Counts the turns that it is asked for."""

    asked = 0

    def callLater(self, delay: float, callable: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002, N802 - Twisted's
        self.asked += delay == 0
        return super().callLater(delay, callable, *args, **kwargs)


@define
class Site:
    world: World = field(factory=World)
    turns: int = 0

    def ask(self, path: str, method: str = "GET") -> Reply:
        reactor = CountedTurns()
        turns = turns_of(reactor)
        more = StatusPages(self.world.watch, turns).find
        channel = ObserveSite(
            Pages(Scrapes(registry_of(sources()), turns), self.world.watch, more), reactor
        ).buildProtocol(None)
        assert channel is not None
        transport = StringTransport()
        channel.makeConnection(transport)
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        reactor.advance(0)
        self.turns = reactor.asked
        assert transport.disconnecting
        return parse(transport.value())

    def json(self, path: str) -> Any:
        reply = self.ask(path)
        assert (reply.code, reply.headers["content-type"]) == (200, "application/json")
        return json.loads(reply.body)


@pytest.fixture
def site() -> Site:
    made = Site()
    made.world.settle_all()
    made.world.pass_to(1001.0)
    return made


@pytest.mark.parametrize(
    "path", ["/", "/api/status", "/api/names", "/style.css", "/page.js", "/api/openapi.json", "/x"]
)
def test_every_reply_forbids_what_is_not_ours(site: Site, path: str) -> None:
    reply = site.ask(path)
    assert reply.code == (404 if path == "/x" else 200)
    for name, value in HEADERS.items():
        assert reply.headers[name.decode().lower()] == value.decode().lower()
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("path", ["/", "/api/status", "/api/names", "/style.css"])
def test_head_has_no_body_and_nothing_else_is_allowed(site: Site, path: str) -> None:
    assert site.ask(path, "HEAD").code == 200
    assert site.ask(path, "HEAD").body == b""
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        reply = site.ask(path, method)
        assert (reply.code, reply.headers["allow"]) == (405, "get, head")


def test_the_page_says_that_all_is_well(site: Site) -> None:
    body = site.ask("/").body.decode()
    assert "All is well." in body
    assert "198.51.100.1" in body


def test_status_says_what_is_wrong_and_since_when(site: Site) -> None:
    assert site.json("/api/status")["well"]
    site.world.servers = [FakeCounted(state="down", has_answered=False)]
    site.world.pass_to(1030.0)
    site.world.pass_to(1050.0)
    status = site.json("/api/status")
    assert status["findings"] == [
        {"severity": "error", "what": "no upstream nameserver answers", "since": "2023-11-15T12:00:30Z"},
        {"severity": "warning", "what": "nameserver 192.0.2.53:53 does not answer", "since": "2023-11-15T12:00:30Z"},
    ]
    assert status["summary"] == "Not well: no upstream nameserver answers, since 2023-11-15T12:00:30Z, and 1 more."
    assert "Not well:</strong>\nno upstream nameserver answers" in site.ask("/").body.decode()


def test_names_come_in_pages_the_worst_first() -> None:
    count = 2 * NAMES_A_PAGE + 1
    world = World(names=tuple(f"n{number}.test" for number in range(count)), types=("A",))
    world.settle_all()
    site = Site(world)
    listing = [site.json(f"/api/names?page={page}") for page in (1, 2, 3, 4)]
    assert [(each["pages"], each["total"], len(each["names"])) for each in listing] == [
        (3, count, NAMES_A_PAGE),
        (3, count, NAMES_A_PAGE),
        (3, count, 1),
        (3, count, 0),
    ]
    assert [name["name"] for each in listing for name in each["names"]] == list(world.names)
    world.pass_to(1050.0)
    for name in world.names[:60]:
        world.settle(name, ONE)
    world.pass_to(1070.0)
    first = site.json("/api/names")["names"]
    assert [(name["name"], name["rung"]) for name in first] == (
        [(name, "stale") for name in world.names[60:]] + [(name, "fresh") for name in world.names[:9]]
    )


def test_a_search_finds_and_counts(site: Site) -> None:
    site.world = World(names=("shop.test", "www.shop.test", "mail.test"), types=("A",))
    site.world.settle_all()
    found = site.json("/api/names?query=SHOP&page=1")
    assert (found["total"], [name["name"] for name in found["names"]]) == (2, ["shop.test", "www.shop.test"])
    body = site.ask("/?query=mail").body.decode()
    assert "mail.test" in body
    assert "shop.test" not in body
    assert "No name has this in it." in site.ask("/?query=nowhere").body.decode()


@pytest.mark.parametrize("page", ["0", "-1", "x", "1.5", "9999999999", "%C2%B2"])
def test_a_page_that_is_no_number_is_refused(site: Site, page: str) -> None:
    assert site.ask(f"/api/names?page={page}").code == 400
    assert site.ask(f"/?page={page}").code == 400


def test_what_is_no_text_is_refused(site: Site) -> None:
    assert site.ask("/api/names?query=%FF").code == 400


@pytest.mark.parametrize("name", ["other.test", "", "a..b", "x" * 300, "%00", "%FF", "example.com/more", "%2e%2e%2f"])
def test_a_name_that_is_not_flagged_is_not_found(site: Site, name: str) -> None:
    reply = site.ask(f"/api/names/{name}")
    assert reply.code == 404
    assert "error" in json.loads(reply.body)
    assert site.ask(f"/names/{name}").code == 404
    assert site.world.explained == []


def test_nothing_in_a_name_or_a_query_is_markup() -> None:
    world = World(names=(r"<img src=x onerror=alert(1)>.test",), types=("A",))
    world.settle_all()
    world.target(world.names[0]).fail("timeout", "<script>alert(2)</script>", world.now)
    body = Site(world).ask("/?query=%3Cimg").body.decode()
    assert "<img" not in body
    assert "<script>" not in body
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in body
    assert 'value="&lt;img"' in body


def test_a_search_among_very_many_has_rests() -> None:
    world = World(names=tuple(f"n{number}.test" for number in range(200_000)), types=("A",))
    site = Site(world)
    assert site.json("/api/names?query=n2999")["total"] == 111
    assert site.turns >= 3


def test_a_page_that_cannot_be_made_says_so_and_the_next_one_is_made(site: Site, logged: list[LogEvent]) -> None:
    site.world.reload = None  # type: ignore[assignment] # which nothing expects
    assert site.ask("/").code == 500
    assert json.loads(site.ask("/api/status").body) == {"error": "the page could not be made; the log says why"}
    assert [event["event"] for event in logged] == ["page_failed"] * 2
    assert site.ask("/api/names").code == 200


def test_durations_and_shares_are_told_in_few_digits() -> None:
    assert [span(each) for each in (None, 0.0, 59.9, 119, 120, 7_200, 172_800)] == [
        "\N{EN DASH}", "0 s", "59 s", "119 s", "2 min", "2 h", "2 d",
    ]  # fmt: skip
    assert [latency(each) for each in (None, 0.000_123_4, 0.25, 1.0, 5.0)] == [
        "\N{EN DASH}", "0.123 ms", "250 ms", "1 s", "5 s",
    ]  # fmt: skip
    assert [share(each) for each in (None, 0.0, 0.000_01, 0.5, 1.0)] == [
        "\N{EN DASH}", "0.0%", "< 0.1%", "50.0%", "100.0%",
    ]  # fmt: skip
    assert clock("2023-11-15T12:00:30Z", "2023-11-15T13:00:00Z") == "12:00:30"
    assert clock("2023-11-14T12:00:30Z", "2023-11-15T13:00:00Z") == "2023-11-14 12:00:30"
    assert (listing_path("", 2), listing_path("a&b", 1)) == ("/?page=2", "/?query=a%26b&page=1")
