"""What `check` and `explain` say of several targets and of their health, each address being probed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.certificates import Issuer
from tests.support.configuration import configuration
from tests.support.internet import FakeInternet
from tests.support.web import Health, web_servers

from .commands import Output, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.nsd import Nsd

    Ask = Callable[..., Output]

NAME = "flat.example.net"
KEY = f'flatten."{NAME}"'
HOSTS = ("127.0.3.1", "127.0.3.2")


@pytest.fixture(scope="module")
def internet() -> Iterator[FakeInternet]:
    with FakeInternet() as net:
        net.set("lb.test", "A", HOSTS)
        net.set("lb.test", "AAAA", [])
        net.set("us.test", "A", ["127.0.4.1"])
        net.set("us.test", "AAAA", [])
        yield net


@pytest.fixture
def ask(nsd: Nsd, internet: FakeInternet, tmp_path: Path) -> Ask:
    def ask(command: str, *more: str, **rule: Any) -> Output:
        path = tmp_path / "flatproxy.toml"
        path.write_text(configuration(upstream=[nsd.address], resolver=[internet.address], flatten={NAME: rule}))
        return run(command, "--config", str(path), *more)

    return ask


def about(done: Output) -> list[tuple[str, str]]:
    """Return what is wrong with the name: severities and keys."""
    return [(severity, key) for severity, key in done.findings("error", "warning") if key.startswith(KEY)]


def test_explain_says_which_target_is_answered(ask: Ask) -> None:
    done = ask("explain", NAME, targets=["gone.test", "lb.test", "us.test"])
    assert done.lines[0] == f"{NAME} is flattened: of its targets gone.test, lb.test, us.test, the first that is well"
    assert [line for line in done.lines if line.endswith(("is answered", "is not answered now"))] == [
        "gone.test is not answered now",
        "lb.test is answered",
        "us.test is not answered now",
    ]
    told = ask("explain", NAME, "--json", targets=["gone.test", "lb.test", "us.test"], use="all").json
    assert [(each["target"], each["answered"]) for each in told["targets"]] == [
        ("gone.test", False),
        ("lb.test", True),
        ("us.test", True),
    ]
    assert (told["target"], told["ok"]) == ("lb.test", True)


def test_explain_probes_each_address_once(ask: Ask) -> None:
    with web_servers(HOSTS) as servers:
        servers[1].health = Health.ERROR
        health = {"check": "http", "port": servers[0].port, "path": "/up"}
        done = ask("explain", NAME, target="lb.test", health=health)
        start = done.lines.index(f"Health: http port {servers[0].port} as {NAME}, /up")
        assert sorted(line.split(None, 1) for line in done.lines[start + 1 : start + 3]) == [
            [HOSTS[0], "well"],
            [HOSTS[1], "fails: status 500"],
        ]
        assert "after 3 failures in a row, 10 s apart" in " ".join(done.lines)
        assert [len(server.asked) for server in servers] == [1, 1]
        told = ask("explain", NAME, "--json", target="lb.test", health=health).json
        assert sorted(told["health"], key=lambda each: str(each["address"])) == [
            {"address": HOSTS[0], "check": "http", "result": "well", "failure": None},
            {"address": HOSTS[1], "check": "http", "result": "fails", "failure": "status 500"},
        ]


def test_check_says_which_addresses_fail(ask: Ask) -> None:
    with web_servers(HOSTS) as servers:
        health = {"check": "http", "port": servers[0].port}
        assert about(ask("check", "--json", target="lb.test", health=health)) == []
        servers[1].health = Health.ERROR
        done = ask("check", "--json", target="lb.test", health=health)
        assert about(done) == [("warning", f"{KEY}.health")]
        assert f"{HOSTS[1]} fails: status 500" in done.what(f"{KEY}.health")
        servers[0].health = Health.ERROR
        done = ask("check", "--json", target="lb.test", health=health)
        assert about(done) == [("error", f"{KEY}.health")]


def test_check_judges_every_target(ask: Ask) -> None:
    done = ask("check", "--json", targets=["lb.test", "gone.test"])
    assert about(done) == [("error", f"{KEY}.targets[1]")]
    assert "gone.test" in done.what(f"{KEY}.targets[1]")


def test_check_reads_the_authorities(ask: Ask, tmp_path: Path) -> None:
    no_file = tmp_path / "ca.pem"
    done = ask("check", "--json", target="lb.test", health={"check": "https", "ca_file": str(no_file)})
    assert about(done) == [("error", f"{KEY}.health.ca_file")]
    assert str(no_file) in done.what(f"{KEY}.health.ca_file")


def test_run_does_not_start_without_the_authorities(ask: Ask, tmp_path: Path) -> None:
    no_file = tmp_path / "ca.pem"
    done = ask("run", target="lb.test", health={"check": "https", "ca_file": str(no_file)})
    assert done.code != 0
    assert f"{KEY}.health.ca_file" in done.err
    assert "write:" in done.err


def test_a_certificate_is_verified_by_check_too(ask: Ask, tmp_path: Path) -> None:
    issuer = Issuer.new()
    with web_servers(HOSTS, tls=issuer.server(tmp_path, NAME)) as servers:
        health = {"check": "https", "port": servers[0].port, "ca_file": str(issuer.save(tmp_path / "ca.pem"))}
        assert about(ask("check", "--json", target="lb.test", health=health)) == []
        done = ask("check", "--json", target="lb.test", health={**health, "host": "www.example.net"})
        assert about(done) == [("error", f"{KEY}.health")]
        assert "certificate verify failed" in done.what(f"{KEY}.health")
