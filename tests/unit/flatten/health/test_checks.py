from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, evolve, field
from twisted.logger import capturedLogs

from flatproxy.config.rules import Check
from flatproxy.errors import NoWay, ProbeFailed, ProbeTimeout
from flatproxy.flatten.health.checks import STALL_S, HealthChecks
from flatproxy.flatten.health.room import FEWEST, Room
from flatproxy.flatten.health.states import ProbeSchedule

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from flatproxy.flatten.health.states import Watched

CHECK = Check(kind="https", port=443, host="example.com", fall=2, rise=1)
ONE, TWO = b"\xc0\0\2\1", b"\xc0\0\2\2"


@define
class World:
    """Addresses that are as they are told to be, and the time."""

    now: float = 0.0
    errors: dict[bytes, Exception] = field(factory=dict)
    hanging: set[bytes] = field(factory=set)
    go_on: asyncio.Event = field(factory=asyncio.Event)
    probed: list[bytes] = field(factory=list)
    ended: list[bytes] = field(factory=list)
    changes: list[tuple[bytes, bool, str]] = field(factory=list)
    checks: HealthChecks = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.checks = HealthChecks(self._probe, lambda: self.now, self._changed, spread_s=0.0)

    async def _probe(self, _check: Check, address: bytes) -> None:
        self.probed.append(address)
        try:
            if address in self.hanging:
                await self.go_on.wait()
        finally:
            self.ended.append(address)
        if address in self.errors:
            raise self.errors[address]

    def _changed(self, watched: Watched, reason: str) -> None:
        self.changes.append((watched.address, watched.is_well, reason))

    async def at(self, now: float) -> None:
        """Let it be this late, and let what begins then end, unless it hangs."""
        self.now = now
        self.checks.tick(now)
        running = [task for watched, task in self.checks._running.items() if watched.address not in self.hanging]
        await asyncio.gather(*running)
        for _ in range(2):  # what hangs comes to its probe
            await asyncio.sleep(0)


def run(script: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(script(World()))


def test_an_address_that_fails_is_sick_and_that_is_told_once() -> None:
    async def script(world: World) -> None:
        world.checks.watch("a", CHECK, [ONE, TWO])
        world.errors[ONE] = ProbeFailed("status 500")
        for now in range(10, 60, 12):
            await world.at(float(now))
        assert world.checks.sick(CHECK) == {ONE}
        world.errors.clear()
        await world.at(72.0)
        assert world.checks.sick(CHECK) == frozenset()
        assert world.changes == [(ONE, False, "status 500"), (ONE, True, "")]
        assert world.checks.latency.counts[0] == len(world.probed)

    run(script)


def test_a_probe_that_was_late_and_is_due_again_at_once() -> None:
    """The next one begins before the loop has told that this one ended."""

    async def script(world: World) -> None:
        wrong: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: wrong.append(context))
        world.checks.changed = lambda _watched, _reason: world.checks.tick(world.now)
        world.checks.watch("a", evolve(CHECK, fall=1), [ONE])
        world.errors[ONE] = ProbeFailed("status 500")
        for now in (1_000.0, 2_000.0):
            await world.at(now)
            for _ in range(8):
                await asyncio.sleep(0)
        assert len(world.probed) == 3, "it changed once, and was probed again at once"
        assert not wrong
        assert not world.checks._running

    run(script)


def test_what_says_nothing_of_the_address_is_counted_and_no_more() -> None:
    async def script(world: World) -> None:
        world.checks.watch("a", evolve(CHECK, fall=1), [ONE])
        world.errors[ONE] = NoWay()
        await world.at(10.0)
        await world.at(30.0)
        assert (world.checks.no_ways, world.changes) == (2, [])

    run(script)


def test_a_probe_that_goes_wrong_ends_no_other() -> None:
    async def script(world: World) -> None:
        world.checks.watch("a", CHECK, [ONE, TWO])
        world.errors[ONE] = ZeroDivisionError()
        await world.at(10.0)
        await world.at(30.0)
        assert sorted(world.probed) == [ONE, ONE, TWO, TWO]

    run(script)


def test_a_probe_ends_with_its_address() -> None:
    async def script(world: World) -> None:
        world.hanging.add(ONE)
        world.checks.watch("a", CHECK, [ONE])
        await world.at(10.0)
        assert (world.probed, world.ended) == ([ONE], [])
        (task,) = world.checks._running.values()
        world.checks.watch("a", CHECK, [TWO])
        await asyncio.wait([task])
        assert world.ended == [ONE]
        await world.at(30.0)
        await world.at(50.0)
        assert world.probed == [ONE, TWO, TWO]

    run(script)


def test_one_that_others_use_goes_on() -> None:
    async def script(world: World) -> None:
        world.hanging.add(ONE)
        world.checks.watch("a", CHECK, [ONE])
        world.checks.watch("b", CHECK, [ONE])
        await world.at(10.0)
        world.checks.forget("a")
        await asyncio.sleep(0)
        assert world.ended == []
        assert len(world.checks.watched) == 1
        await world.checks.stop()
        assert world.ended == [ONE]

    run(script)


def test_a_probe_that_was_ended_before_it_began_leaves_nothing() -> None:
    async def script(world: World) -> None:
        world.checks.watch("a", CHECK, [ONE])
        world.checks.tick(10.0)
        await world.checks.stop()
        assert world.probed == []
        assert not world.checks._running
        assert not world.checks._schedule._probing

    run(script)


@pytest.mark.parametrize(
    ("tick_s", "error", "said"),
    [
        (3.0, ProbeTimeout("no answer within 3 s"), []),
        (3.0, ProbeFailed("status 500"), [(ONE, False, "status 500")]),
        (STALL_S / 2, ProbeTimeout("no answer within 3 s"), [(ONE, False, "no answer within 3 s")]),
    ],
    ids=["nothing was read", "an answer was", "there was time"],
)
def test_what_ran_out_of_time_while_nothing_was_read_says_nothing(
    tick_s: float, error: Exception, said: list[tuple[bytes, bool, str]]
) -> None:
    """A machine that stood still must not make every address sick that was being probed."""

    async def script(world: World) -> None:
        world.checks.watch("a", evolve(CHECK, fall=1), [ONE])
        world.hanging.add(ONE)
        world.errors[ONE] = error
        await world.at(10.0)
        (task,) = world.checks._running.values()
        while world.now < 13.0:
            await world.at(world.now + tick_s)
        world.go_on.set()
        await asyncio.wait([task])
        assert world.changes == said

    run(script)


def test_who_waits_for_room_begins_when_another_one_ends_and_that_it_was_late_is_said_once_a_minute() -> None:
    async def script(world: World) -> None:
        world.checks._schedule = ProbeSchedule(Room(1))
        addresses = [bytes((number,)) * 4 for number in range(5)]
        world.checks.watch("a", CHECK, addresses)
        with capturedLogs() as events:
            world.now = 20.0
            world.checks.tick(world.now)
            for _ in range(50):
                await asyncio.sleep(0)
            assert sorted(world.probed[:5]) == addresses
            assert world.checks.late >= 5
            for now in (20.1, 60.0, 100.0):
                await world.at(now)
        assert [event["event"] for event in events] == ["probes_late"] * 2

    run(script)


def test_where_the_loop_is_slow_fewer_are_under_way() -> None:
    async def script(world: World) -> None:
        async def slow(check: Check, address: bytes) -> None:
            await world._probe(check, address)
            world.now += 0.02  # what every other one that is due has to wait for

        world.checks.probe = slow
        world.checks.watch("a", CHECK, [number.to_bytes(4, "big") for number in range(300)])
        await world.at(10.0)
        assert len(world.probed) == 300
        world.checks.tick(world.now)
        assert world.checks._schedule.room.places == 256
        for _ in range(5):
            await world.at(world.now + 10.0)
        assert world.checks._schedule.room.places < 100
        assert world.checks._schedule.room.places >= FEWEST

    run(script)
