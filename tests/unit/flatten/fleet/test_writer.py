"""Who writes the zone's records: several nodes on a store in memory."""

from __future__ import annotations

from attrs import define, field

from flatproxy.flatten.fleet.writer import RENEWED_S, WRITER_LEASE_S, WriterLease

from .memory import MemoryCarrier, MemoryStore


@define(eq=False)
class Nodes:
    now: float = 100.0
    carriers: list[MemoryCarrier] = field(init=False)
    leases: list[WriterLease] = field(init=False)

    def __attrs_post_init__(self) -> None:
        store = MemoryStore(lambda: self.now)
        self.carriers = [MemoryCarrier(store) for _ in range(3)]
        self.leases = [
            WriterLease(f"ns{number}", carrier, lambda: self.now, wanted=True)
            for number, carrier in enumerate(self.carriers)
        ]

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            for lease in self.leases:
                lease.tick(self.now)
            assert len(self.holders) <= 1

    @property
    def holders(self) -> list[int]:
        return [number for number, lease in enumerate(self.leases) if lease.held]


def test_one_node_writes_and_goes_on() -> None:
    nodes = Nodes()
    nodes.pass_time(1)
    assert nodes.holders == [0]
    nodes.pass_time(10 * WRITER_LEASE_S)
    assert nodes.holders == [0]


def test_another_takes_over_from_one_that_has_gone_in_order() -> None:
    nodes = Nodes()
    nodes.pass_time(1)
    gone = nodes.leases.pop(0)
    for operation in gone.leave():
        nodes.carriers[0].store.do(operation)
    nodes.pass_time(RENEWED_S)
    assert [lease.held for lease in nodes.leases] == [True, False]
    assert gone.leave() == []


def test_another_takes_over_from_one_that_is_dead() -> None:
    nodes = Nodes()
    nodes.pass_time(1)
    dead = nodes.leases.pop(0)
    nodes.pass_time(WRITER_LEASE_S + RENEWED_S)
    assert [lease.held for lease in nodes.leases] == [True, False]
    assert not dead.held


def test_without_the_store_nobody_writes() -> None:
    nodes = Nodes()
    nodes.pass_time(1)
    for carrier in nodes.carriers:
        carrier.joined = False
    nodes.pass_time(WRITER_LEASE_S)
    assert nodes.holders == []
    for carrier in nodes.carriers:
        carrier.joined = True
    nodes.pass_time(RENEWED_S)
    assert len(nodes.holders) == 1


def test_where_no_name_is_kept_in_step_the_lease_is_left_alone() -> None:
    nodes = Nodes()
    nodes.leases[0].wanted = False
    nodes.pass_time(1)
    assert nodes.holders == [1]
