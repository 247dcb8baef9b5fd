from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field

from flatproxy.config.rules import Rule
from flatproxy.flatten.refresher import BEGIN_RATE, BEGUN_AT_ONCE, SLICE_S, Refresher
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.flatten.timing import refresh_at, retry_at
from flatproxy.table.answers import TargetAnswer
from flatproxy.table.ladder import Rung
from flatproxy.table.table import Table, question
from tests.unit.flatten.walking import Answers, response

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

NAME = b"\7example\3com\0"
LB = b"\2lb\4test\0"
GOOD = response("lb.test", ["lb.test. 60 IN A 192.0.2.1"])


@define
class World:
    """A refresher, the time it is told, and what it said."""

    now: float = 1000.0
    resolver: Answers = field(factory=Answers)
    table: Table = field(factory=Table)
    refresher: Refresher = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.refresher = Refresher(
            table=self.table,
            resolvers=self.resolver,
            upstream=Answers(),
            scope=ConfiguredScope({}, frozenset()),
            clock=lambda: self.now,
            wall=lambda: self.now - 500,
        )
        self.configure({NAME: Rule(target=LB, types=frozenset({"A"}), any="forward", special="allow")})

    def configure(self, rules: dict[bytes, Rule]) -> None:
        self.refresher.follow(self.table.adopt(rules, self.now, 1.8), self.now)

    @property
    def answer(self) -> TargetAnswer:
        answer = self.table.get(question(NAME, 1))
        assert isinstance(answer, TargetAnswer)
        return answer

    async def at(self, now: float) -> None:
        """Let it be this late, and let everything that begins then end."""
        self.now = now
        self.refresher.tick(now)
        while self.refresher._running:
            await asyncio.gather(*self.refresher._running.values())


def run(script: Callable[[World], Coroutine[Any, Any, None]]) -> World:
    world = World()
    asyncio.run(script(world))
    return world


def test_a_new_target_is_resolved_at_once_and_again_before_its_ttl_ends() -> None:
    async def script(world: World) -> None:
        world.resolver.by_name["lb.test"] = GOOD
        await world.at(1000.0)
        assert world.resolver.asked == ["lb.test A"]
        await world.at(1048.0)
        assert len(world.resolver.asked) == 1
        await world.at(1059.0)
        assert len(world.resolver.asked) == 2

    world = run(script)
    assert world.answer.target.changed_at == 500.0
    assert world.answer.target.outcomes == {"addresses": 2}
    assert world.refresher.latency.counts[0] == 2


def test_failures_are_tried_again_with_growing_pauses() -> None:
    async def script(world: World) -> None:
        began = []
        for tenth in range(2000):
            before = len(world.resolver.asked)
            await world.at(1000.0 + tenth / 10)
            if len(world.resolver.asked) > before:
                began.append(world.now)
        pauses = [later - earlier for earlier, later in pairwise(began)]
        for pause, wanted in zip(pauses, (5, 10, 20, 40, 80), strict=False):
            assert wanted * 0.89 <= pause <= wanted + 0.2
        assert len(began) == 6

    assert run(script).answer.target.outcomes == {"timeout": 6}


def test_many_names_with_one_target_cost_one_resolution() -> None:
    async def script(world: World) -> None:
        world.resolver.by_name["lb.test"] = GOOD
        rule = Rule(target=LB, types=frozenset({"A"}), special="allow")
        world.configure({bytes([2]) + f"{number:02}".encode() + b"\0": rule for number in range(50)})
        await world.at(1000.0)
        assert world.resolver.asked == ["lb.test A"]

    run(script)


def test_who_waits_for_a_cold_target_is_called_when_it_is_resolved() -> None:
    async def script(world: World) -> None:
        world.resolver.by_name["lb.test"] = GOOD
        called: list[float] = []
        assert world.answer.wait(1000.0, lambda: called.append(world.now))
        await world.at(1000.0)
        assert called == [1000.0]
        assert not world.answer.wait(1000.0, lambda: None)

    run(script)


def test_what_is_due_before_the_next_tick_is_done_on_time() -> None:
    async def script(world: World) -> None:
        world.resolver.by_name["lb.test"] = GOOD
        await world.at(1000.0)
        loop = asyncio.get_running_loop()
        world.refresher._due.drop(world.answer.target)
        for now, planned in ((1059.0, False), (1059.98, True)):
            began = loop.time()
            world.refresher.tick(now)
            handle = world.refresher._going_on
            assert (handle is not None) is planned
            assert handle is None or handle.when() >= began + 0.01

    run(script)


def test_who_waits_is_let_go_after_the_resolvers_timeout() -> None:
    async def script(world: World) -> None:
        called: list[float] = []
        world.refresher._due.drop(world.answer.target)  # as if there were no room yet
        assert world.answer.wait(1000.0, lambda: called.append(world.now))
        await world.at(1001.7)
        assert called == []
        await world.at(1001.8)
        assert called == [1001.8]
        assert not world.answer.wait(1001.8, lambda: None)

    run(script)


def test_a_failure_lets_everybody_go_at_once() -> None:
    async def script(world: World) -> None:
        called: list[float] = []
        world.answer.wait(1000.0, lambda: called.append(world.now))
        await world.at(1000.0)
        assert called == [1000.0]

    run(script)


def test_a_target_that_a_reload_drops_is_forgotten_even_while_it_is_resolved() -> None:
    async def script(world: World) -> None:
        world.resolver.by_name["lb.test"] = GOOD
        world.refresher.tick(1000.0)
        world.configure({})
        await asyncio.gather(*world.refresher._running.values())
        await world.at(1100.0)
        assert world.resolver.asked == ["lb.test A"]
        assert world.table.targets == {}

    run(script)


def test_a_slow_refresh_is_noticed_when_the_ttl_ends() -> None:
    """Without any failure: the answer is stale while the resolution is still under way."""

    async def script(world: World) -> None:
        world.resolver.by_name["lb.test"] = GOOD
        await world.at(1000.0)
        world.now = 1059.0
        world.refresher.tick(world.now)
        assert world.refresher._running
        world.now = 1060.0
        world.refresher.tick(world.now)
        seen = [world.answer.rung]
        await asyncio.gather(*world.refresher._running.values())
        assert [*seen, world.answer.rung] == [Rung.STALE, Rung.FRESH]

    run(script)


class TestManyTargets:
    """What a tick does is counted, not timed: it must not grow with the number of targets."""

    COUNT = 5_000
    PIECE_S = 0.0001
    """How long each piece of work takes, by the clock of these tests."""

    def world(self) -> tuple[World, list[float]]:
        """Return a world of many targets, and a list that grows with each piece of work between which packets go."""
        world, pieces = World(), []

        def serve_packets() -> None:
            world.now += self.PIECE_S
            pieces.append(world.now)

        world.refresher.serve_packets = serve_packets
        hosts = [b"\4" + f"{number:04}".encode() + b"\0" for number in range(self.COUNT)]
        world.configure(
            {host: Rule(target=host, types=frozenset({"A"}), any="forward", special="allow") for host in hosts}
        )
        return world, pieces

    def test_a_cold_start_begins_few_at_once(self) -> None:
        async def script() -> None:
            world, pieces = self.world()
            world.refresher.tick(world.now)
            assert len(world.refresher._running) == len(pieces) == BEGUN_AT_ONCE
            world.refresher.tick(world.now)
            assert len(pieces) == BEGUN_AT_ONCE, "the next slice comes by itself, after a rest"
            await world.refresher.stop()

        asyncio.run(script())

    def test_what_is_due_at_the_same_time_is_done_in_slices(self) -> None:
        async def script() -> None:
            world, pieces = self.world()
            world.refresher._pace.rate = 0.0
            world.now = began = 1001.8  # nobody waits for any of them longer than this
            for target in world.table.targets.values():
                world.refresher._due.drop(target)
            world.refresher.tick(world.now)
            assert len(pieces) == pytest.approx(SLICE_S / self.PIECE_S, abs=2)
            assert world.now - began < 2 * SLICE_S
            slices = 1
            while (rest := world.refresher._going_on) is not None:
                rest.cancel()
                world.refresher._go_on(world.now)
                slices += 1
            assert len(pieces) == self.COUNT
            assert slices == pytest.approx(self.COUNT * self.PIECE_S / SLICE_S, rel=0.1)
            assert world.table.tally.cold == {}
            await world.refresher.stop()

        asyncio.run(script())

    def test_where_nothing_is_due_nothing_is_done(self) -> None:
        """All of them being on the last rung."""

        async def script() -> None:
            world, pieces = self.world()
            for target in world.table.targets.values():
                world.refresher._due.drop(target)
            world.now = 1002.0
            while world.table.advance(world.now):
                pass
            assert len(world.table.tally.below[Rung.UPSTREAM]) == self.COUNT
            for _ in range(20):
                world.now += 0.05
                world.refresher.tick(world.now)
            assert (pieces, world.refresher._going_on) == ([], None)
            await world.refresher.stop()

        asyncio.run(script())

    def test_resolutions_keep_to_their_rate(self) -> None:
        async def script() -> None:
            world, _pieces = self.world()
            world.refresher.serve_packets = lambda: None  # it takes no time
            began = world.now
            while world.now < began + 1.0:
                world.now += 0.001
                world.refresher.tick(world.now)
                await asyncio.sleep(0)
            assert len(world.resolver.asked) <= 1.15 * BEGIN_RATE
            await world.refresher.stop()

        asyncio.run(script())


@pytest.mark.parametrize("lifetime", [0, 1, 2, 5, 60, 300, 604_800])
@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_the_next_resolution_comes_before_the_end(lifetime: float, chance: float) -> None:
    due = refresh_at(0.0, lifetime, chance)
    assert due >= 1.0
    assert due <= max(lifetime - min(lifetime * 0.1, 4.0), 1.0)


def test_pauses_end_at_five_minutes() -> None:
    assert retry_at(0.0, 1, 0.0) == 5.0
    assert retry_at(0.0, 50, 0.0) == 300.0
    assert retry_at(0.0, 50, 0.99) >= 270.0
