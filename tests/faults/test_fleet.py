"""The store of a fleet breaks in every way, and nodes are killed: no query is lost, and no answer is older for it.

A target with a TTL of 2 s moves every 3 s, so a node that is alone may answer an address that has been gone for 2 s.
"""

from __future__ import annotations

import signal
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Fleet, Watch
from tests.support.redis import Redis, place_of, sentinels
from tests.support.waiting import let_pass, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.nsd import Nsd

    from .losses import Took

FLATTEN = {"example.com": {"target": "lb.test", "types": ["A"]}}
NODES = 4
OLDEST_S = 2.0 + 1.0
"""The TTL, and a second for a machine that does much else."""
LONGEST_S = 1.0
EQUAL_S = 5.0
"""After so long all answer the same again,"""
APART_S = 1.0
"""within a second of each change."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Redis]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with Redis(folder, options=("enable-debug-command yes",)) as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path, store: Redis, resolver: FakeInternet, nsd: Nsd) -> Iterator[Fleet]:
    nodes = Fleet(tmp_path, store.url, resolver, nsd.address, FLATTEN)
    nodes.begin(NODES)
    yield nodes
    nodes.stop()


def kill_the_first(fleet: Fleet, _store: Redis) -> None:
    """Kill a node that has resolved."""
    working = max(fleet.nodes, key=lambda node: node.metrics().value("fleet_resolutions_total", by="own"))
    working.kill()


def kill_the_store(_fleet: Fleet, store: Redis) -> None:
    store.kill()
    let_pass(8)
    store.start()


def kill_both(fleet: Fleet, store: Redis) -> None:
    store.kill()
    fleet.nodes[0].kill()
    let_pass(5)
    store.start()


def pause_the_store(_fleet: Fleet, store: Redis) -> None:
    assert store.child is not None
    store.child.send(signal.SIGSTOP)
    let_pass(30)
    store.child.send(signal.SIGCONT)


def fill_the_store(_fleet: Fleet, store: Redis) -> None:
    store.do("CONFIG", "SET", "maxmemory", "1")
    let_pass(8)
    store.do("CONFIG", "SET", "maxmemory", "0")


def make_it_read_only(_fleet: Fleet, store: Redis) -> None:
    store.do("REPLICAOF", "127.0.0.1", "9")
    let_pass(8)
    store.do("REPLICAOF", "NO", "ONE")


def flush_the_store(_fleet: Fleet, store: Redis) -> None:
    store.do("FLUSHALL")


def slow_store(_fleet: Fleet, store: Redis) -> None:
    """Each time it answers again it sleeps for longer than a command may take."""
    for _ in range(4):
        store.do("DEBUG", "SLEEP", "2")


BREAK = [
    kill_the_first,
    kill_the_store,
    kill_both,
    pause_the_store,
    fill_the_store,
    make_it_read_only,
    flush_the_store,
    slow_store,
]


@pytest.mark.parametrize("harm", BREAK, ids=lambda harm: harm.__name__)
def test_nobody_notices(fleet: Fleet, store: Redis, harm: Callable[[Fleet, Redis], None], note_took: Took) -> None:
    nobody_notices(fleet, lambda: harm(fleet, store), harm.__name__.replace("_", " "), note_took)


def test_a_replica_becomes_the_master(tmp_path: Path, resolver: FakeInternet, nsd: Nsd, note_took: Took) -> None:
    with (
        Redis(_folder(tmp_path, "one")) as master,
        Redis(_folder(tmp_path, "two"), options=(f"replicaof {master.host} {master.port}",)) as replica,
        sentinels(tmp_path, master) as watching,
    ):
        until(lambda: replica.do("INFO", "replication").get("master_link_status") == "up", "the replica follows")
        fleet = Fleet(tmp_path, place_of(watching), resolver, nsd.address, FLATTEN)

        def kill_the_master() -> None:
            master.kill()
            until(lambda: replica.do("INFO", "replication").get("role") == "master", "another master")

        try:
            fleet.begin(NODES)
            nobody_notices(fleet, kill_the_master, "another master", note_took)
        finally:
            fleet.stop()


def nobody_notices(fleet: Fleet, harm: Callable[[], None], name: str, note_took: Took) -> None:
    """Do harm, and see that no query is lost or late, no answer too old, and all are equal soon after it ended."""
    with Watch(fleet) as watch:
        harm()
        equal_at = monotonic() + EQUAL_S
        living = [node for node in fleet.nodes if node.alive]
        until(lambda: all(node.metrics().value("fleet_store_up") for node in living), "all have joined again", 12)
        let_pass(equal_at + 5 - monotonic())
        assert {node.get("/readyz")[0] for node in living} == {200}
    note_took(f"{name}: longest answer", watch.longest_s)
    note_took(f"{name}: an address was gone for", watch.oldest_s)
    note_took(f"{name}: nodes apart for, at most", watch.apart_s(0))
    note_took(f"{name}: the same, {EQUAL_S:.0f} s later", watch.apart_s(equal_at))
    assert watch.lost == 0
    assert watch.longest_s < LONGEST_S
    assert watch.oldest_s < OLDEST_S
    assert watch.apart_s(equal_at) < APART_S


def _folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    return made
