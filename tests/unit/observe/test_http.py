"""The HTTP side over a transport of bytes and a clock that is moved by hand."""

# mypy: allow-untyped-calls
# (neither StringTransport nor HTTPChannel is annotated)

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from attrs import define, evolve
from prometheus_client import generate_latest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from flatproxy.counts import Traffic
from flatproxy.observe.channel import CONNECTION_LIMIT, STEP_LIMIT_S, Channel, ObserveSite
from flatproxy.observe.http import Pages
from flatproxy.observe.metrics import PIECE
from flatproxy.observe.replies import turns_of
from flatproxy.observe.scrapes import Scrapes, exposition

from .fakes import FakeCondition, FakeStatus, registry_of, sources, with_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.logger import LogEvent

    from flatproxy.observe.sources import Sources


@define
class Reply:
    code: int
    headers: dict[str, str]
    body: bytes


def parse(raw: bytes) -> Reply:
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Reply(int(status.split()[1]), headers, body)


class Browser:
    """A site with a client that speaks bytes."""

    def __init__(
        self, read: Sources | None = None, missing: Callable[[], list[str]] = list, *, alive: bool = True
    ) -> None:
        self.clock = Clock()
        scrapes = Scrapes(registry_of(read or sources()), turns_of(self.clock))
        self.site = ObserveSite(Pages(scrapes, FakeCondition(missing, lambda: alive)), self.clock)

    def connect(self) -> tuple[Channel, StringTransport]:
        channel = self.site.buildProtocol(None)
        assert channel is not None
        transport = StringTransport()
        channel.makeConnection(transport)
        return channel, transport

    def send(self, raw: bytes) -> StringTransport:
        channel, transport = self.connect()
        channel.dataReceived(raw)
        return transport

    def ask(self, path: str, method: str = "GET", rest: str = "Host: localhost\r\n\r\n") -> Reply:
        transport = self.send(f"{method} {path} HTTP/1.1\r\n{rest}".encode())
        self.clock.advance(0)
        assert transport.disconnecting
        return parse(transport.value())


def test_metrics_are_what_the_registry_gives() -> None:
    read = evolve(sources(), traffic=lambda: Traffic(malformed=7))
    reply = Browser(read).ask("/metrics")
    assert reply.code == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(reply.headers["content-length"]) == len(reply.body)
    assert b"\nflatproxy_malformed_total 7.0\n" in reply.body


def test_a_query_string_is_no_other_page() -> None:
    assert Browser().ask("/metrics?name[]=up").code == 200


def test_pieces_make_the_text_that_the_library_makes() -> None:
    many = with_names(*(FakeStatus(name=f"{number}.example.com") for number in range(PIECE * 2 + 1)))
    ours = b"".join(exposition(registry_of(many))).decode().splitlines()
    theirs = generate_latest(registry_of(many)).decode().splitlines()
    assert [line for line in ours if "process_" not in line] == [line for line in theirs if "process_" not in line]


def test_packets_have_their_turn_between_two_pieces() -> None:
    browser = Browser(with_names(*(FakeStatus(name=f"{number}.example.com") for number in range(PIECE * 2))))
    transport = browser.send(b"GET /metrics HTTP/1.1\r\n\r\n")
    written: list[bytes] = []
    browser.clock.callLater(0, lambda: written.append(transport.value()))
    browser.clock.advance(0)
    assert written == [b""]
    assert parse(transport.value()).code == 200


def test_reading_many_names_is_cut_into_pieces_too() -> None:
    read: list[str] = []

    def statuses(_now: float) -> Iterator[FakeStatus]:
        for number in range(PIECE * 3):
            read.append(f"{number}.example.com")
            yield FakeStatus(name=read[-1])

    browser = Browser(evolve(sources(), statuses=statuses))
    transport = browser.send(b"GET /metrics HTTP/1.1\r\n\r\n")
    most_at_once = 0
    while not transport.value():
        before = len(read)
        first = browser.clock.getDelayedCalls()[0]
        browser.clock.calls.remove(first)  # type: ignore[arg-type] # one turn, where advance() would give them all
        first.func()  # type: ignore[attr-defined]
        most_at_once = max(most_at_once, len(read) - before)
    assert most_at_once == PIECE


def test_scrapes_that_meet_share_one_rendering() -> None:
    asked: list[float] = []

    def statuses(now: float) -> list[FakeStatus]:
        asked.append(now)
        return [FakeStatus()]

    browser = Browser(evolve(sources(), statuses=statuses))
    transports = [browser.send(b"GET /metrics HTTP/1.1\r\n\r\n") for _ in range(3)]
    browser.clock.advance(0)
    assert len(asked) == 1
    assert {parse(transport.value()).code for transport in transports} == {200}
    assert browser.ask("/metrics").code == 200
    assert len(asked) == 2


def test_a_client_that_leaves_before_the_end_harms_nobody() -> None:
    browser = Browser()
    leaving, _ = browser.connect()
    leaving.dataReceived(b"GET /metrics HTTP/1.1\r\n\r\n")
    staying = browser.send(b"GET /metrics HTTP/1.1\r\n\r\n")
    leaving.connectionLost()
    browser.clock.advance(0)
    assert parse(staying.value()).code == 200


def test_a_source_that_fails_costs_one_scrape(logged: list[LogEvent]) -> None:
    failing = True

    def zones() -> list[str]:
        if failing:
            raise RuntimeError("no zones today")
        return []

    browser = Browser(evolve(sources(), signed_zones=zones))
    assert browser.ask("/metrics").code == 500
    assert [event["event"] for event in logged if "log_failure" in event] == ["scrape_failed"]
    failing = False
    assert browser.ask("/metrics").code == 200


def test_healthz_where_nobody_takes_packets() -> None:
    reply = Browser(alive=False).ask("/healthz")
    assert (reply.code, reply.body) == (503, b'{"ok": false}\n')


def test_healthz() -> None:
    reply = Browser().ask("/healthz")
    assert reply.code == 200
    assert reply.headers["content-type"] == "application/json"
    assert json.loads(reply.body) == {"ok": True}


def test_ready() -> None:
    reply = Browser().ask("/readyz")
    assert reply.code == 200
    assert json.loads(reply.body) == {"ready": True, "missing": []}


def test_not_ready_says_what_is_missing() -> None:
    missing = ["no upstream nameserver answers", "example.com A is not resolved yet"]
    reply = Browser(missing=lambda: missing).ask("/readyz")
    assert reply.code == 503
    assert json.loads(reply.body) == {"ready": False, "missing": missing}


def test_what_is_missing_is_asked_each_time() -> None:
    missing = ["no upstream nameserver answers"]
    browser = Browser(missing=lambda: missing)
    assert browser.ask("/readyz").code == 503
    missing.clear()
    assert browser.ask("/readyz").code == 200


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_head_is_get_without_the_body(path: str) -> None:
    browser = Browser()
    reply = browser.ask(path, "HEAD")
    assert reply.code == 200
    assert reply.body == b""
    assert int(reply.headers["content-length"]) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "NONSENSE"])
@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_other_methods_are_not_allowed(path: str, method: str) -> None:
    reply = Browser().ask(path, method)
    assert reply.code == 405
    assert reply.headers["allow"] == "get, head"


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/metrics/x", "/favicon.ico", "//metrics", "/..", "/%2e%2e/metrics"]
)
def test_there_is_nothing_else(path: str) -> None:
    assert Browser().ask(path).code == 404


def test_a_body_is_not_read() -> None:
    reply = Browser().ask("/readyz", "POST", "Content-Length: 100000000000\r\n\r\nxxxx")
    assert reply.code == 405
    reply = Browser().ask("/readyz", "GET", "Transfer-Encoding: chunked\r\n\r\nzz not a chunk")
    assert reply.code == 200


def test_one_request_a_connection() -> None:
    transport = Browser().send(b"GET /healthz HTTP/1.1\r\n\r\n" * 3)
    assert transport.value().count(b"HTTP/1.1 200") == 1
    assert parse(transport.value()).headers["connection"] == "close"
    assert transport.disconnecting


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 3000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 100 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + (b"X: " + b"x" * 1000 + b"\r\n") * 10 + b"\r\n",
        b"\x00\x1f\x80\x80" * 1000,
        b"nonsense\r\n\r\n",
    ],
    ids=["long line", "long header", "many headers", "large request", "bytes without a line", "no request"],
)
def test_what_is_too_large_or_no_request_is_refused(raw: bytes) -> None:
    transport = Browser().send(raw)
    assert transport.disconnecting
    assert transport.value() in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_single_octets_do_not_hold_a_connection_open() -> None:
    browser = Browser()
    channel, transport = browser.connect()
    for octet in b"GET /heal":
        channel.dataReceived(bytes([octet]))
        browser.clock.advance(1)
        assert not transport.disconnected
    channel.dataReceived(b"t")
    browser.clock.advance(STEP_LIMIT_S - 9)
    assert transport.disconnected


def test_a_client_that_does_not_take_its_reply_is_cut_off() -> None:
    browser = Browser()
    transport = browser.send(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert not transport.disconnected
    browser.clock.advance(STEP_LIMIT_S)
    assert transport.disconnected


def test_so_many_connections_and_no_more() -> None:
    browser = Browser()
    channels = [browser.connect()[0] for _ in range(CONNECTION_LIMIT)]
    assert browser.site.buildProtocol(None) is None
    channels[3].connectionLost()
    assert browser.site.buildProtocol(None) is not None


def test_a_closed_connection_leaves_no_timer() -> None:
    browser = Browser()
    channel, _ = browser.connect()
    channel.dataReceived(b"GET /healthz HTTP/1.1\r\n\r\n")
    channel.connectionLost()
    assert not browser.clock.getDelayedCalls()


def test_a_scrape_is_not_news(logged: list[LogEvent]) -> None:
    browser = Browser()
    browser.site.doStart()
    for path in ("/metrics", "/healthz", "/nothing"):
        browser.ask(path)
        browser.ask(path, "HEAD")
    browser.clock.advance(STEP_LIMIT_S)
    browser.site.doStop()
    assert not logged
