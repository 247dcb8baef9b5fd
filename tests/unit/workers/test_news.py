from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from attrs import define, evolve, field

from flatproxy.config.settings import Limits, Settings
from flatproxy.flatten.answers import Target
from flatproxy.workers.messages import Changed, Facts, Message
from flatproxy.workers.news import ZONES_S, News, for_each
from tests.unit.workers.test_channel import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE, TWO = b"\3one\0", b"\3two\0"


@define(eq=False)
class Zones:
    soas: dict[bytes, bytes] = field(factory=dict)
    signed_zones: set[bytes] = field(factory=set)


@define(eq=False)
class Flattening:
    targets: list[Target] = field(factory=list)
    zones: Zones = field(factory=Zones)
    settings: Settings = SETTINGS


@define(eq=False)
class World:
    loop: asyncio.AbstractEventLoop
    flattening: Flattening = field(factory=Flattening)
    sent: list[Message] = field(factory=list)
    news: News = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.news = News(cast("Any", self.flattening), self.loop, self.sent.append)

    def turn(self) -> list[Message]:
        self.loop.run_until_complete(asyncio.sleep(0))
        sent, self.sent[:] = list(self.sent), []
        return sent

    def zones(self, now: float) -> list[dict[bytes, Any]]:
        self.news.tick(now)
        return [dict(cast("Changed", message).facts.zones) for message in self.turn()]


@pytest.fixture
def world() -> Iterator[World]:
    loop = asyncio.new_event_loop()
    yield World(loop)
    loop.close()


def test_targets_that_settle_in_one_turn_are_one_message(world: World) -> None:
    one, two = (Target(name, 1, cold_until=2.5) for name in (ONE, TWO))
    for target in (one, two, one):
        world.news.target_settled(target)
    assert not world.sent
    two.failures = 3
    assert world.turn() == [Changed(facts=Facts(targets=((ONE, 1, None, 0, 2.5), (TWO, 1, None, 3, 2.5))))]
    assert world.turn() == []
    world.news.target_settled(two)
    assert world.turn() == [Changed(facts=Facts(targets=((TWO, 1, None, 3, 2.5),)))]


def test_of_zones_what_has_changed_is_told_now_and_then(world: World) -> None:
    zones = world.flattening.zones
    zones.soas.update({ONE: b"soa"})
    assert world.zones(0.0) == [], "nobody said that there is something new"
    world.news.zone_learned()
    assert world.zones(0.0) == [{ONE: (b"soa", False)}]
    zones.soas[TWO] = b"soa 2"
    zones.signed_zones.add(ONE)
    world.news.zone_learned()
    assert world.zones(ZONES_S / 2) == [], "not yet again"
    assert world.zones(ZONES_S) == [{ONE: (b"soa", True), TWO: (b"soa 2", False)}]
    del zones.soas[ONE]
    world.news.zone_learned()
    assert world.zones(3 * ZONES_S) == [{ONE: (None, False)}]
    world.news.zone_learned()
    assert world.zones(5 * ZONES_S) == [], "nothing has changed"


def test_all_is_all(world: World) -> None:
    world.flattening.targets.append(Target(ONE, 28, cold_until=1.0))
    world.flattening.zones.soas[TWO] = b"soa"
    assert world.news.all() == Facts(targets=((ONE, 28, None, 0, 1.0),), zones={TWO: (b"soa", False)})


@pytest.mark.parametrize(("written", "each"), [(0, 0), (1, 1), (3, 1), (4, 2), (100, 34)])
def test_rates_are_shared_out(written: int, each: int) -> None:
    """0 stays no limit, and none becomes 0, which would be no limit."""
    limits = Limits(responses_per_second=written, slip=5, queries_per_second=written)
    shared = for_each(evolve(SETTINGS, limits=limits), 3)
    assert shared == evolve(SETTINGS, limits=Limits(responses_per_second=each, slip=5, queries_per_second=each)), (
        "and all else stays"
    )
