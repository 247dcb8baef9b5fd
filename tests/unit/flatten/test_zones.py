from __future__ import annotations

import asyncio

from attrs import define, field

from flatproxy.flatten.zones import SILENCES, ZoneFacts, zone_of
from flatproxy.wire import names
from tests.unit.flatten.walking import Answers, response

APEX = b"\7example\3com\0"
SHOP = b"\4shop" + APEX
SOA = "example.com. 3600 IN SOA ns.example.com. hostmaster.example.com. 1 2 3 4 60"
KEY = "example.com. 60 IN DNSKEY 257 3 8 AwEAAQ=="


@define
class World:
    nameserver: Answers = field(factory=Answers)
    changes: int = 0
    facts: ZoneFacts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.facts = ZoneFacts(self.nameserver, self._count)

    def _count(self) -> None:
        self.changes += 1

    def round(self, now: float) -> None:
        async def script() -> None:
            self.facts.tick(now)
            if self.facts._task is not None:
                await self.facts._task

        asyncio.run(script())


def test_a_denials_ttl_is_the_lesser_of_the_soas() -> None:
    zone = zone_of(response("shop.example.com", [], [SOA], aa=True))
    assert zone is not None
    assert zone.apex == APEX
    assert zone.soa.startswith(APEX + b"\0\6\0\1\0\0\0\x3c")


def test_no_soa_is_no_zone() -> None:
    assert zone_of(response("shop.example.com", rcode="REFUSED")) is None


def test_each_name_learns_its_zone() -> None:
    world = World()
    world.nameserver.by_name = {
        "example.com": response("example.com", [SOA], aa=True),
        "shop.example.com": response("shop.example.com", [], [SOA], aa=True),
    }
    world.facts.cover([APEX, SHOP])
    assert world.facts.soa(SHOP) is None
    world.round(0.0)
    assert world.facts.soa(SHOP) == world.facts.soa(APEX) != None  # noqa: E711 - both, and neither None
    assert world.facts.signed == set()
    assert world.nameserver.asked.count("example.com DNSKEY") == 1


def test_a_signed_zone_is_known_and_forgotten_when_it_is_signed_no_more() -> None:
    world = World()
    world.nameserver.by_name = {"example.com": response("example.com", [SOA, KEY], aa=True)}
    world.facts.cover([APEX])
    world.round(0.0)
    assert (world.facts.signed, world.facts.signed_zones, world.changes) == ({APEX}, {APEX}, 1)
    world.nameserver.by_name = {"example.com": response("example.com", [SOA], aa=True)}
    world.round(299.0)
    assert world.facts.signed == {APEX}
    world.round(300.0)
    assert (world.facts.signed, world.facts.signed_zones, world.changes) == (set(), set(), 2)


def test_a_silent_nameserver_is_asked_again_soon_and_not_for_every_name() -> None:
    world = World()
    world.facts.cover([names.to_wire(names.to_name(bytes([3]) + f"{n:03}".encode() + b"\0")) for n in range(200)])
    world.round(0.0)
    assert SILENCES <= len(world.nameserver.asked) <= SILENCES + 8
    world.round(4.9)
    assert len(world.nameserver.asked) <= SILENCES + 8
    world.round(5.0)
    assert len(world.nameserver.asked) >= 2 * SILENCES
