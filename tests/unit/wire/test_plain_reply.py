from __future__ import annotations

from typing import TYPE_CHECKING

import dns.edns
import dns.message
import dns.rrset
import pytest

from flatproxy.wire.plain_reply import addresses_of

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "lb.cloud.test."
QUESTION = b"\2lb\5cloud\4test\0"


def reply(rdtype: str, *records: str, edns: bool = True) -> dns.message.Message:
    made = dns.message.make_response(dns.message.make_query(NAME, rdtype, use_edns=0 if edns else -1))
    for line in records:
        owner, ttl, kind, rdata = line.split(" ", 3)
        made.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, rdata))
    return made


@pytest.mark.parametrize("edns", [True, False])
def test_addresses_come_in_order_and_each_once_with_the_least_ttl(*, edns: bool) -> None:
    lines = [f"{NAME} {ttl} A 192.0.2.{last}" for ttl, last in ((60, 2), (30, 1), (300, 2))]
    octets = reply("A", *lines, edns=edns).to_wire()
    assert addresses_of(octets, QUESTION + b"\0\1\0\1") == ((b"\xc0\0\2\1", b"\xc0\0\2\2"), 30)


def test_of_both_types() -> None:
    octets = reply("AAAA", f"{NAME} 60 AAAA 2001:db8::1").to_wire()
    assert addresses_of(octets, QUESTION + b"\0\x1c\0\1") == ((b"\x20\1\x0d\xb8" + bytes(11) + b"\1",), 60)


def test_a_ttl_with_the_highest_bit_is_0() -> None:
    octets = bytearray(reply("A", f"{NAME} 60 A 192.0.2.1", edns=False).to_wire())
    octets[-10:-6] = b"\x80\0\0\0"
    assert addresses_of(bytes(octets), QUESTION + b"\0\1\0\1") == ((b"\xc0\0\2\1",), 0)


GOOD = reply("A", f"{NAME} 60 A 192.0.2.1")
AT = {"header": 2, "rcode": 3, "questions": 5, "answers": 7, "authority": 9, "additional": 11}


def _with(place: int, octet: int) -> bytes:
    octets = bytearray(GOOD.to_wire())
    octets[place] |= octet
    return bytes(octets)


def _other(change: Callable[[dns.message.Message], None]) -> bytes:
    made = reply("A", f"{NAME} 60 A 192.0.2.1")
    change(made)
    return made.to_wire()


NOT_PLAIN = {
    "cut": GOOD.to_wire()[:-12],
    "shorter than it says": GOOD.to_wire()[:40],
    "more octets behind it": GOOD.to_wire() + b"\0",
    "TC": _with(2, 0x02),
    "another opcode": _with(2, 0x08),
    "an error": _with(3, 2),
    "no address": reply("A").to_wire(),
    "an alias": reply("A", f"{NAME} 60 CNAME b.test.", "b.test. 60 A 192.0.2.1").to_wire(),
    "another owner": reply("A", "b.test. 60 A 192.0.2.1").to_wire(),
    "another type": reply("A", f"{NAME} 60 AAAA 2001:db8::1").to_wire(),
    "authority": _other(lambda made: made.authority.append(dns.rrset.from_text("test.", 60, "IN", "NS", "ns.test."))),
    "additional": _other(
        lambda made: made.additional.append(dns.rrset.from_text("ns.test.", 1, "IN", "A", "192.0.2.1"))
    ),
    "an extended error": _other(lambda made: made.use_edns(0, 0x01000000)),
    "another EDNS version": _other(lambda made: made.use_edns(1)),
    "an EDNS option": _other(
        lambda made: made.use_edns(0, options=[dns.edns.GenericOption(dns.edns.OptionType.NSID, b"x")])
    ),
}


@pytest.mark.parametrize("octets", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_what_is_not_plain(octets: bytes) -> None:
    assert addresses_of(GOOD.to_wire(), QUESTION + b"\0\1\0\1") is not None
    assert addresses_of(octets, QUESTION + b"\0\1\0\1") is None


def test_of_other_types_nothing_is_read() -> None:
    octets = reply("HTTPS", f"{NAME} 60 HTTPS 1 .").to_wire()
    assert addresses_of(octets, QUESTION + b"\0\x41\0\1") is None
