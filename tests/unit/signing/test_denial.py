from __future__ import annotations

import dns.dnssec
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatproxy.errors import WireError
from flatproxy.signing import denial
from flatproxy.signing.rrsig import sign
from tests.unit.signing.keyring import NOW, ZONE, key, rrset, validate

APEX = dns.name.from_text("example.com.")
SOME = frozenset({1, 2, 6, 15, 28, 48, 65, 257})


def test_the_next_name_and_the_types() -> None:
    made = denial.nsec(ZONE, SOME, {28})
    assert str(rrset(ZONE, 47, 60, [made])[0]) == r"\000.example.com. A NS SOA MX RRSIG NSEC DNSKEY HTTPS CAA"


@settings(deadline=None)  # the keys are made meanwhile
@given(st.frozensets(st.integers(1, 65_535)), st.frozensets(st.integers(1, 65_535)), st.integers(0, 86_400))
def test_it_validates_and_denies_what_is_absent_and_nothing_else(
    there: frozenset[int], absent: frozenset[int], ttl_s: int
) -> None:
    made = denial.nsec(ZONE, there, absent - {46, 47})
    signed = sign([key()], ZONE, 47, ttl_s, [made], now=NOW)
    validate(rrset(ZONE, 47, ttl_s, [made]), signed.rdatas, [key()], NOW)
    assert denial.types_there(nodata(rrset(ZONE, 47, ttl_s, [made])), APEX) == there - absent - {46, 47}


def test_a_name_in_front_of_which_no_label_fits() -> None:
    longest = b"".join(bytes((size,)) + bytes(size) for size in (63, 63, 63, 47)) + ZONE
    assert len(longest) == 253
    assert denial.nsec(longest, SOME, {28})[2:255] == longest
    with pytest.raises(WireError):
        denial.nsec(b"\1a" + longest, SOME, {28})


def nodata(*authority: dns.rrset.RRset) -> dns.message.Message:
    message = dns.message.make_response(dns.message.make_query("example.com.", "AAAA", want_dnssec=True))
    message.authority.extend(authority)
    return dns.message.from_wire(message.to_wire())


def test_the_types_in_an_nsec_of_the_name() -> None:
    other = dns.rrset.from_text("a.example.com.", 60, "IN", "NSEC", "example.com. TXT RRSIG NSEC")
    own = dns.rrset.from_text("EXAMPLE.com.", 60, "IN", "NSEC", "a.example.com. A MX RRSIG NSEC CAA TYPE65534")
    assert denial.types_there(nodata(other, own), APEX) == frozenset({1, 15, 257, 65_534})
    assert denial.types_there(nodata(other), APEX) is None
    assert denial.types_there(nodata(), APEX) is None


@pytest.mark.parametrize(("salt", "iterations"), [("-", 0), ("aabb", 5)])
def test_the_types_in_an_nsec3_with_the_names_hash(salt: str, iterations: int) -> None:
    digest = dns.dnssec.nsec3_hash("example.com.", "" if salt == "-" else salt, iterations, 1)
    rdata = f"1 0 {iterations} {salt} 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR A NS RRSIG"
    own = dns.rrset.from_text(f"{digest.lower()}.example.com.", 60, "IN", "NSEC3", rdata)
    other = dns.rrset.from_text("0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example.com.", 60, "IN", "NSEC3", rdata)
    assert denial.types_there(nodata(other, own), APEX) == frozenset({1, 2})
    assert denial.types_there(nodata(other), APEX) is None
