from __future__ import annotations

import asyncio

import dns.name
import pytest
from attrs import define, field

from flatproxy.flatten.fleet.entry import Seal
from flatproxy.flatten.fleet.ranks import Ranks
from flatproxy.flatten.fleet.reasons import FleetCounts
from flatproxy.flatten.fleet.seats import Seats
from flatproxy.flatten.zone_probes import FIRST_RATE, INTERVAL_S, PROBES_AT_ONCE, RATE, SILENCES, ZoneProbes, zone_of
from flatproxy.table.changes import Change, Feed, SignedChanged
from flatproxy.table.zones import Zones
from flatproxy.wire import names
from tests.unit.flatten.fleet.memory import MemoryCarrier, MemoryStore
from tests.unit.flatten.walking import Answers, response

APEX = b"\7example\3com\0"
SHOP = b"\4shop" + APEX
CHILD = b"\5child" + APEX
BELOW = b"\3www" + CHILD
SOA = "example.com. 3600 IN SOA ns.example.com. hostmaster.example.com. 1 2 3 4 60"
CHILD_SOA = "child.example.com. 3600 IN SOA ns.example.com. hostmaster.example.com. 1 2 3 4 60"
KEY = "example.com. 60 IN DNSKEY 257 3 8 AwEAAQ=="
TICK_S = 0.05


@define
class World:
    nameserver: Answers = field(factory=Answers)
    feed: Feed = field(factory=Feed)
    changes: list[Change] = field(factory=list)
    zones: Zones = field(init=False)
    probes: ZoneProbes = field(init=False)
    flagged: tuple[bytes, ...] = ()
    now: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.feed.subscribe(self._note)
        self.zones = Zones(self.feed)
        self.probes = ZoneProbes(self.nameserver, self.zones)

    def _note(self, change: Change) -> None:
        if isinstance(change, SignedChanged):
            self.changes.append(change)

    def cover(self, *flagged: bytes) -> None:
        self.flagged = flagged
        self.probes.cover(dict.fromkeys(flagged), [name for name in flagged if name not in self.probes.names])

    @property
    def signed(self) -> set[bytes]:
        """The flagged names in signed zones."""
        return set(filter(self.zones.is_signed, self.flagged))

    def until(self, now: float, step_s: float = TICK_S) -> list[str]:
        """Let the time pass; return what the nameserver was asked meanwhile."""
        asked = len(self.nameserver.asked)

        async def script() -> None:
            while self.now <= now:
                self.probes.tick(self.now)
                while tasks := list(self.probes._asking):
                    await asyncio.wait(tasks)
                self.now = round(self.now + step_s, 6)

        asyncio.run(script())
        return self.nameserver.asked[asked:]

    def serve(self, *held: str, signed: bool = False) -> None:
        """Have the nameserver say that these names are in example.com."""
        for name in held:
            self.nameserver.by_name[name] = response(name, [], [SOA], aa=True)
        self.nameserver.by_name["example.com"] = response("example.com", [SOA, KEY] if signed else [SOA], aa=True)

    def serve_each(self, *apexes: str) -> None:
        """Have the nameserver say that each of these names is a zone."""
        for name in apexes:
            soa = f"{name}. 3600 IN SOA ns.{name}. hostmaster.{name}. 1 2 3 4 60"
            self.nameserver.by_name[name] = response(name, [soa], aa=True)


def many(count: int) -> list[bytes]:
    return [names.to_wire(names.to_name(b"\6" + f"n{number:05}".encode() + APEX)) for number in range(count)]


def texts(wires: list[bytes]) -> list[str]:
    return [names.to_text(wire) for wire in wires]


def test_a_denials_ttl_is_the_lesser_of_the_soas() -> None:
    zone = zone_of(response("shop.example.com", [], [SOA], aa=True))
    assert zone is not None
    assert zone.apex == APEX
    assert zone.soa.startswith(APEX + b"\0\6\0\1\0\0\0\x3c")


def test_no_soa_is_no_zone() -> None:
    assert zone_of(response("shop.example.com", rcode="REFUSED")) is None


def test_each_name_learns_its_zone() -> None:
    world = World()
    world.serve("shop.example.com")
    world.cover(APEX, SHOP)
    assert world.zones.soa(SHOP) is None
    world.until(0.0)
    assert world.zones.soa(SHOP) == world.zones.soa(APEX) != None  # noqa: E711 - both, and neither None
    assert world.signed == set()
    assert world.nameserver.asked.count("example.com DNSKEY") == 1


def test_a_signed_zone_is_known_and_forgotten_when_it_is_signed_no_more() -> None:
    world = World()
    world.serve(signed=True)
    world.cover(APEX)
    world.until(1.0)
    assert (world.signed, list(world.zones.signed), len(world.changes)) == ({APEX}, [APEX], 1)
    world.serve()
    world.until(INTERVAL_S - 1.0)
    assert world.signed == {APEX}
    world.until(INTERVAL_S + 1.0)
    assert (world.signed, list(world.zones.signed), len(world.changes)) == (set(), [], 2)


def test_a_silent_nameserver_is_asked_again_soon_and_not_for_every_name() -> None:
    world = World()
    world.cover(*many(200))
    most = SILENCES + PROBES_AT_ONCE
    assert SILENCES <= len(world.until(0.0)) <= most
    assert world.until(4.9) == []
    assert SILENCES <= len(world.until(5.0)) <= most


def test_new_names_of_unknown_zones_are_asked_about_at_a_measured_pace() -> None:
    world, flagged = World(), many(2_000)
    world.serve_each(*texts(flagged))
    world.cover(*flagged)
    assert len(world.until(1.0)) == pytest.approx(FIRST_RATE, rel=0.2)
    world.until(11.0)
    assert sorted(world.nameserver.asked) == sorted(
        f"{name} {rdtype}" for name in texts(flagged) for rdtype in ("SOA", "DNSKEY")
    )


def test_new_names_in_a_known_zone_have_time() -> None:
    world, flagged = World(), many(1_000)
    world.serve(*texts(flagged))
    world.cover(*flagged)
    world.until(1.0)
    assert len(world.until(9.0)) == pytest.approx(8 * RATE, rel=0.1)
    world.until(30.0)
    assert sorted(world.nameserver.asked) == sorted(["example.com DNSKEY", *(f"{name} SOA" for name in texts(flagged))])


def test_names_of_unknown_zones_do_not_wait_behind_those_of_a_known_one() -> None:
    world, flagged, others = World(), many(1_000), [f"z{number:03}.example.net" for number in range(100)]
    world.serve(*texts(flagged))
    world.serve_each(*others)
    world.cover(*flagged, *(names.to_wire(dns.name.from_text(name)) for name in others))
    asked = world.until(2.0)
    assert {f"{name} DNSKEY" for name in others} <= set(asked)


def test_a_name_passes_for_one_of_the_zone_around_it_until_it_is_asked_about() -> None:
    """So that a hundred thousand names of a signed zone are not bogus for minutes."""
    world, flagged = World(), many(2_000)
    world.serve(*texts(flagged), signed=True)
    world.cover(*flagged)
    assert len(world.until(1.0)) < 150
    assert world.signed == set(flagged)
    assert world.zones.soa(flagged[-1]) is not None


def test_one_name_for_each_parent_is_asked_about_first() -> None:
    world, flagged = World(), many(1_000)
    world.serve(*texts(flagged), "last.other.example.com")
    world.cover(*flagged, b"\4last\5other" + APEX)
    assert "last.other.example.com SOA" in world.until(0.0)


def test_a_child_zone_on_the_same_nameserver_is_found_by_its_own_names() -> None:
    world = World()
    world.serve("shop.example.com", signed=True)
    for name in ("child.example.com", "www.child.example.com"):
        world.nameserver.by_name[name] = response(name, [], [CHILD_SOA], aa=True)
    world.cover(SHOP, BELOW)
    world.until(1.0)
    assert world.signed == {SHOP}
    child, parent = world.zones.soa(BELOW), world.zones.soa(SHOP)
    assert child is not None
    assert child.startswith(CHILD)
    assert parent is not None
    assert parent.startswith(APEX)


def test_the_zone_that_is_named_at_a_cname_is_not_the_names_own() -> None:
    world = World()
    other = "other.example.net"
    there = f"{other}. 3600 IN SOA ns.{other}. hostmaster.{other}. 1 2 3 4 60"
    world.nameserver.by_name["shop.example.com"] = response("shop.example.com", [], [there], aa=True)
    world.cover(SHOP)
    assert world.until(1.0) == ["shop.example.com SOA"]
    assert world.zones.soa(SHOP) is None


def test_a_round_asks_for_each_zone_and_hardly_any_name() -> None:
    world, flagged = World(), many(1_200)
    world.serve(*texts(flagged))
    world.cover(*flagged)
    world.until(INTERVAL_S - 1.0)
    again = world.until(2 * INTERVAL_S - 1.0)
    assert again.count("example.com SOA") == again.count("example.com DNSKEY") == 1
    assert 2 < len(again) <= 2 + 1_200 / 12 + 1


def test_every_name_is_asked_about_again_within_the_hour() -> None:
    world, flagged = World(), many(300)
    world.serve(*texts(flagged))
    world.cover(*flagged)
    world.until(INTERVAL_S - 1.0, 1.0)
    assert {f"{name} SOA" for name in texts(flagged)} <= set(world.until(INTERVAL_S + 3600.0, 1.0))


def test_later_rounds_keep_to_their_rate_however_many_zones_there_are() -> None:
    world, flagged = World(), many(1_000)
    world.serve_each(*texts(flagged))
    world.cover(*flagged)
    assert len(world.until(INTERVAL_S - 1.0)) == 2_000
    assert len(world.until(INTERVAL_S + 10.0)) == pytest.approx(10 * RATE, rel=0.1)


def test_a_new_zone_between_is_found_and_its_end_as_well() -> None:
    world = World()
    world.serve("www.child.example.com", "child.example.com", signed=True)
    world.cover(BELOW, APEX)
    world.until(1.0)
    assert world.signed == {BELOW, APEX}
    for name in ("child.example.com", "www.child.example.com"):
        world.nameserver.by_name[name] = response(name, [], [CHILD_SOA], aa=True)
    world.until(3600.0 + INTERVAL_S, 1.0)
    assert world.signed == {APEX}
    world.serve("www.child.example.com", "child.example.com", signed=True)
    world.until(world.now + INTERVAL_S + 2.0, 1.0)
    assert world.signed == {BELOW, APEX}


def test_a_reload_asks_for_new_names_only() -> None:
    world = World()
    world.serve("shop.example.com", "child.example.com")
    world.cover(APEX, SHOP)
    world.until(1.0)
    world.cover(APEX, SHOP, CHILD)
    assert world.until(2.0) == ["child.example.com SOA"]


def test_a_reload_forgets_names_and_zones_that_are_gone() -> None:
    world = World()
    world.serve(signed=True)
    world.nameserver.by_name["child.example.com"] = response("child.example.com", [CHILD_SOA], aa=True)
    world.cover(APEX, CHILD)
    world.until(1.0)
    world.cover(CHILD)
    world.until(2.0)
    assert (world.signed, list(world.zones.signed)) == (set(), [])
    assert world.zones.soa(APEX) is None


def test_a_reload_goes_on_with_the_names_that_were_still_waiting() -> None:
    world, flagged = World(), many(100)
    world.serve(*texts(flagged))
    world.cover(*flagged)
    first = world.until(0.0)
    world.cover(*flagged[50:])
    rest = world.until(5.0)
    assert len(first) < 100
    assert {f"{name} SOA" for name in texts(flagged[50:])} <= {*first, *rest}


def test_two_reloads_at_once_lose_no_new_name() -> None:
    world, flagged = World(), many(100)
    world.serve_each(*texts(flagged))
    world.cover(*flagged[:50])
    world.cover(*flagged)
    assert {f"{name} SOA" for name in texts(flagged)} <= set(world.until(2.0))


def test_a_name_whose_zone_stays_unknown_is_asked_about_in_each_round() -> None:
    world = World()
    world.nameserver.by_name["shop.example.com"] = response("shop.example.com", rcode="REFUSED")
    world.cover(SHOP)
    assert world.until(INTERVAL_S - 1.0, 1.0) == ["shop.example.com SOA"]
    assert world.until(2 * INTERVAL_S - 1.0, 1.0) == ["shop.example.com SOA"]


def test_a_seat_is_given_up_with_its_zone() -> None:
    """What others say of a zone that is gone is not read any more."""
    asking = MemoryCarrier(MemoryStore(lambda: 0.0))
    seats = Seats(Seal(b"secret", "test"), "ns1", Ranks("ns1"), FleetCounts(), asking, lambda: 0.0)
    world = World()
    world.probes.seats = seats
    world.serve("shop.example.com")
    world.cover(SHOP)
    world.until(INTERVAL_S + 5.0, step_s=1.0)
    asked = len(asking.store.done)
    assert seats.hear_of("sight 0 zone example.com", 7)
    assert len(asking.store.done) == asked + 1
    world.cover()
    world.until(world.now + 5.0, step_s=1.0)
    asked = len(asking.store.done)
    assert seats.hear_of("sight 0 zone example.com", 7)
    assert len(asking.store.done) == asked
