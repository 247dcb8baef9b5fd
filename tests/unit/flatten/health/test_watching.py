"""Between table and probes: what is watched for whom, who looks again, and what is read of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from flatproxy.config.guarding import NO_GUARDING
from flatproxy.config.rules import Check, Checking, Rule, Rules
from flatproxy.errors import ProbeFailed
from flatproxy.flatten.health.preparing import checks_of, prober_for
from flatproxy.flatten.health.watching import Watching
from flatproxy.table.changes import HealthChanged
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from flatproxy.table.changes import Change

NAME, SHOP = b"\7example\3com\0", b"\4shop\7example\3com\0"
EU, US = b"\2eu\4test\0", b"\2us\4test\0"
ONE, TWO = b"\xc0\0\2\1", b"\xc0\0\2\2"
CHECK = Check(kind="tcp", port=443, fall=1, rise=1)
RULE = Rule(
    target=EU, targets=(EU, US), types=frozenset({"A"}), special="allow", health=Checking(check=CHECK, minimum=0.3)
)


@define
class World:
    """A table, addresses that fail, and the time."""

    now: float = 1000.0
    failing: set[bytes] = field(factory=set)
    probed: list[bytes] = field(factory=list)
    changes: list[Change] = field(factory=list)
    table: Table = field(factory=Table)
    watching: Watching = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.watching = Watching(self.table, lambda: self.now)
        self.table.feed.subscribe(self.watching)
        self.table.feed.subscribe(self.changes.append)

    async def probe(self, _check: Check, address: bytes) -> None:
        self.probed.append(address)
        if address in self.failing:
            raise ProbeFailed("status 500")

    def adopt(self, rules: dict[bytes, Rule]) -> None:
        prober: Any = self
        self.watching.probe_by(prober if checks_of(Rules(rules)) else None)
        self.table.adopt(rules, self.now, 1.8)
        self.watching.follow()

    def settle(self, name: bytes, *rdatas: bytes) -> None:
        resolution = Resolution(rdatas=rdatas, ttl_s=600, names=("lb.test",), resolved_at=self.now)
        self.table.targets[name, 1, NO_GUARDING].settle(resolution, "addresses", 0.0)

    async def pass_interval(self) -> None:
        self.now += 12.0
        self.watching.tick(self.now)
        assert self.watching._checks is not None
        await asyncio.gather(*self.watching._checks._running.values())

    def up(self) -> dict[tuple[bytes, bytes, bytes], bool]:
        return {(each.name, each.target, each.address): each.is_well for each in self.watching.addresses()}


def run(script: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(script(World()))


def test_who_uses_a_sick_address_looks_again_and_it_is_told_once() -> None:
    async def script(world: World) -> None:
        world.adopt({NAME: RULE, SHOP: evolve(RULE, max_ttl_s=7)})
        world.settle(EU, ONE, TWO)
        world.settle(US)
        world.failing.add(ONE)
        await world.pass_interval()
        assert sorted(world.probed) == [ONE, TWO]
        (change,) = [each for each in world.changes if isinstance(each, HealthChanged)]
        assert (change.address, change.is_well, change.reason) == (ONE, False, "status 500")
        assert [selection.names for selection in change.selections] == [(NAME,), (SHOP,)]
        assert [selection.current(world.now).steps[1].rdatas for selection in world.table.selections] == [(TWO,)] * 2
        assert next(iter(world.up().items())) == ((NAME, EU, ONE), False)
        assert sum(world.up().values()) == 2

    run(script)


def test_it_is_told_which_names_fail_open() -> None:
    async def script(world: World) -> None:
        world.adopt({NAME: RULE, SHOP: evolve(RULE, target=US, targets=())})
        world.settle(EU, ONE)
        world.settle(US, TWO)
        world.failing.add(TWO)
        await world.pass_interval()
        assert list(world.watching.failing_open()) == [(SHOP, True), (NAME, False)]

    run(script)


def test_a_reload_keeps_what_was_found_and_ends_what_is_needed_no_more() -> None:
    async def script(world: World) -> None:
        world.adopt({NAME: RULE})
        world.settle(EU, ONE, TWO)
        world.settle(US, b"\xc0\0\2\3")
        world.failing.add(ONE)
        await world.pass_interval()
        world.adopt({NAME: evolve(RULE, targets=(), max_ttl_s=9)})
        (selection,) = world.table.selections
        assert selection.current(world.now).steps[1].rdatas == (TWO,)
        assert world.up() == {(NAME, EU, ONE): False, (NAME, EU, TWO): True}
        world.adopt({NAME: evolve(RULE, targets=(), health=None)})
        assert world.up() == {}
        world.probed.clear()
        await world.pass_interval()
        assert world.probed == []

    run(script)


def test_without_checks_there_is_nothing_that_probes() -> None:
    assert prober_for(Rules({NAME: RULE})) is not None
    assert prober_for(Rules({NAME: evolve(RULE, health=None)})) is None
