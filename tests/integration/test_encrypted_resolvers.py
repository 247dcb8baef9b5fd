"""Targets resolved over TLS, HTTPS and QUIC, alone and in one list with resolvers in clear text."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import dns.message
import pytest

from tests.support.authority import Certificates
from tests.support.child import Child, program, run
from tests.support.configuration import configuration
from tests.support.encrypted import EncryptedFront
from tests.support.internet import FakeInternet, Mood
from tests.support.ports import free_port, text
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.support.nsd import Nsd
    from tests.support.proxy import Proxy

    Start = Callable[..., Proxy]

NAME = "dns.example.net"
FLAGGED = dns.message.make_query("example.com", "A")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def hidden() -> Iterator[FakeInternet]:
    """What the encrypted resolver knows; whoever asks it in clear text is seen."""
    with FakeInternet() as running:
        running.set("lb.test", "A", ["203.0.113.1"], ttl=1)
        yield running


@pytest.fixture(params=["tls", "https", "quic"])
def front(request: pytest.FixtureRequest, authority: Certificates, hidden: FakeInternet) -> Iterator[EncryptedFront]:
    with EncryptedFront(scheme=request.param, internet=hidden, files=authority.issue(NAME)) as running:
        yield running


def _written(front: EncryptedFront, name: str = NAME) -> str:
    host, port = front.address
    if front.scheme == "https":
        return f"https://{name}:{port}/dns-query@{host}"
    return f"{front.scheme}://{host}:{port}#{name}"


def _config(nsd: Nsd, servers: Sequence[str], authority: Certificates, **more: object) -> str:
    return configuration(
        upstream=[nsd.address],
        flatten={"example.com": {"target": "lb.test", "types": ["A"], "max_ttl": "1s"}},
        tables={"resolver": {"servers": list(servers), "ca_file": str(authority.ca_file), "timeout": "2s", **more}},
    )


def _has(proxy: Proxy, address: str) -> bool:
    return _answers(proxy) == [address]


def _answers(proxy: Proxy) -> list[str]:
    return [rdata.to_text() for rrset in proxy.ask(FLAGGED).answer for rdata in rrset]


def test_a_target_is_kept_fresh_over_one_connection(
    nsd: Nsd, front: EncryptedFront, hidden: FakeInternet, authority: Certificates, start: Start
) -> None:
    """Through a reload, too; and nothing goes out in clear text."""
    config = _config(nsd, [_written(front)], authority)
    proxy = start(config)
    until(lambda: _answers(proxy) == ["203.0.113.1"], lambda: proxy.metrics().text)
    hidden.set("lb.test", "A", ["203.0.113.2"], ttl=1)
    until(lambda: _answers(proxy) == ["203.0.113.2"], lambda: proxy.metrics().text)
    before = front.asked
    proxy.reload(config.replace('max_ttl = "1s"', 'max_ttl = "2s"'))
    until(lambda: front.asked > before + 1, "it goes on")
    assert front.opened == 1
    metrics = proxy.metrics()
    assert metrics.value("resolver_seconds_count", resolver=_written(front)) >= 2
    assert metrics.value("resolver_failures_total", resolver=_written(front)) == 0
    assert hidden._server.received == [], "nobody asked in clear text"


def test_without_a_good_certificate_there_is_no_answer(
    nsd: Nsd, front: EncryptedFront, hidden: FakeInternet, authority: Certificates, start: Start, tmp_path: Path
) -> None:
    written = _written(front, "other.example.net")
    config = _config(nsd, [written], authority)
    proxy = start(config, ready=False)

    def failed() -> bool:
        return proxy.metrics().value("resolver_failures_total", resolver=written, reason="unreachable") >= 1

    until(failed, lambda: proxy.metrics().text)
    assert proxy.metrics().rung("example.com") == "upstream"
    assert front.asked == 0
    assert hidden._server.received == []
    (tmp_path / "check.toml").write_text(config)
    said = run([sys.executable, "-m", "flatproxy", "check", "--config", str(tmp_path / "check.toml")], check=False)
    assert "certificate" in said
    assert "resolver.ca_file" in said


def test_a_mixed_list_goes_on_to_the_next_and_prefers_it(
    nsd: Nsd, front: EncryptedFront, hidden: FakeInternet, authority: Certificates, start: Start
) -> None:
    with FakeInternet(mood=Mood.SERVFAIL) as broken:
        first = text(broken.address)
        proxy = start(_config(nsd, [first, _written(front)], authority))
        until(lambda: _answers(proxy) == ["203.0.113.1"], lambda: proxy.metrics().text)
        before = front.asked
        until(lambda: front.asked >= before + 3, "it is asked again and again")
        assert broken.asked["lb.test", "A"] == 1, "the better one is asked first"
        metrics = proxy.metrics()
        assert metrics.value("resolver_failures_total", resolver=first, reason="servfail") == 1
        assert metrics.value("resolver_seconds_count", resolver=_written(front)) >= 3
        front.go_deaf()
        broken.set("lb.test", "A", ["203.0.113.7"], ttl=1)
        broken.mood = Mood.HONEST
        hidden.mood = Mood.REFUSED
        until(lambda: _answers(proxy) == ["203.0.113.7"], lambda: proxy.metrics().text)


def test_require_ad_believes_an_authenticated_resolver(
    nsd: Nsd, front: EncryptedFront, hidden: FakeInternet, authority: Certificates, start: Start
) -> None:
    hidden.validates = True
    proxy = start(_config(nsd, [_written(front)], authority, require_ad=True))
    until(lambda: _answers(proxy) == ["203.0.113.1"], lambda: proxy.metrics().text)
    hidden.validates = False
    hidden.set("lb.test", "A", ["203.0.113.2"], ttl=1)

    def refused() -> bool:
        return proxy.metrics().value("resolver_failures_total", reason="not_validated") >= 1

    until(refused, lambda: proxy.metrics().text)
    assert _answers(proxy) == ["203.0.113.1"], "stale rather than unvalidated"


_UNBOUND = """\
server:
    interface: 127.0.0.1@{tls}
    interface: 127.0.0.1@{https}
    tls-port: {tls}
    https-port: {https}
    tls-service-pem: "{chain}"
    tls-service-key: "{key}"
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: ""
    use-syslog: no
    logfile: ""
    do-daemonize: no
    do-ip6: no
    access-control: 127.0.0.0/8 allow
    local-zone: "test." static
    local-data: "lb.test. 1 IN A 203.0.113.5"
remote-control:
    control-enable: no
"""


def test_unbound_over_tls_and_over_https_with_http_2(
    nsd: Nsd, authority: Certificates, start: Start, tmp_path: Path
) -> None:
    program("unbound")
    chain, key = authority.issue(NAME, stem="unbound")
    tls, https = free_port(), free_port()
    path = tmp_path / "unbound.conf"
    path.write_text(_UNBOUND.format(tls=tls, https=https, chain=chain, key=key, folder=tmp_path))
    child = Child.start(["unbound", "-d", "-c", str(path)], tmp_path / "unbound.log")
    try:
        for written in (f"tls://127.0.0.1:{tls}#{NAME}", f"https://{NAME}:{https}/dns-query@127.0.0.1"):
            proxy = start(_config(nsd, [written], authority))
            until(partial(_has, proxy, "203.0.113.5"), child.tail)
    finally:
        child.stop()
