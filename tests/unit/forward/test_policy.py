from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import dns.message
import dns.tsigkeyring
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.forward.access import Networks
from flatproxy.forward.policy import DROP, FLATTEN, FORWARD, PRESERVE, REFUSE
from flatproxy.forward.socket_addresses import octets_of
from flatproxy.signing import keys
from flatproxy.signing.zone import ZoneSigning
from flatproxy.table.changes import Feed
from flatproxy.table.zones import Zones
from flatproxy.wire.prefixes import Prefixes
from tests.unit.forward.surroundings import ZONE, Fixed, policy
from tests.unit.wire.messages import query

CLIENT = octets_of("192.0.2.7")
US = Networks([ip_network("192.0.2.0/24")])
FLAGGED = ZONE + b"\0\1\0\1"
TABLE = {FLAGGED: Fixed(b"")}


def opcode(number: int, message: bytes) -> bytes:
    return message[:2] + bytes([number << 3]) + message[3:]


def verdict(message: bytes, host: bytes = CLIENT, **settings: Any) -> int:
    return policy(**settings).judge(message, host)[0]


def signed(name: str = "example.com", rdtype: str = "A") -> bytes:
    message = dns.message.make_query(name, rdtype)
    message.use_tsig(dns.tsigkeyring.from_text({"key.": "c2VjcmV0"}))
    return message.to_wire()


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (query("www.example.com"), FORWARD),
        (query("WWW.EXAMPLE.COM", use_edns=0), FORWARD),
        (query("example.com", rdclass="CH"), FORWARD),
        (query("example.com") + b"junk", FORWARD),
        (query("example.org"), REFUSE),
        (query("xexample.com"), REFUSE),
        (query("com"), REFUSE),
        (query("."), REFUSE),
        (b"", DROP),
        (query()[:11], DROP),
        (query()[:2] + b"\x81" + query()[3:], DROP),
        (signed(), PRESERVE),
        (signed("example.org"), REFUSE),
        (query(rdtype="AXFR"), REFUSE),
        (query(rdtype="IXFR"), REFUSE),
        (query(rdtype="TKEY"), REFUSE),
        (opcode(4, query(rdtype="SOA")), REFUSE),
        (opcode(5, query(rdtype="SOA")), REFUSE),
        (opcode(2, query()), PRESERVE),
        (opcode(2, query("example.org")), REFUSE),
        (bytes(12), PRESERVE),
        (query()[:14], PRESERVE),
    ],
)
def test_what_becomes_of_a_message(message: bytes, wanted: int) -> None:
    assert verdict(message) == wanted


@pytest.mark.parametrize(
    ("who", "message"),
    [
        ("transfer", query(rdtype="AXFR")),
        ("transfer", query(rdtype="IXFR")),
        ("update", query("key.example.org", "TKEY")),
        ("update", opcode(5, query(rdtype="SOA"))),
        ("notify", opcode(4, query(rdtype="SOA"))),
    ],
)
def test_lists_let_their_clients_in_and_no_others(who: str, message: bytes) -> None:
    lists: dict[str, Any] = {who: US}
    assert verdict(message, **lists) == PRESERVE
    assert verdict(message, octets_of("198.51.100.1"), **lists) == REFUSE


def test_a_transfer_of_another_zone_is_refused_to_those_too() -> None:
    assert verdict(query("example.org", "AXFR"), transfer=US) == REFUSE


def test_clients_outside_the_query_list_are_refused_everything() -> None:
    assert verdict(query(), octets_of("198.51.100.1"), query=US) == REFUSE
    assert verdict(query(), CLIENT, query=US) == FORWARD
    assert verdict(query()[:11], octets_of("198.51.100.1"), query=US) == DROP


class TestNoSideDoor:
    """What is odd is forwarded, but not where it asks for what would be refused."""

    two = query()[:4] + b"\0\2" + query()[6:] + query("example.org", "A")[12:]

    def test_a_second_question_outside_the_zones(self) -> None:
        assert verdict(self.two) == REFUSE
        assert verdict(self.two, zones=None) == PRESERVE

    def test_a_second_question_for_a_transfer(self) -> None:
        message = query()[:4] + b"\0\2" + query()[6:] + query(rdtype="AXFR")[12:]
        assert verdict(message) == REFUSE

    def test_a_crowd_of_questions(self) -> None:
        crowd = query()[:4] + b"\0\x09" + query()[6:12] + 9 * query()[12:]
        assert verdict(crowd) == REFUSE
        assert verdict(crowd[:5] + b"\x08" + crowd[6:]) == PRESERVE

    def test_a_name_behind_a_pointer(self) -> None:
        pointed = query()[:4] + b"\0\2" + query()[6:] + b"\xc0\x0c\0\xfc\0\1"
        assert verdict(pointed) == REFUSE
        assert verdict(pointed, transfer=US) == PRESERVE


KEY, THEIRS = (keys.generate(ZONE, "ECDSAP256SHA256") for _ in range(2))


class TestFlagged:
    @pytest.mark.parametrize("message", [query(), query("EXAMPLE.com"), query(use_edns=0), query(use_edns=1)])
    def test_a_plain_query_is_flattened(self, message: bytes) -> None:
        assert policy(table=TABLE).judge(message, CLIENT) == (FLATTEN, 29, TABLE[FLAGGED], message[12:29].lower())

    @pytest.mark.parametrize(
        ("message", "wanted"),
        [
            (query("www.example.com"), FORWARD),
            (query(rdtype="AAAA"), FORWARD),
            (query(rdclass="CH"), FORWARD),
            (query() + b"junk", FORWARD),
            (query(use_edns=0)[:-1], FORWARD),
            (signed(), PRESERVE),
        ],
    )
    def test_others_are_not(self, message: bytes, wanted: int) -> None:
        assert verdict(message, table=TABLE) == wanted

    def test_with_do_a_signed_zone_speaks_for_itself(self) -> None:
        zones = Zones(Feed())
        judge = policy(table=TABLE, signing=zones)
        asked = query(use_edns=0, want_dnssec=True)
        assert judge.judge(asked, CLIENT)[0] == FLATTEN
        zones.found(ZONE, b"")
        zones.judged(ZONE, signed=True)
        assert judge.judge(asked, CLIENT)[0] == FORWARD
        assert judge.judge(query(use_edns=0), CLIENT)[0] == FLATTEN

    def test_with_do_a_signed_zone_is_flattened_while_it_can_be_signed(self) -> None:
        zones, signing = Zones(Feed()), ZoneSigning.of(ZONE, (KEY,))
        zones.sign_with({ZONE: signing})
        judge = policy(table=TABLE, signing=zones)
        asked = query(use_edns=0, want_dnssec=True)
        assert judge.judge(asked, CLIENT)[0] == FORWARD
        for moment in (1e9, 1e9 + 100):
            signing.learn([KEY.rdata, THEIRS.rdata], 60, moment)
        signing.there[ZONE] = frozenset({1})
        assert judge.judge(asked, CLIENT)[0] == FLATTEN
        signing.there[ZONE] = frozenset({15})
        assert judge.judge(asked, CLIENT)[0] == FORWARD
        assert judge.judge(query(use_edns=0), CLIENT)[0] == FLATTEN

    def test_a_type_is_not_put_in_lower_case(self) -> None:
        table = {ZONE + b"\0\x41\0\1": Fixed(b"")}
        assert verdict(query("EXAMPLE.com", rdtype="HTTPS"), table=table) == FLATTEN
        assert verdict(query("EXAMPLE.com", rdtype="TYPE97"), table=table) == FORWARD

    def test_an_unsigned_zone_in_a_signed_one_is_judged_at_once(self) -> None:
        """When it appears and when it disappears."""
        zones, shop = Zones(Feed()), b"\4shop" + ZONE
        judge = policy(table={shop + FLAGGED[-4:]: Fixed(b"")}, signing=zones)
        asked = query("shop.example.com", use_edns=0, want_dnssec=True)
        zones.found(ZONE, b"")
        zones.judged(ZONE, signed=True)
        assert judge.judge(asked, CLIENT)[0] == FORWARD
        zones.found(shop, b"")
        zones.judged(shop, signed=False)
        assert judge.judge(asked, CLIENT)[0] == FLATTEN
        zones.gone(shop)
        assert judge.judge(asked, CLIENT)[0] == FORWARD


class _Viewed:
    """A table in which `inside` passes and everybody else has an answer."""

    def get(self, key: bytes, view: str | None = None, /) -> Fixed | None:
        return None if view == "inside" else TABLE.get(key)


def test_a_view_is_judged_by_its_own_answers() -> None:
    views = Prefixes({ip_network("10.0.0.0/8"): "inside", ip_network("10.7.0.0/16"): "branch"})
    judge = policy(table=_Viewed(), views=views)
    wanted = {"10.1.0.1": FORWARD, "10.7.0.1": FLATTEN, "192.0.2.7": FLATTEN, "2001:db8::1": FLATTEN}
    for _ in range(2):
        assert {host: judge.judge(query(), octets_of(host))[0] for host in wanted} == wanted
    assert [judge.view_of(octets_of(host)) for host in wanted] == ["inside", "branch", None, None]


@given(st.binary(max_size=200))
def test_any_octets_have_a_verdict(message: bytes) -> None:
    assert verdict(message, table=TABLE) in (DROP, REFUSE, FORWARD, PRESERVE, FLATTEN)


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(st.lists(st.tuples(addresses, st.integers(0, 128)), max_size=6), addresses)
def test_networks_agree_with_ipaddress(prefixes: list[tuple[object, int]], address: object) -> None:
    networks = [
        ip_network(f"{host}/{min(bits, 128 if ':' in str(host) else 32)}", strict=False) for host, bits in prefixes
    ]
    wanted = any(address in network for network in networks)
    known = Networks(networks)
    assert (octets_of(str(address)) in known) is wanted
    assert (octets_of(str(address)) in known) is wanted
    assert bool(known) is bool(networks)
