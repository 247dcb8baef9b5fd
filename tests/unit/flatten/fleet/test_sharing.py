"""Several nodes on a store in memory: targets of real tables, resolved by nobody but who may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import define, field

from flatproxy.config.rules import Rule
from flatproxy.flatten.driving import take_over
from flatproxy.flatten.fleet.entry import Seal, TargetEntry
from flatproxy.flatten.fleet.operations import Publish
from flatproxy.flatten.fleet.ranks import Ranks, _weights
from flatproxy.flatten.fleet.reasons import FleetCounts
from flatproxy.flatten.fleet.sharing import Sharing
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table

from .memory import MemoryCarrier, MemoryStore

if TYPE_CHECKING:
    from flatproxy.table.target import Target

NAME, TARGET = b"\x07example\x03com\0", b"\x02lb\x04test\0"
ONE, TWO = b"\xcb\x00\x71\x01", b"\xcb\x00\x71\x02"
SEAL = Seal(b"0123456789abcdef", "flatproxy")
NAMES = ("ns1", "ns2", "ns3")
TTL_S = 60


@define(eq=False)
class Node:
    """A node with one target; `now` is the fleet's."""

    name: str
    store: MemoryStore
    ranks: Ranks | None = None
    carrier: MemoryCarrier = field(init=False)
    table: Table = field(factory=Table)
    sharing: Sharing = field(init=False)
    due: dict[Target, float] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.carrier = MemoryCarrier(self.store)
        ranks = self.ranks or Ranks(self.name)
        ranks.see(ranks.nodes or NAMES)
        counts = FleetCounts()
        self.sharing = Sharing(SEAL, self.name, ranks, counts, self.carrier, self, self.store.clock, 1.8)
        rule = Rule(target=TARGET, types=frozenset({"A"}), special="allow")
        adopted = self.table.adopt({NAME: rule}, 0.0, 1.8)
        self.sharing.follow(adopted.new, adopted.gone)
        self.store.told.append(self.sharing.hear_of)

    @property
    def target(self) -> Target:
        return next(iter(self.table.targets.values()))

    @property
    def place(self) -> str:
        return next(iter(self.sharing.places))

    @property
    def records(self) -> tuple[bytes, ...]:
        return self.target.resolution.rdatas if self.target.resolution is not None else ()

    def hurry(self, target: Target, due: float) -> None:
        self.due[target] = due

    def take(self, target: Target, entry: TargetEntry, offset: float) -> bool:
        return take_over(target, entry, offset, 0.0)

    def asks(self, now: float) -> bool:
        """Tell whether it would resolve now."""
        return self.sharing.defer(self.target, now) is None

    def resolve(self, record: bytes, now: float) -> None:
        resolution = Resolution(rdatas=(record,), ttl_s=TTL_S, names=("lb.test",), resolved_at=now)
        self.target.settle(resolution, "addresses", 0.0)
        self.sharing.resolved(self.target, success=True)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def fleet() -> tuple[Clock, MemoryStore, list[Node]]:
    clock = Clock()
    store = MemoryStore(clock)
    return clock, store, [Node(name, store) for name in NAMES]


def first_of(nodes: list[Node]) -> Node:
    return next(node for node in nodes if node.sharing.ranks.rank(node.place) == 0)


def test_one_resolves_and_all_have_it() -> None:
    clock, _store, nodes = fleet()
    assert not any(node.asks(clock.now) for node in nodes), "each claims first"
    asking = [node for node in nodes if node.asks(clock.now)]
    assert len(asking) == 1, "a query that waits does not change who has the lease"
    asking[0].resolve(ONE, clock.now)
    assert [node.records for node in nodes] == [(ONE,)] * 3
    assert [(node.sharing.counts.own, node.sharing.counts.fleet) for node in nodes if node not in asking] == [
        (0, 1)
    ] * 2
    assert asking[0].sharing.counts.own == 1


def test_a_holder_that_dies_is_followed_by_another() -> None:
    clock, store, nodes = fleet()
    dead, *others = nodes
    dead.asks(clock.now)
    assert store.lease(dead.place)
    assert [other.asks(clock.now) for other in others] == [False, False]
    clock.now += 0.46
    assert all(other.asks(clock.now) for other in others), "nothing is known of it, so nobody waits for long"


def test_alone_everybody_resolves() -> None:
    clock, _store, nodes = fleet()
    for node in nodes:
        node.carrier.joined = False
    assert all(node.asks(clock.now) for node in nodes)


def test_what_waited_is_due_when_the_store_is_lost() -> None:
    clock, _store, nodes = fleet()
    nodes[0].asks(clock.now)
    assert not nodes[1].asks(clock.now)
    nodes[1].carrier.joined = False
    nodes[1].sharing.go_alone(clock.now)
    assert nodes[1].due[nodes[1].target] == clock.now
    assert nodes[1].asks(clock.now)


def test_after_a_loss_the_newest_is_everybodys() -> None:
    """Two nodes found different things alone: the later one stands, and nobody goes back."""
    clock, _store, nodes = fleet()
    nodes[0].asks(clock.now)
    nodes[0].resolve(ONE, clock.now)
    for node in nodes:
        node.carrier.joined = False
    clock.now += 10
    nodes[0].resolve(ONE, clock.now)
    clock.now += 10
    nodes[1].resolve(TWO, clock.now)
    for node in nodes:
        node.carrier.joined = True
        node.sharing.rejoin(clock.now)
    for _ in range(12):
        clock.now += 0.1
        for node in nodes:
            node.sharing.tick(clock.now)
    assert [node.records for node in nodes] == [(TWO,)] * 3


@pytest.mark.parametrize("is_first_here", [True, False])
def test_after_a_loss_few_of_many_publish(*, is_first_here: bool) -> None:
    """All have found the same alone and join at once. What one publishes the others know 10 ms later."""
    clock = Clock()
    store = MemoryStore(clock)
    weights = {f"ns{number}": _weights(f"ns{number}") for number in range(100)}
    ranks = [Ranks(name, known=weights) for name in weights]
    for each in ranks:
        each.see(weights)
    nodes = [Node(each.node, store, each) for each in ranks]
    store.told.clear()
    if not is_first_here:
        nodes.remove(first_of(nodes))
    for node in nodes:
        node.carrier.joined = False
        node.resolve(TWO, clock.now)
        node.carrier.joined = True
        node.sharing.rejoin(clock.now)
    told: list[tuple[float, str, int]] = []
    store.told.append(lambda place, version: told.append((clock.now + 0.01, place, version)))
    for step in range(600):
        clock.now += 0.002
        while told and told[0][0] <= clock.now:
            _, place, version = told.pop(0)
            for node in nodes:
                node.sharing.hear_of(place, version)
        for node in nodes[step % 25 :: 25]:  # each every 50 ms
            node.sharing.tick(clock.now)
    published = sum(isinstance(operation, Publish) for operation in store.done)
    assert 1 <= published <= (1 if is_first_here else 20)
    assert {node.sharing.places[node.place] in node.sharing._publishing.unpublished for node in nodes} == {False}


def test_an_emptied_store_is_filled_by_the_first_one() -> None:
    clock, store, nodes = fleet()
    nodes[0].asks(clock.now)
    nodes[0].resolve(ONE, clock.now)
    kept = dict(store.entries)
    store.entries.clear()
    for node in nodes:
        node.sharing.rejoin(clock.now)
        node.sharing.tick(clock.now + 0.2)
    assert store.entries.keys() == kept.keys()
    assert first_of(nodes).sharing.counts.own + first_of(nodes).sharing.counts.fleet == 1


def test_an_old_version_that_is_put_back_is_not_answered() -> None:
    clock, store, nodes = fleet()
    nodes[0].asks(clock.now)
    nodes[0].resolve(ONE, clock.now)
    old = store.entries[nodes[0].place]
    clock.now += 50
    nodes[0].resolve(TWO, clock.now)
    store.entries[nodes[0].place] = old
    nodes[1].sharing.hear_of(nodes[1].place, 1 << 60)
    assert nodes[1].records == (TWO,)
    assert nodes[1].sharing.counts.refused["old"] == 1


def test_octets_that_are_none_are_overwritten() -> None:
    """Even with the highest version there is."""
    clock, store, nodes = fleet()
    store.entries[nodes[0].place] = b"1" + b"9" * 16 + b"x" * 40
    assert not nodes[0].asks(clock.now)
    assert nodes[0].sharing.counts.refused["hmac"] == 1
    assert nodes[0].asks(clock.now)
    nodes[0].resolve(ONE, clock.now)
    nodes[1].sharing.hear_of(nodes[1].place, 1 << 60)
    assert nodes[1].records == (ONE,)


def test_another_targets_entry_is_not_answered() -> None:
    clock, store, nodes = fleet()
    nodes[0].asks(clock.now)
    nodes[0].resolve(ONE, clock.now)
    other = SEAL.seal("other.test/A", 1 << 52, TargetEntry.about(nodes[0].target, 1_800_000_000.0).content())
    store.entries[nodes[1].place] = other
    nodes[1].sharing.hear_of(nodes[1].place, 1 << 60)
    assert nodes[1].records == (ONE,)
    assert nodes[1].sharing.counts.refused["hmac"] == 1


def test_what_the_guards_refuse_is_not_answered() -> None:
    clock, store, nodes = fleet()
    place, loopback = nodes[0].place, b"\x7f\0\0\1"
    entry = TargetEntry(
        rdatas=(loopback,), ttl_s=60, names=("lb.test",), outcome="addresses", resolved_at=1_800_000_100.0
    )
    store.entries[place] = SEAL.seal(place, 5, entry.content())
    rule = Rule(target=TARGET, types=frozenset({"A"}))
    adopted = nodes[0].table.adopt({NAME: rule}, 0.0, 1.8)
    nodes[0].sharing.follow(adopted.new, adopted.gone)
    guarded = nodes[0].place
    store.entries[guarded] = SEAL.seal(guarded, 5, entry.content())
    nodes[0].sharing.hear_of(guarded, 5)
    assert nodes[0].records == ()
    assert nodes[0].sharing.counts.refused["guard"] == 1
    assert nodes[0].asks(clock.now) or nodes[0].asks(clock.now)
