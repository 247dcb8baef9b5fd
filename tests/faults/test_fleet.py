"""The store of a fleet breaks in every way, and nodes are killed: no query is lost, and no answer is older for it.

A target with a TTL of 2 s moves every 3 s, so a node that is alone may answer an address that has been gone for 2 s.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Fleet, Watch
from tests.support.redis import Redis
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
    with Watch(fleet) as watch:
        harm(fleet, store)
        living = [node for node in fleet.nodes if node.alive]
        until(lambda: all(node.metrics().value("fleet_store_up") for node in living), "all have joined again", 12)
        let_pass(5)
        assert len(set(fleet.addresses())) == 1
        assert {node.get("/readyz")[0] for node in living} == {200}
    name = harm.__name__.replace("_", " ")
    note_took(f"{name}: longest answer", watch.longest_s)
    note_took(f"{name}: an address was gone for", watch.oldest_s)
    assert watch.lost == 0
    assert watch.longest_s < LONGEST_S
    assert watch.oldest_s < OLDEST_S
