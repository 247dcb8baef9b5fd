"""What is asked about zones with keys of ours, when, and what comes of the answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from attrs import define, field

from flatproxy.config.rules import Rule, Rules
from flatproxy.errors import UpstreamTimeout
from flatproxy.flatten.key_probes import ROUND_S, KeyProbes
from flatproxy.signing import keys
from flatproxy.signing.rrsig import sign
from flatproxy.signing.zone import ZoneSigning
from flatproxy.table.changes import Change, KeyChanged, PlaceholderMissed
from flatproxy.table.table import Table
from flatproxy.wire.types import TYPE_A, TYPE_AAAA

if TYPE_CHECKING:
    from collections.abc import Sequence

APEX = b"\7example\3com\0"
SHOP = b"\4shop" + APEX
NAME = dns.name.from_text("example.com")
KEY = keys.generate(APEX, "ECDSAP256SHA256")
THEIRS = keys.generate(APEX, "ECDSAP256SHA256")
SOA = "ns.example.com. hostmaster.example.com. 1 2 3 4 60"
WALL = 1_800_000_000.0
RULE = Rule(target=b"\2lb\4test\0")
TTL_S = 10


@define
class Nameserver:
    """Answers for the zone, or is silent."""

    published: Sequence[keys.Key] = (THEIRS, KEY)
    bitmap: str = "A AAAA MX"
    silent: bool = False
    zone: str = "example.com."
    asked: list[str] = field(factory=list)

    async def ask(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, *, dnssec: bool = False
    ) -> dns.message.Message:
        self.asked.append(f"{name.to_text(omit_final_dot=True)} {rdtype.name}{' DO' if dnssec else ''}")
        if self.silent:
            raise UpstreamTimeout
        made = dns.message.make_response(dns.message.make_query(name, rdtype, want_dnssec=dnssec))
        soa = dns.rrset.from_text(self.zone, 300, "IN", "SOA", SOA)
        if rdtype == dns.rdatatype.DNSKEY and self.published:
            made.answer.append(dns.rrset.from_rdata(NAME, TTL_S, *(key.dnskey for key in self.published)))
        elif rdtype == dns.rdatatype.SOA:
            rdata = soa[0].to_wire() or b""
            signature = dns.rdata.from_wire("IN", "RRSIG", *_whole(sign((THEIRS,), APEX, 6, 300, [rdata], now=WALL)))
            made.answer += [soa, dns.rrset.from_rdata(NAME, 300, signature)]
        else:
            made.authority.append(soa)
            text = f"z.example.com. {self.bitmap} RRSIG NSEC"
            made.authority.append(dns.rrset.from_text(name, 60, "IN", "NSEC", text))
        return dns.message.from_wire(made.to_wire())


def _whole(signatures: object) -> tuple[bytes, int, int]:
    rdata: bytes = signatures.rdatas[0]  # type: ignore[attr-defined]
    return rdata, 0, len(rdata)


@define
class World:
    nameserver: Nameserver = field(factory=Nameserver)
    table: Table = field(init=False)
    probes: KeyProbes = field(init=False)
    signing: ZoneSigning = field(init=False)
    changes: list[Change] = field(factory=list)
    kept: list[ZoneSigning] = field(factory=list)
    now: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.table = Table(wall=lambda: WALL + self.now)
        self.table.feed.subscribe(self.changes.append)
        self.probes = KeyProbes(self.nameserver, self.table, wall=self.table.wall, keep=self.kept.append)
        self.signing = ZoneSigning.of(APEX, (KEY,))
        self.table.zones.sign_with({APEX: self.signing})
        self.probes.cover(Rules({APEX: RULE, SHOP: RULE}))

    def until(self, now: float, step_s: float = 0.5) -> list[str]:
        """Let the time pass; return what the nameserver was asked meanwhile."""
        asked = len(self.nameserver.asked)

        async def script() -> None:
            while self.now <= now:
                self.probes.tick(self.now)
                while tasks := list(self.probes._tasks):
                    await asyncio.wait(tasks)
                self.now += step_s

        asyncio.run(script())
        return self.nameserver.asked[asked:]

    def key_changes(self) -> list[tuple[str, str]]:
        return [(change.before, change.after) for change in self.changes if isinstance(change, KeyChanged)]


def test_a_published_key_becomes_active_by_itself() -> None:
    world = World()
    world.until(5.0)
    assert (world.key_changes(), world.signing.is_active) == ([("absent", "waiting")], False)
    world.until(25.0)
    assert (world.key_changes()[1:], world.signing.is_active) == ([("waiting", "active")], True)
    assert world.table.zones.can_sign(APEX, TYPE_A)
    assert world.kept[-1] is world.signing


def test_a_key_that_is_taken_out_is_noticed_within_the_ttl() -> None:
    world = World()
    world.until(25.0)
    version = world.table.zones.version
    world.nameserver.published = (THEIRS,)
    world.until(25.0 + TTL_S + 1.0)
    assert (world.key_changes()[-1], world.signing.is_active) == (("active", "absent"), False)
    assert world.table.zones.version > version


def test_silence_changes_nothing() -> None:
    world = World()
    world.until(25.0)
    world.nameserver.silent = True
    world.until(100.0, step_s=2.0)
    assert world.signing.is_active


def test_another_algorithm_switches_signing_off_and_says_why() -> None:
    world = World()
    world.until(25.0)
    world.nameserver.published = (THEIRS, KEY, keys.generate(APEX, "ED25519"))
    world.until(40.0)
    assert not world.signing.is_active
    last = next(change for change in reversed(world.changes) if isinstance(change, KeyChanged))
    assert "ED25519" in last.off


def test_the_zones_soa_comes_with_its_signature() -> None:
    world = World()
    world.until(1.0)
    soa = world.signing.soa
    assert soa is not None
    assert (soa.ttl_s, len(soa.rrsigs)) == (60, 1)
    assert soa.until == pytest.approx(WALL + 3 * 86_400)


def test_each_flagged_name_is_asked_about_and_again_in_each_round() -> None:
    world = World()
    assert sorted(asked for asked in world.until(2.0) if "NULL" in asked) == [
        "example.com NULL DO",
        "shop.example.com NULL DO",
    ]
    assert world.signing.there[SHOP] == {TYPE_A, TYPE_AAAA, 15}
    assert [asked for asked in world.until(ROUND_S / 2, step_s=5.0) if "NULL" in asked] == []
    assert len([asked for asked in world.until(ROUND_S + 10, step_s=2.0) if "NULL" in asked]) == 2


def test_a_name_that_is_asked_for_comes_first() -> None:
    """Among many it would wait for minutes."""
    world = World()
    world.until(25.0)
    late = b"\4late" + APEX
    world.probes.cover(Rules({b"%c%06d%s" % (6, number, APEX): RULE for number in range(3_000)} | {late: RULE}))
    world.until(27.0)
    assert not world.table.zones.can_sign(late, TYPE_A)
    world.until(28.0)
    assert world.table.zones.can_sign(late, TYPE_A)
    assert len(world.signing.there) < 1_000


def test_a_missing_placeholder_is_said_once_and_shown() -> None:
    world = World()
    world.nameserver.bitmap = "A"
    world.until(ROUND_S + 10, step_s=2.0)
    missed = [change for change in world.changes if isinstance(change, PlaceholderMissed)]
    assert sorted((change.name, change.rdtype) for change in missed) == [(SHOP, TYPE_AAAA), (APEX, TYPE_AAAA)]
    assert world.signing.missing == {APEX: (TYPE_AAAA,), SHOP: (TYPE_AAAA,)}
    assert not world.table.zones.can_sign(APEX, TYPE_AAAA)
    assert world.table.zones.can_sign(APEX, TYPE_A)
    world.nameserver.bitmap = "A AAAA"
    world.until(2 * ROUND_S + 20, step_s=2.0)
    assert world.signing.missing == {}


def test_what_another_zone_says_of_a_name_does_not_count() -> None:
    world = World()
    world.nameserver.zone = "shop.example.com."
    world.until(2.0)
    assert world.signing.there[SHOP] == frozenset()


def test_without_keys_nobody_is_asked() -> None:
    world = World()
    world.table.zones.sign_with({})
    assert world.until(20.0) == []
