"""The status page in Debian's Chromium, in front of a running flatproxy: each state that somebody may have to read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import dns.message
import pytest

from tests.support.browser import DESK, PHONE, Browser, chromium
from tests.support.configuration import configuration
from tests.support.internet import FakeInternet, Mood
from tests.support.ports import free_port
from tests.support.waiting import until

from .commands import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.support.nsd import Nsd
    from tests.support.proxy import Proxy

    Start = Callable[..., Proxy]

_HOSTILE = r"<img\032src=x\032onerror=document.title=1>.<script>document.title=2<\047script>.test"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def internet() -> Iterator[FakeInternet]:
    """A resolver of the test's own, to be broken."""
    made = FakeInternet()
    for name in ("lb.test", "steady.test"):
        made.set(name, "A", ["203.0.113.1", "203.0.113.2"], 2)
        made.set(name, "AAAA", ["2001:db8::1"], 2)
    made.start()
    yield made
    made.stop()


def _configuration(
    nsd: Nsd, internet: FakeInternet, flatten: Mapping[str, Mapping[str, object]], **tables: Mapping[str, object]
) -> str:
    return configuration(
        upstream=[nsd.address],
        resolver=[internet.address],
        resolver_={"timeout": "1s"},
        flatten=flatten,
        tables=tables,
    )


def _at(proxy: Proxy, browser: Browser) -> Browser:
    assert proxy.http is not None
    host, port = proxy.http
    browser.at = f"http://{host}:{port}"
    browser.complaints()
    browser.requests()
    return browser


def _until_page(browser: Browser, selector: str, text: str, path: str = "/") -> None:
    def probe() -> bool:
        browser.open(path)
        return any(text in found for found in browser.texts(selector))

    until(probe, lambda: f"{text} in {browser.texts(selector)}")


def _assert_fine(browser: Browser) -> None:
    """Nothing was refused or missing, and nothing asked for elsewhere."""
    assert browser.complaints() == []
    assert all(url.startswith((browser.at, "data:")) for url in browser.requests())


def test_a_healthy_service_says_so(nsd: Nsd, internet: FakeInternet, start: Start, browser: Browser) -> None:
    proxy = start(_configuration(nsd, internet, {"example.com": {"target": "lb.test"}}))
    until(lambda: proxy.ask(dns.message.make_query("example.com", "MX")).answer, "an MX record")
    page = _at(proxy, browser)
    page.open()
    assert page.text("header") == "All is well."
    (name,) = page.texts("td[data-label=Name] a")
    assert name == "example.com"
    assert page.texts(".names .rung") == ["fresh", "fresh"]
    assert "203.0.113.1" in page.text(".names")
    assert page.texts(".state") == ["up", "up"]
    assert page.texts("td[data-label=Replies]")[0] != "0"
    page.click("td[data-label=Name] a")
    assert page.text("h1") == "example.com"
    assert "the target resolves now" in page.text("pre")
    _assert_fine(page)


def test_each_rung_is_told(nsd: Nsd, internet: FakeInternet, start: Start, browser: Browser) -> None:
    flatten: dict[str, dict[str, object]] = {
        "example.com": {"target": "lb.test"},
        "flat.example.net": {"target": "lb.test", "stale_for": "0s"},
        "example.net": {"target": "lb.test", "stale_for": "0s", "fallback": ["198.51.100.9", "2001:db8::9"]},
        "fresh.example.com": {"target": "steady.test"},
    }
    proxy = start(_configuration(nsd, internet, flatten))
    internet.moods["lb.test"] = Mood.SERVFAIL
    page = _at(proxy, browser)
    _until_page(page, ".names .rung", "stale")
    _until_page(page, "header", "Not well")
    page.open()
    rungs = [rung for rung in page.texts(".names .rung") if rung]
    assert rungs == ["upstream"] * 2 + ["fallback"] * 2 + ["stale"] * 2 + ["fresh"] * 2
    said = page.text("header")
    assert "flat.example.net A is answered by the nameserver's own record, since" in said
    assert "example.net A is answered with its fallback addresses" in said
    assert "example.com A is answered with old addresses" in said
    assert "lb.test A cannot be resolved" in said
    assert "fresh → stale" in page.text(".changes")
    _assert_fine(page)


def test_a_dead_nameserver_is_told_and_so_is_its_return(
    nsd: Nsd, internet: FakeInternet, start: Start, browser: Browser
) -> None:
    proxy = start(_configuration(nsd, internet, {"example.com": {"target": "lb.test"}}))
    page = _at(proxy, browser)
    nsd.kill()
    try:
        _until_page(page, "header", "no upstream nameserver answers, since")
        assert page.texts(".servers .state")[0] == "down"
        ready = json.loads(proxy.get("/readyz")[1])
        status = json.loads(proxy.get("/api/status")[1])
        assert ready["missing"] == ["no upstream nameserver answers"]
        assert ready["missing"][0] == status["findings"][0]["what"]
        assert page.text(".names .rung") == "fresh"
    finally:
        nsd.restart()
    _until_page(page, "header", "All is well.")
    _assert_fine(page)


def test_names_and_targets_that_try_markup_are_text(
    nsd: Nsd, internet: FakeInternet, start: Start, browser: Browser
) -> None:
    internet.set(_HOSTILE, "A", ["203.0.113.7"], 2)
    internet.cname("lb.test", _HOSTILE)
    hostile = r"<b\\032onmouseover=alert\\0401\\041>.example.com"
    proxy = start(_configuration(nsd, internet, {hostile: {"target": "lb.test"}}))
    page = _at(proxy, browser)
    for path in ("/", "/?query=%3Cscript%3Ealert(1)%3C/script%3E%22%27"):
        page.open(path)
        assert page.script("return document.querySelectorAll('main script, main img, main b[onmouseover]').length") == 0
        assert page.script("return document.title") == "flatproxy"
    page.open()
    assert "<img src=x" in page.text(".names").replace(r"\032", " ")
    page.click("td[data-label=Name] a")
    assert page.text("h1").startswith("<b")
    _assert_fine(page)


def test_a_hundred_thousand_names_are_searched_and_paged(
    nsd: Nsd, internet: FakeInternet, start: Start, browser: Browser, tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"shop{number}.example.com lb.test\n" for number in range(100_000)))
    config = f'include = ["{names}"]\n' + _configuration(nsd, internet, {})
    page = _at(start(config), browser)
    page.open()
    assert "page 1 of 2000, 100,000 names" in page.text(".pages")
    page.click("a[rel=next]")
    assert "page 2 of 2000" in page.text(".pages")
    assert len(page.texts("td[data-label=Name]")) == 50
    page.open("/?page=2000")
    assert page.texts("td[data-label=Name] a")[-1] == "shop99999.example.com"
    page.search("shop4242")
    assert page.texts("td[data-label=Name] a") == [
        "shop4242.example.com", *(f"shop4242{digit}.example.com" for digit in range(10)),
    ]  # fmt: skip
    _assert_fine(page)


def test_it_fits_a_phone_in_the_dark_and_renews_itself(
    nsd: Nsd, internet: FakeInternet, start: Start, browser: Browser
) -> None:
    proxy = start(_configuration(nsd, internet, {"example.com": {"target": "lb.test"}}))
    page = _at(proxy, browser)
    page.open()
    light = page.script("return getComputedStyle(document.body).backgroundColor")
    try:
        page.resize(PHONE)
        page.colours("dark")
        for path in ("/", "/names/example.com"):
            page.open(path)
            assert not page.overflows
        assert page.script("return getComputedStyle(document.body).backgroundColor") != light
        page.open()
        before = page.text("#at")
        until(lambda: page.text("#at") != before, "it renews itself")
        assert page.text("header") == "All is well."
    finally:
        page.resize(DESK)
        page.colours("light")
    _assert_fine(page)


def test_check_says_the_same_in_the_same_words(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    internet.mood = Mood.SERVFAIL
    port = free_port()
    config = _configuration(nsd, internet, {"example.com": {"target": "lb.test", "types": ["A"]}})
    proxy = start(config.replace('"127.0.0.1:0"\n', f'"127.0.0.1:{port}"\n'))
    until(lambda: not json.loads(proxy.get("/api/status")[1])["well"], "it is not well")
    said = [each["what"] for each in json.loads(proxy.get("/api/status")[1])["findings"]]
    report = run("check", "--config", str(proxy.path), "--json").json
    checked = [each["what"] for each in report["findings"] if each["key"] == "listen.http"]
    assert [each.rpartition(", since ")[0] for each in checked] == said
    assert "example.com A is answered by the nameserver's own record" in said
