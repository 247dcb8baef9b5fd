"""A landing in a signed zone: the nameserver's CNAME keeps its signature, and what follows it has one of ours."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pytest
from attrs import define, field

from flatproxy.config.guarding import Guarding
from flatproxy.config.rules import Rule
from flatproxy.signing.rrsig import sign
from flatproxy.signing.zone import SignedSoa, ZoneSigning
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table
from flatproxy.wire import names
from flatproxy.wire.types import TYPE_A, TYPE_AAAA, TYPE_CNAME, TYPE_SOA
from tests.unit.forward.surroundings import ZONE, Way
from tests.unit.signing import keyring
from tests.unit.wire.messages import query, response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WALL = keyring.NOW
KEY = keyring.key()
THEIRS = keyring.key("ED25519", 1)
TARGET = b"\2lb\4test\0"
WWW = names.to_wire(dns.name.from_text("www.example.com"))
FOUND = {TYPE_A: (b"\xcb\x00\x71\x01", b"\xcb\x00\x71\x02"), TYPE_AAAA: ()}
PLACEHOLDERS = {TYPE_A: bytes((192, 0, 2, 1)), TYPE_AAAA: bytes(16)}


def signed(owner: bytes, rdtype: int, rdata: bytes, ttl_s: int = 300) -> list[dns.rrset.RRset]:
    """Return an RRset of the nameserver's, and its signature."""
    made = sign((THEIRS,), owner, rdtype, ttl_s, [rdata], now=WALL)
    return [
        keyring.rrset(owner, rdtype, ttl_s, [rdata]),
        keyring.rrset(owner, dns.rdatatype.RRSIG, ttl_s, list(made.rdatas)),
    ]


@define
class Signed:
    """An exchange whose one zone is signed, and in which example.com is flattened."""

    table: Table = field(factory=lambda: Table(wall=lambda: WALL))
    signing: ZoneSigning = field(factory=lambda: ZoneSigning.of(ZONE, (KEY,)))
    way: Way = field(init=False)

    def __attrs_post_init__(self) -> None:
        now = monotonic()
        self.table.adopt({ZONE: Rule(target=TARGET)}, now, 5.0)
        for rdtype, rdatas in FOUND.items():
            resolution = Resolution(rdatas=rdatas, ttl_s=60, names=(), resolved_at=now)
            self.table.targets[TARGET, rdtype, Guarding()].settle(resolution, "ok", WALL)
        self.table.zones.sign_with({ZONE: self.signing})
        self.signing.signer.use((KEY,))
        self.signing.there = {ZONE: frozenset({TYPE_A, TYPE_AAAA})}
        soa, rrsig = signed(ZONE, TYPE_SOA, b"\2ns\0\4host\0" + bytes(19) + b"\x3c")
        self.signing.soa = SignedSoa(
            rdata=soa[0].to_wire() or b"", rrsigs=(rrsig[0].to_wire() or b"",), ttl_s=60, until=WALL + 86_400
        )
        self.way = Way.with_table(self.table, signing=self.table.zones)  # type: ignore[arg-type]

    def land(self, rdtype: int, *, dnssec: bool = True, size: int = 1232) -> tuple[dns.message.Message, bytes]:
        """Ask for www, which the nameserver says leads to example.com; what the client gets, and what came."""
        text = dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rdtype))
        message = query("www.example.com", text, want_dnssec=dnssec, payload=size)
        came = dns.message.from_wire(response(message))
        came.answer = [*signed(WWW, TYPE_CNAME, ZONE), *signed(ZONE, rdtype, PLACEHOLDERS[rdtype])]
        if not dnssec:
            came.answer = [rrset for rrset in came.answer if rrset.rdtype != dns.rdatatype.RRSIG]
        octets = came.to_wire()
        self.way.ask(message)
        self.way.exchange.deliver(self.way.servers.servers[0].sent[-1], octets, 100.1)
        return dns.message.from_wire(self.way.got[-1]), octets


def kinds(rrsets: Sequence[dns.rrset.RRset]) -> list[str]:
    return [dns.rdatatype.to_text(rrset.rdtype) for rrset in rrsets]


def test_the_records_have_our_signature_and_the_cname_its_own() -> None:
    reply, came = Signed().land(TYPE_A)
    assert kinds(reply.answer) == ["CNAME", "RRSIG", "A", "RRSIG"]
    before = dns.message.from_wire(came)
    assert reply.answer[:2] == before.answer[:2]
    addresses, rrsig = reply.answer[2:]
    assert {rdata.to_wire() for rdata in addresses} == set(FOUND[TYPE_A])
    assert addresses.name == rrsig.name == names.to_name(ZONE)
    assert addresses.ttl == rrsig.ttl <= 60
    keyring.validate(addresses, [rrsig[0].to_wire() or b""], (KEY,), WALL)
    assert not reply.flags & (dns.flags.AD | dns.flags.CD)


def test_an_absent_type_is_denied_with_the_zones_soa_and_our_nsec() -> None:
    reply, _came = Signed().land(TYPE_AAAA)
    assert kinds(reply.answer) == ["CNAME", "RRSIG"]
    assert sorted(kinds(reply.authority)) == ["NSEC", "RRSIG", "RRSIG", "SOA"]
    nsec = next(rrset for rrset in reply.authority if rrset.rdtype == dns.rdatatype.NSEC)
    assert nsec[0].to_text() == "\\000.example.com. A RRSIG NSEC"
    ours = next(
        rrset for rrset in reply.authority if rrset.rdtype == dns.rdatatype.RRSIG and rrset.covers == nsec.rdtype
    )
    keyring.validate(nsec, [ours[0].to_wire() or b""], (KEY,), WALL)


def test_without_do_nothing_is_signed() -> None:
    reply, _came = Signed().land(TYPE_A, dnssec=False)
    assert kinds(reply.answer) == ["CNAME", "A"]
    assert {rdata.to_wire() for rdata in reply.answer[1]} == set(FOUND[TYPE_A])


def _no_key(world: Signed) -> None:
    world.signing.signer.use(())


def _no_placeholder(world: Signed) -> None:
    world.signing.there = {ZONE: frozenset({16})}


def _unknown(world: Signed) -> None:
    world.signing.there = {}


@pytest.mark.parametrize("change", [_no_key, _no_placeholder, _unknown])
def test_where_nothing_can_be_signed_the_reply_stays_as_it_came(change: Callable[[Signed], None]) -> None:
    world = Signed()
    change(world)
    reply, came = world.land(TYPE_A)
    assert world.way.got[-1][2:] == came[2:]
    assert kinds(reply.answer) == ["CNAME", "RRSIG", "A", "RRSIG"]


def test_a_denial_needs_the_zones_soa() -> None:
    world = Signed()
    world.signing.soa = None
    _reply, came = world.land(TYPE_AAAA)
    assert world.way.got[-1][2:] == came[2:]


def test_what_does_not_fit_is_cut() -> None:
    """The nameserver's reply fitted, and its signatures are no shorter: more addresses are what it takes."""
    world = Signed()
    many = tuple(bytes((203, 0, 113, last)) for last in range(200))
    resolution = Resolution(rdatas=many, ttl_s=60, names=(), resolved_at=monotonic())
    world.table.targets[TARGET, TYPE_A, Guarding()].settle(resolution, "ok", WALL)
    reply, _came = world.land(TYPE_A)
    assert reply.flags & dns.flags.TC
    assert reply.answer == []
