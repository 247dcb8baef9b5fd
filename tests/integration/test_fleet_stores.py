"""A fleet's store as it is reached: with TLS and a user that may little, over a socket, Sentinels, a cluster."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.child import run
from tests.support.fleet import PREFIX, Fleet
from tests.support.internet import FakeInternet
from tests.support.redis import Redis, place_of, sentinels
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.nsd import Nsd

FLATTEN = {"example.com": {"target": "lb.test", "types": ["A"]}}
PAGE = Path(__file__).parents[2] / "docs" / "fleet.md"

Make = Callable[..., Fleet]


@pytest.fixture
def resolver() -> Iterator[FakeInternet]:
    with FakeInternet() as internet:
        internet.set("lb.test", "A", ["203.0.113.1"], 2)
        yield internet


@pytest.fixture
def make(tmp_path: Path, resolver: FakeInternet, nsd: Nsd) -> Iterator[Make]:
    made: list[Fleet] = []

    def begin(store: str, **options: object) -> Fleet:
        fleet = Fleet(tmp_path, store, resolver, nsd.address, FLATTEN, options)
        made.append(fleet)
        return fleet

    yield begin
    for fleet in made:
        fleet.stop()


def shares(fleet: Fleet, resolver: FakeInternet) -> None:
    """See that all answer what one has found, and that they are a fleet."""
    fleet.begin(2)
    resolver.set("lb.test", "A", ["203.0.113.2"], 2)
    fleet.all_answer("203.0.113.2")
    until(lambda: sum(node.metrics().value("fleet_resolutions_total", by="fleet") for node in fleet.nodes), "sharing")
    assert run_fleet(fleet) == 0


def run_fleet(fleet: Fleet) -> int:
    path = fleet.nodes[0].path
    done = subprocess.run(
        [*fleet.nodes[0].command()[:3], "fleet", "--config", str(path)], capture_output=True, text=True, check=False
    )
    return done.returncode


def folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    return made


def acl() -> str:
    """Return the user of the documentation, on one line."""
    found = re.search(r"^    user flatproxy on .*?\n\n", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    line = " ".join(found[0].split()).replace("flatproxy:example", PREFIX)
    return line.replace(">PASSWORD", ">word") + " +scan"


def test_tls_and_a_user_that_may_what_the_page_says(tmp_path: Path, make: Make, resolver: FakeInternet) -> None:
    home = folder(tmp_path, "redis")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(home / "key.pem"), "-out", str(home / "cert.pem")]
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files])
    password = tmp_path / "password"
    password.write_text("word\n")
    password.chmod(0o600)
    (home / "users.acl").write_text(f"user default on nopass ~* &* +@all\n{acl()}\n")
    with Redis(home, options=(f"aclfile {home / 'users.acl'}",)) as plain:
        tls_port = plain.port + 1 if plain.port < 31_000 else plain.port - 1
        for key, value in (("cert-file", "cert.pem"), ("key-file", "key.pem"), ("ca-cert-file", "cert.pem")):
            plain.do("CONFIG", "SET", f"tls-{key}", str(home / value))
        plain.do("CONFIG", "SET", "tls-auth-clients", "no")
        plain.do("CONFIG", "SET", "tls-port", tls_port)
        options = {"password_file": str(password), "ca_file": str(home / "cert.pem")}
        shares(make(f"rediss://flatproxy@localhost:{tls_port}/0", **options), resolver)
        assert plain.do("ACL", "LOG") == []


def test_a_socket(tmp_path: Path, make: Make, resolver: FakeInternet) -> None:
    home = folder(tmp_path, "redis")
    with Redis(home, options=(f"unixsocket {home / 'r.sock'}",)):
        shares(make(f"unix://{home / 'r.sock'}"), resolver)


def test_sentinels_name_another_master(tmp_path: Path, make: Make, resolver: FakeInternet) -> None:
    with Redis(folder(tmp_path, "one")) as master, Redis(folder(tmp_path, "two")) as replica:
        replica.do("REPLICAOF", *master.address)
        until(lambda: replica.do("INFO", "replication").get("master_link_status") == "up", "the replica follows")
        with sentinels(tmp_path, master) as watching:
            fleet = make(place_of(watching))
            shares(fleet, resolver)
            mark = [node.mark for node in fleet.nodes]
            master.kill()
            for node, since in zip(fleet.nodes, mark, strict=True):
                node.wait_event("fleet_alone", mark=since)
                node.wait_event("fleet_joined", mark=since, deadline_s=40)
            resolver.set("lb.test", "A", ["203.0.113.3"], 2)
            fleet.all_answer("203.0.113.3")
            assert replica.entries()


def test_a_sentinel_that_wants_a_password_is_given_that_of_the_store(
    tmp_path: Path, make: Make, resolver: FakeInternet
) -> None:
    password = tmp_path / "password"
    password.write_text("word\n")
    password.chmod(0o600)
    with Redis(folder(tmp_path, "one"), options=("requirepass word",), password="word") as master:
        lines = (
            f"sentinel monitor mymaster {master.host} {master.port} 1",
            "sentinel auth-pass mymaster word",
            "requirepass word",
        )
        with Redis(folder(tmp_path, "sentinel"), options=lines, mode="--sentinel", password="word") as sentinel:
            store = f"redis+sentinel://{sentinel.host}:{sentinel.port}/mymaster/0"
            shares(make(store, password_file=str(password)), resolver)


def test_a_cluster(tmp_path: Path, make: Make, resolver: FakeInternet) -> None:
    servers = [Redis(folder(tmp_path, f"n{number}"), options=("cluster-enabled yes",)) for number in range(3)]
    try:
        for server in servers:
            server.start()
        places = [f"{server.host}:{server.port}" for server in servers]
        run(["redis-cli", "--cluster", "create", *places, "--cluster-yes"])
        until(lambda: all(b"cluster_state:ok" in server.do("CLUSTER", "INFO") for server in servers), "a cluster")
        shares(make(f"redis+cluster://{','.join(places)}"), resolver)
    finally:
        for server in servers:
            server.stop()
