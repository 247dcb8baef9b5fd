"""Health checks as clients notice them: servers that are killed, hang, err or show a wrong certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dns.message
import pytest
from attrs import define, field

from tests.support.certificates import Issuer
from tests.support.configuration import configuration
from tests.support.internet import FakeInternet
from tests.support.service import Prepare, Service, service
from tests.support.waiting import until
from tests.support.web import Health, WebServer, web_servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.nsd import Nsd

__all__ = ["service"]

HOSTS = ("127.0.1.1", "127.0.1.2", "127.0.1.3")
BACKUP = "127.0.2.1"
QUICK = {"interval": "1s", "timeout": "500ms", "fall": 2, "rise": 1, "minimum": 0.3}
TTL = 60


@pytest.fixture(params=["0", "1"], ids=["python", "c"])
def native(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture
def resolver() -> Iterator[FakeInternet]:
    with FakeInternet() as internet:
        internet.set("lb.test", "A", HOSTS, TTL)
        internet.set("lb.test", "AAAA", [])
        internet.set("backup.test", "A", [BACKUP], TTL)
        internet.set("backup.test", "AAAA", [])
        yield internet


@define
class Site:
    """A load balancer, a resolver that knows it, and flatproxy in front."""

    service: Prepare
    nsd: Nsd
    resolver: FakeInternet
    native: str
    proxy: Service = field(init=False)

    def start(self, health: dict[str, Any], **keys: Any) -> None:
        self.proxy = self.service(self.configuration(health, **keys), environ={"FLATPROXY_NATIVE": self.native})
        self.proxy.start()

    def configuration(self, health: dict[str, Any] | None, **keys: Any) -> str:
        table = {"target": "lb.test", **keys} if "targets" not in keys else keys
        if health is not None:
            table["health"] = {**QUICK, **health}
        return configuration(
            upstream=[self.nsd.address], resolver=[self.resolver.address], flatten={"example.com": table}
        )

    def ask(self, rdtype: str = "A") -> dns.message.Message:
        return self.proxy.ask(dns.message.make_query("example.com", rdtype))

    def answer(self) -> tuple[list[str], int]:
        reply = self.ask()
        return sorted(rdata.to_text() for rrset in reply.answer for rdata in rrset), max(
            (rrset.ttl for rrset in reply.answer), default=0
        )

    def until_answered(self, *hosts: str) -> None:
        until(lambda: self.answer()[0] == sorted(hosts), f"the answer is {hosts}")

    def up(self, host: str) -> float:
        return self.proxy.metrics().value("health_up", name="example.com", address=host)


@pytest.fixture
def site(service: Prepare, nsd: Nsd, resolver: FakeInternet, native: str) -> Site:
    return Site(service, nsd, resolver, native)


def _fall_ill(health: Health) -> Callable[[WebServer], None]:
    def fall_ill(server: WebServer) -> None:
        server.health = health

    return fall_ill


def test_a_load_balancer_that_loses_one_of_three(site: Site) -> None:
    """The address leaves the answer, what is left has a short TTL, and it comes back with the server."""
    with web_servers(HOSTS) as servers:
        site.start({"check": "http", "port": servers[0].port, "path": "/healthz"})
        site.until_answered(*HOSTS)
        assert site.answer()[1] > 1
        until(lambda: all(server.asked for server in servers), "each is asked")
        assert {asked for server in servers for asked in server.asked} == {
            (f"example.com:{servers[0].port}", "/healthz")
        }
        servers[1].stop()
        site.until_answered(HOSTS[0], HOSTS[2])
        assert site.answer()[1] == 1
        assert (site.up(HOSTS[0]), site.up(HOSTS[1])) == (1, 0)
        event = site.proxy.wait_event("health_change", address=HOSTS[1], state="sick")
        assert "refused" in event["message"]
        assert event["name"] == "example.com"
        site.proxy.reload(site.proxy.config.replace("minimum = 0.3", "minimum = 0.4"))
        assert site.answer()[0] == [HOSTS[0], HOSTS[2]]  # a reload knows what was found
        servers[1].start()
        site.until_answered(*HOSTS)
        site.proxy.wait_event("health_change", address=HOSTS[1], state="well")
        metrics = site.proxy.metrics()
        assert metrics.value("health_flaps_total", name="example.com", target="lb.test", address=HOSTS[1]) == 2
        assert metrics.value("health_probe_seconds_count") > 0
        assert metrics.value("health_failing_open", name="example.com") == 0


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_fall_ill(Health.ERROR), "status 500"),
        (_fall_ill(Health.HANGS), "no answer within 0.5 s"),
        (_fall_ill(Health.SILENT), "no answer within 0.5 s"),
    ],
    ids=["500", "hangs", "silent"],
)
def test_a_server_that_is_there_and_no_use(site: Site, harm: Callable[[WebServer], None], reason: str) -> None:
    with web_servers(HOSTS) as servers:
        site.start({"check": "http", "port": servers[0].port})
        site.until_answered(*HOSTS)
        harm(servers[2])
        site.until_answered(*HOSTS[:2])
        assert site.proxy.wait_event("health_change", address=HOSTS[2])["because"] == f" ({reason})"


def test_addresses_of_the_newer_protocol(site: Site) -> None:
    with web_servers(["::1", *HOSTS]) as servers:
        site.resolver.set("lb.test", "AAAA", ["::1"], TTL)
        site.start({"check": "http", "port": servers[0].port, "minimum": 0.1})
        until(lambda: servers[0].asked, "it is asked")
        assert [rdata.to_text() for rrset in site.ask("AAAA").answer for rdata in rrset] == ["::1"]
        servers[0].stop()
        until(lambda: not site.ask("AAAA").answer, "it is NODATA")
        assert site.answer()[0] == sorted(HOSTS)


def test_what_only_accepts_is_well_by_tcp(site: Site) -> None:
    with web_servers(HOSTS, health=Health.SILENT) as servers:
        site.start({"check": "tcp", "port": servers[0].port})
        until(lambda: all(server.connected > 2 for server in servers), "each was probed")
        assert site.answer()[0] == sorted(HOSTS)
        servers[0].stop()
        site.until_answered(*HOSTS[1:])


def test_a_wrong_certificate(site: Site, tmp_path: Path) -> None:
    ours, others = Issuer.new(), Issuer.new()
    ca_file = ours.save(tmp_path / "ca.pem")
    good = ours.server(tmp_path, "example.com")
    with web_servers(HOSTS, tls=good) as servers:
        site.start({"check": "https", "port": servers[0].port, "ca_file": str(ca_file)})
        until(lambda: all(server.asked for server in servers), "each is asked")
        servers[0].tls = ours.server(tmp_path, "example.net")
        servers[1].tls = others.server(tmp_path, "example.com")
        site.until_answered(HOSTS[2])
        for host in HOSTS[:2]:
            event = site.proxy.wait_event("health_change", address=host)
            assert "certificate verify failed" in event["because"]
        site.proxy.reload(
            site.configuration({"check": "https", "port": servers[0].port, "verify": False, "host": "www.example.com"})
        )
        site.until_answered(*HOSTS)


def test_a_reload_without_its_authorities_changes_nothing(site: Site, tmp_path: Path) -> None:
    with web_servers(HOSTS) as servers:
        site.start({"check": "http", "port": servers[0].port})
        missing = {"check": "https", "port": servers[0].port, "ca_file": str(tmp_path / "none.pem")}
        event = site.proxy.reload(site.configuration(missing), expect="reload_failed")
        assert 'flatten."example.com".health.ca_file' in event["error"]
        servers[0].stop()
        site.until_answered(*HOSTS[1:])


def test_fail_open(site: Site) -> None:
    """Where too few are well the checks are not to be believed."""
    with web_servers(HOSTS) as servers:
        site.start({"check": "http", "port": servers[0].port, "minimum": 0.5})
        site.until_answered(*HOSTS)
        servers[0].health = Health.ERROR
        site.until_answered(*HOSTS[1:])
        servers[1].health = Health.ERROR
        site.until_answered(*HOSTS)
        until(lambda: site.proxy.metrics().value("health_failing_open", name="example.com") == 1, "it fails open")
        site.proxy.wait_event("target_change", failing_open=True)
        servers[1].health = Health.WELL
        site.until_answered(*HOSTS[1:])


def test_the_first_target_that_is_well(site: Site) -> None:
    with web_servers([*HOSTS, BACKUP]) as servers:
        site.start({"check": "http", "port": servers[0].port, "minimum": 0.5}, targets=["lb.test", "backup.test"])
        site.until_answered(*HOSTS)
        servers[0].health = servers[1].health = Health.ERROR
        site.until_answered(BACKUP)
        assert site.answer()[1] == 1
        servers[3].health = Health.ERROR
        site.until_answered(*HOSTS)
        servers[3].health = Health.WELL
        site.until_answered(BACKUP)
        servers[0].health = Health.WELL
        site.until_answered(HOSTS[0], HOSTS[2])
        changes = [(each["old"], each["new"]) for each in site.proxy.since(0, "target_change")]
        assert ("lb.test", "backup.test") in changes
        assert ("backup.test", "lb.test") in changes


def test_all_that_are_well(site: Site) -> None:
    with web_servers([*HOSTS, BACKUP]) as servers:
        site.start({"check": "http", "port": servers[0].port}, targets=["lb.test", "backup.test"], use="all")
        site.until_answered(*HOSTS, BACKUP)
        servers[0].stop()
        servers[3].stop()
        site.until_answered(*HOSTS[1:])


def test_probes_end_with_their_addresses(site: Site) -> None:
    """After a reload, and after a change of the target's records, nobody is asked who is not answered."""
    with web_servers([*HOSTS, BACKUP]) as servers:
        site.resolver.set("lb.test", "A", HOSTS, 1)
        port = servers[0].port
        site.start({"check": "http", "port": port})
        until(lambda: all(server.asked for server in servers[:3]), "each is asked")
        site.resolver.set("lb.test", "A", HOSTS[:2], 1)
        site.until_answered(*HOSTS[:2])
        site.proxy.reload(site.configuration({"check": "http", "port": port}, target="backup.test"))
        until(lambda: servers[3].asked, "the new one is asked")
        before = [len(server.asked) for server in servers[:3]]
        asked = len(servers[3].asked)
        until(lambda: len(servers[3].asked) > asked + 4, "some rounds go by")
        assert [len(server.asked) for server in servers[:3]] == before
        site.proxy.reload(site.configuration(None, target="backup.test"))
        assert list(site.proxy.metrics().samples("health_up")) == []


def test_an_address_of_nowhere_is_not_probed(site: Site) -> None:
    """The guards come before the checks."""
    with web_servers(HOSTS) as servers:
        site.start({"check": "http", "port": servers[0].port}, allow=[f"{HOSTS[0]}/32"])
        until(lambda: len(servers[0].asked) > 2, "the allowed one is asked")
        assert site.answer()[0] == [HOSTS[0]]
        assert (servers[1].asked, servers[2].asked) == ([], [])
