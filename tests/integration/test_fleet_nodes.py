"""Who is in a fleet, as `flatproxy fleet` shows it: here, gone, missing, forgotten, of another schema."""

from __future__ import annotations

import sys
import threading
from time import time
from typing import TYPE_CHECKING

import pytest
from attrs import define, evolve

from flatproxy.flatten.fleet.digests import PARTS, part_of
from flatproxy.flatten.fleet.entry import Seal
from flatproxy.flatten.fleet.operations import StoreKeys
from flatproxy.flatten.fleet.presence import NodeRecord
from tests.support.configuration import configuration
from tests.support.fleet import PREFIX, Fleet, addresses
from tests.support.internet import FakeInternet
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.waiting import until

from .commands import Output, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nsd import Nsd
    from tests.support.redis import Redis

KEYS = StoreKeys(PREFIX)
DAY_S = 86_400.0


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


class Later(Proxy):
    """A flatproxy of a later schema."""

    def command(self) -> list[str]:
        later = "from flatproxy.flatten.fleet import entry; entry.SCHEMA = b'2'; from flatproxy.cli import main; main()"
        return [sys.executable, "-c", later, *super().command()[3:]]


def test_nodes_of_two_schemas_ignore_each_other(fleet: Fleet, store: Redis) -> None:
    """On one prefix, with resolvers that say different things: each goes on with what its own says."""
    with FakeInternet() as other:
        other.set("lb.test", "A", ["203.0.113.2"], 1)
        fleet.internet.set("lb.test", "A", ["203.0.113.1"], 1)
        ours = fleet.add("ns1", start=False)
        (fleet.folder / "later").mkdir()
        theirs = Later(fleet.folder / "later", evolve(fleet, internet=other).config("ns2"))
        fleet.nodes.append(theirs)
        for node in fleet.nodes:
            node.launch()
        for node in fleet.nodes:
            node.attach()
            node.wait_event("fleet_joined")
        for _ in range(3):  # each time it was resolved again
            for node, address in ((ours, "203.0.113.1"), (theirs, "203.0.113.2")):
                before = node.metrics().value("fleet_resolutions_total", by="own")
                until(lambda: node.metrics().value("fleet_resolutions_total", by="own") > before, "it resolves")  # noqa: B023
                assert addresses(node) == {address}
    for node in fleet.nodes:
        metrics = node.metrics()
        assert metrics.value("fleet_nodes") == 1
        assert metrics.value("fleet_entries_refused_total") == 0
        assert metrics.value("fleet_resolutions_total", by="fleet") == 0
    assert {key.split(b":")[2] for key in store.entries()} == {b"1", b"2"}
    assert states(fleet) == (0, {"ns1": "here"})


def test_what_another_schema_says_is_not_looked_at(fleet: Fleet, store: Redis) -> None:
    put(fleet, store, "ns9", -10)
    ours = store.do("HGET", KEYS.nodes, "ns9")
    theirs = KEYS.nodes.replace(f"{PREFIX}:1:", f"{PREFIX}:2:")
    store.do("HSET", theirs, "later", b"2" + ours[1:])
    assert states(fleet) == (0, {"ns9": "here"})
    store.do("HSET", KEYS.nodes, "odd", b"2" + ours[1:])
    done = show(fleet)
    assert (done.code, "odd: its record is not believed (schema)" in done.out) == (0, True)


def test_check_says_what_is_wrong_with_the_store(fleet: Fleet, store: Redis) -> None:
    store.do("ACL", "SETUSER", "half", "on", "nopass", "~*", "&*", "+@all", "-publish")

    def check(user: str, port: int) -> str:
        path = fleet.folder / "flatproxy.toml"
        path.write_text(fleet.config("looker", store=f"redis://{user}{store.host}:{port}/0"))
        done = run("check", "--config", str(path), "--json")
        (found,) = [each for each in done.json["findings"] if each["key"] == "fleet.store"]
        assert (found["severity"] == "error") == bool(found["do"])
        return f"{found['severity']}: {found['what']} {found['do']}"

    assert check("", store.port).startswith("ok: can be used; its clock is ")
    assert not store.do("EXISTS", KEYS.nodes)
    assert check("", free_port()).startswith("error: cannot be used, so this node goes on alone: connection: ")
    assert check("nobody@", store.port).endswith("give the user a password and commands as docs/fleet.md has them")
    assert check("half@", store.port).endswith("give the user a password and commands as docs/fleet.md has them")


def answer_as(fleet: Fleet, store: Redis, name: str, address: bytes, over: threading.Event) -> None:
    """Be a node that answers something else: its digest of one part differs, and it says why when it is asked."""
    seal = Seal(fleet.secret.read_bytes(), PREFIX)
    digests = "".join("1" * 8 if part == part_of("lb.test/A") else "0" * 8 for part in range(PARTS))
    store.do("HSET", KEYS.answers, name, seal.seal(f"answers {name}", 0, {"digests": digests}))
    with store.client() as client, client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(KEYS.channel)
        while not over.is_set():
            message = heard.get_message(timeout=0.1)
            words = message["data"].split() if message else []
            if words[:1] == [b"?"]:
                request = words[1].decode()
                raw = seal.seal(f"detail {request} {name}", 1, {"lb.test/A": [address.hex()]})
                client.set(KEYS.detail(request, name), raw, px=5_000)


def test_targets_on_which_nodes_differ_are_named(fleet: Fleet, store: Redis) -> None:
    fleet.add("ns1").wait_event("address_change")
    put(fleet, store, "ns9", -10)
    over = threading.Event()
    other = threading.Thread(target=answer_as, args=(fleet, store, "ns9", bytes([192, 0, 2, 66]), over))
    other.start()
    try:
        shown = show(fleet)
    finally:
        over.set()
        other.join()
    assert shown.code == 1
    assert "1 target on which nodes differ" in shown.out
    place = shown.lines.index("  lb.test/A")
    assert [line.split() for line in shown.lines[place + 1 :]] == [["ns1", "203.0.113.1"], ["ns9", "192.0.2.66"]]


@define(eq=False)
class Ahead(Proxy):
    """One whose clock is wrong."""

    ahead_s: float = 0.0

    def command(self) -> list[str]:
        moved = f"import time; right = time.time; time.time = lambda: right() + {self.ahead_s}"
        return [sys.executable, "-c", f"{moved}; from flatproxy.cli import main; main()", *super().command()[3:]]


def test_clocks_may_be_half_a_minute_apart(fleet: Fleet) -> None:
    """One that is 20 s ahead shares what has a TTL of a second; one that is 40 s ahead goes on alone and says why."""
    fleet.internet.set("lb.test", "A", ["203.0.113.1"], 1)
    fleet.add("ns1")
    for name, ahead_s in (("ns2", 20.0), ("ns3", 40.0)):
        (fleet.folder / name).mkdir()
        wrong = Ahead(fleet.folder / name, fleet.config(name), ahead_s=ahead_s)
        fleet.nodes.append(wrong)
        wrong.start()
    right, ahead, far = fleet.nodes
    assert far.wait_event("fleet_alone")["reason"] == "skew"
    ahead.wait_event("fleet_joined")
    both = (right, ahead)
    until(lambda: sum(each.metrics().value("fleet_resolutions_total", by="fleet") for each in both) > 2, "one takes")
    assert not any(each.metrics().value("fleet_entries_refused_total") for each in both)
    fleet.internet.set("lb.test", "A", ["203.0.113.2"], 1)
    fleet.all_answer("203.0.113.2")
    assert far.get("/readyz")[0] == 200


class Modules(Proxy):
    """Says at its end whether redis-py was imported."""

    def command(self) -> list[str]:
        end = "json.dumps({'event': 'end', 'redis': 'redis' in sys.modules})"
        say = f"atexit.register(lambda: print({end}, file=sys.stderr))"
        run_it = f"import atexit, json, sys; {say}; from flatproxy.cli import main; sys.exit(main())"
        return [sys.executable, "-c", run_it, *super().command()[3:]]


@pytest.mark.parametrize("has_fleet", [False, True])
def test_redis_py_is_imported_with_a_fleet_only(fleet: Fleet, nsd: Nsd, has_fleet: bool) -> None:
    folder = fleet.folder / "modules"
    folder.mkdir()
    alone = configuration(upstream=[nsd.address], resolver=[fleet.internet.address], flatten=fleet.flatten)
    node = Modules(folder, fleet.config("ns1") if has_fleet else alone)
    fleet.nodes.append(node)
    node.start()
    node.stop()
    assert node.wait_event("end")["redis"] is has_fleet
