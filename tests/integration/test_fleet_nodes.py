"""Who is in a fleet, as `flatproxy fleet` shows it: here, gone, missing, forgotten, of another schema."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

import pytest

from flatproxy.flatten.fleet.entry import Seal
from flatproxy.flatten.fleet.operations import StoreKeys
from flatproxy.flatten.fleet.presence import NodeRecord
from tests.support.fleet import PREFIX, Fleet
from tests.support.internet import FakeInternet
from tests.support.redis import Redis
from tests.support.waiting import until

from .commands import Output, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nsd import Nsd

KEYS = StoreKeys(PREFIX)
DAY_S = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Redis]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with Redis(folder) as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path, store: Redis, nsd: Nsd) -> Iterator[Fleet]:
    with FakeInternet() as internet:
        internet.set("lb.test", "A", ["203.0.113.1"], 60)
        flatten = {"example.com": {"target": "lb.test", "types": ["A"]}}
        nodes = Fleet(tmp_path, store.url, internet, nsd.address, flatten)
        yield nodes
        nodes.stop()


def put(fleet: Fleet, store: Redis, name: str, silent_s: float) -> None:
    """Let the store say that a node was there so long ago."""
    seen = time() - silent_s
    record = NodeRecord(name=name, version="0.1.0", instance="x", since=seen - 60, seen=seen, digest="d" * 64)
    store.do("HSET", KEYS.answers, name, "")
    store.do("HSET", KEYS.nodes, name, record.sealed(Seal(fleet.secret.read_bytes(), PREFIX)))


def show(fleet: Fleet, *more: str) -> Output:
    path = fleet.folder / "flatproxy.toml"
    path.write_text(fleet.config("looker"))
    return run("fleet", "--config", str(path), *more)


def states(fleet: Fleet) -> tuple[int, dict[str, str]]:
    done = show(fleet, "--json")
    return done.code, {node["name"]: node["state"] for node in done.json["nodes"]}


def test_a_node_is_missing_after_15_seconds_and_forgotten_after_a_day(fleet: Fleet, store: Redis) -> None:
    put(fleet, store, "quiet", -10)
    put(fleet, store, "old", DAY_S + 1)
    assert states(fleet) == (0, {"quiet": "here"})
    put(fleet, store, "quiet", 16)
    assert states(fleet) == (1, {"quiet": "missing"})
    put(fleet, store, "quiet", DAY_S - 60)
    assert states(fleet) == (1, {"quiet": "missing"})
    text = show(fleet).out
    assert "0 nodes here, 1 missing" in text
    assert "MISSING" in text
    fleet.add("ns1").wait_event("fleet_joined")
    until(lambda: not store.do("HEXISTS", KEYS.nodes, "old"), "nodes take it out of the store")
    assert not store.do("HEXISTS", KEYS.answers, "old")
    assert store.do("HEXISTS", KEYS.nodes, "quiet")


@pytest.mark.parametrize("moment", ["listening", "fleet_joined"])
def test_a_goodbye_is_said_at_any_moment(fleet: Fleet, moment: str) -> None:
    """Also by one that has hardly begun to join."""
    node = fleet.add("ns1", start=False)
    node.launch()
    node.wait_event(moment)
    node.stop()
    assert states(fleet) == (0, {"ns1": "gone"})


def test_what_another_schema_says_is_not_looked_at(fleet: Fleet, store: Redis) -> None:
    put(fleet, store, "ns9", -10)
    ours = store.do("HGET", KEYS.nodes, "ns9")
    theirs = KEYS.nodes.replace(f"{PREFIX}:1:", f"{PREFIX}:2:")
    store.do("HSET", theirs, "later", b"2" + ours[1:])
    assert states(fleet) == (0, {"ns9": "here"})
    store.do("HSET", KEYS.nodes, "odd", b"2" + ours[1:])
    done = show(fleet)
    assert (done.code, "odd: its record is not believed (schema)" in done.out) == (0, True)
