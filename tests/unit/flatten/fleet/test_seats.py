"""Who probes, and when a verdict is one: several nodes on a store in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from flatproxy.flatten.fleet.entry import Seal
from flatproxy.flatten.fleet.ranks import Ranks
from flatproxy.flatten.fleet.reasons import FleetCounts
from flatproxy.flatten.fleet.seats import SEAT_S, Seats

from .memory import MemoryCarrier, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Mapping

SEAL = Seal(b"0123456789abcdef", "flatproxy")
KEYS = [f"health 192.0.2.{number} tcp" for number in range(40)]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@define(eq=False)
class Prober:
    name: str
    names: tuple[str, ...]
    store: MemoryStore
    carrier: MemoryCarrier = field(init=False)
    seats: Seats = field(init=False)
    verdicts: dict[str, Mapping[str, Any]] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.carrier = MemoryCarrier(self.store)
        ranks = Ranks(self.name)
        ranks.see(self.names)
        self.seats = Seats(SEAL, self.name, ranks, FleetCounts(), self.carrier, self.store.clock)
        self.store.told.append(self.seats.hear_of)
        self.seats.tick(self.store.clock())
        for key in KEYS:
            self.seats.watch(key, lambda sight, key=key: self.verdicts.__setitem__(key, sight))  # type: ignore[misc]


def probers(count: int) -> tuple[Clock, list[Prober]]:
    clock = Clock()
    store = MemoryStore(clock)
    names = tuple(f"ns{number}" for number in range(count))
    return clock, [Prober(name, names, store) for name in names]


def who(nodes: list[Prober], key: str) -> list[Prober]:
    return [node for node in nodes if node.seats.may_probe(key)]


def test_two_of_many_probe_each_address() -> None:
    _clock, nodes = probers(6)
    assert {len(who(nodes, key)) for key in KEYS} == {2}
    assert all(node.seats.held for node in nodes), "the work is shared"


def test_a_verdict_needs_both() -> None:
    _clock, nodes = probers(4)
    first, second = who(nodes, KEYS[0])
    assert not first.seats.see(KEYS[0], {"well": False})
    assert [node.verdicts.get(KEYS[0]) for node in nodes] == [None] * 4
    assert not second.seats.see(KEYS[0], {"well": False})
    assert [node.verdicts.get(KEYS[0]) for node in nodes] == [{"well": False}] * 4


def test_one_that_disagrees_changes_nothing() -> None:
    _clock, nodes = probers(3)
    first, second = who(nodes, KEYS[0])
    for node, is_well in ((first, False), (second, False), (first, True)):
        node.seats.see(KEYS[0], {"well": is_well})
    assert {node.verdicts[KEYS[0]]["well"] for node in nodes} == {False}
    second.seats.see(KEYS[0], {"well": True})
    assert {node.verdicts[KEYS[0]]["well"] for node in nodes} == {True}


def test_alone_a_node_probes_all_and_decides() -> None:
    _clock, (node,) = probers(1)
    assert all(node.seats.may_probe(key) for key in KEYS)
    assert node.seats.see(KEYS[0], {"well": False})


def test_without_a_store_a_node_probes_all_and_decides() -> None:
    _clock, nodes = probers(5)
    nodes[0].carrier.joined = False
    assert all(nodes[0].seats.may_probe(key) for key in KEYS)
    assert nodes[0].seats.see(KEYS[0], {"well": False})


def test_a_seat_of_a_dead_node_is_free_after_a_while() -> None:
    clock, nodes = probers(3)
    dead = who(nodes, KEYS[0])[0]
    living = [node for node in nodes if node is not dead]
    for node in living:
        node.seats.ranks.see([node.name for node in living])
    clock.now += SEAT_S / 2
    for node in living:
        node.seats.tick(clock.now)
    assert len(who(living, KEYS[0])) <= 2
    clock.now += SEAT_S
    for node in living:
        node.seats.tick(clock.now)
    assert who(living, KEYS[0]) == living


def test_forged_sights_are_not_believed() -> None:
    _clock, nodes = probers(3)
    forged = Seal(b"another secret..", "flatproxy")
    for seat in (0, 1):
        place = f"sight {seat} {KEYS[0]}"
        raw = forged.seal(place, 1 << 50, {"sight": {"well": False}, "node": f"ns{seat}"})
        nodes[0].carrier.store.entries[place] = raw
        nodes[0].seats.hear_of(place, 1 << 50)
    assert nodes[0].verdicts == {}
    assert nodes[0].seats.counts.refused["hmac"] == 2
