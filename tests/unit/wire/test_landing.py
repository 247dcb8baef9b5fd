from __future__ import annotations

import dns.flags
import dns.message
import dns.rdata
import dns.rdatatype
import dns.rrset
import pytest

from flatproxy.wire import landing, records
from tests.unit.wire.messages import SOA, query, response

FLAGGED = b"\7example\3com\0"
CNAME = "www.example.com. 300 IN CNAME example.com."
PLACEHOLDER = "example.com. 300 IN A 192.0.2.1"
NEW = [b"\xc6\x33\x64\1", b"\xc6\x33\x64\2"]
ZONE_SOA = records.record(FLAGGED, 6, 60, b"\2ns\0\4host\0" + bytes(20))
ASKED = query("www.example.com")


def is_flagged(name: bytes) -> bool:
    return name == FLAGGED


def found(reply: bytes) -> landing.Landing:
    there = landing.find(reply, is_flagged)
    assert there is not None
    return there


def texts(message: dns.message.Message) -> list[str]:
    return [f"{rrset.name} {rrset.ttl} {rdata.to_text()}" for rrset in message.answer for rdata in rrset]


class TestMayLand:
    def test_an_alias_first(self) -> None:
        assert landing.may_land(response(ASKED, [CNAME, PLACEHOLDER]), ASKED[12:])

    @pytest.mark.parametrize("rdtype", ["MX", "TXT", "CNAME"])
    def test_other_questions_do_not(self, rdtype: str) -> None:
        asked = query("www.example.com", rdtype)
        assert not landing.may_land(response(asked, [CNAME]), asked[12:])

    def test_addresses_first_do_not(self) -> None:
        asked = query("example.com")
        assert not landing.may_land(response(asked, [PLACEHOLDER]), asked[12:])

    def test_a_reply_that_ends_behind_the_question_does_not(self) -> None:
        reply = response(ASKED, [CNAME, PLACEHOLDER])
        for cut in range(len(ASKED), len(ASKED) + 4):
            assert not landing.may_land(reply[:cut], ASKED[12:])

    def test_256_records_are_records(self) -> None:
        reply = response(ASKED, [CNAME])
        assert landing.may_land(reply[:6] + b"\1\0" + reply[8:], ASKED[12:])

    def test_truncated_ones_do_not(self) -> None:
        reply = bytearray(response(ASKED, [CNAME, PLACEHOLDER]))
        reply[2] |= 0x02
        assert not landing.may_land(bytes(reply), ASKED[12:])


PUT = landing.Records(ttl_s=42, rdatas=NEW)
DENIED = landing.Records(ttl_s=42, rdatas=[], authority=[landing.record_of(ZONE_SOA)])
_SIGNED = "13 {labels} 300 20300101000000 20200101000000 1 example.com. c2ln"


def signed_reply(*, labels: int = 3) -> bytes:
    """Return a landing as a signed zone has it: CNAME and placeholder with signatures, and a denial beside them."""
    message = dns.message.from_wire(response(ASKED, [CNAME, PLACEHOLDER]))
    for owner, covered, count in (("www.example.com.", "CNAME", labels), ("example.com.", "A", 2)):
        text = f"{covered} {_SIGNED.format(labels=count)}"
        message.answer.append(dns.rrset.from_text(owner, 300, "IN", "RRSIG", text))
    for owner, bitmap in (("v.example.com.", "A RRSIG NSEC"), ("example.com.", "A RRSIG NSEC")):
        message.authority.append(dns.rrset.from_text(owner, 300, "IN", "NSEC", f"z.example.com. {bitmap}"))
        rrsig = f"NSEC {_SIGNED.format(labels=2)}"
        message.authority.append(dns.rrset.from_text(owner, 300, "IN", "RRSIG", rrsig))
    return message.to_wire()


class TestFind:
    def test_along_a_chain(self) -> None:
        reply = response(
            ASKED, ["www.example.com. 60 IN CNAME a.example.com.", "a.example.com. 60 IN CNAME example.com."]
        )
        there = found(reply)
        assert (there.name, there.rdtype) == (FLAGGED, dns.rdatatype.A)

    def test_elsewhere_is_nothing(self) -> None:
        assert landing.find(response(ASKED, ["www.example.com. 60 IN CNAME example.org."]), is_flagged) is None

    def test_a_loop_is_nothing(self) -> None:
        loop = ["www.example.com. 60 IN CNAME a.example.com.", "a.example.com. 60 IN CNAME www.example.com."]
        assert landing.find(response(ASKED, loop), is_flagged) is None

    def test_signatures_are_seen(self) -> None:
        """Whether a signed reply may be changed is for who holds the keys to say."""
        plain = found(response(ASKED, [CNAME, PLACEHOLDER]))
        assert (plain.wants_dnssec, plain.was_signed) == (False, False)
        signed = found(signed_reply())
        assert (signed.wants_dnssec, signed.was_signed) == (True, True)

    def test_noise_is_nothing(self) -> None:
        assert landing.find(b"noise", is_flagged) is None


class TestRewrite:
    def test_the_placeholder_gives_way(self) -> None:
        made = dns.message.from_wire(landing.rewrite(found(response(ASKED, [CNAME, PLACEHOLDER])), PUT, 512))
        assert texts(made)[0] == "www.example.com. 300 example.com."
        assert sorted(texts(made)[1:]) == ["example.com. 42 198.51.100.1", "example.com. 42 198.51.100.2"]
        assert made.flags & dns.flags.AA
        assert made.id == dns.message.from_wire(ASKED).id

    def test_a_denial_is_completed_and_its_soa_goes(self) -> None:
        made = dns.message.from_wire(landing.rewrite(found(response(ASKED, [CNAME], [SOA])), PUT, 512))
        assert len(texts(made)) == 3
        assert made.authority == []

    def test_without_addresses_the_soa_says_so(self) -> None:
        there = found(response(ASKED, [CNAME, PLACEHOLDER]))
        made = dns.message.from_wire(landing.rewrite(there, DENIED, 512))
        assert texts(made) == ["www.example.com. 300 example.com."]
        assert [(rrset.rdtype, rrset.ttl) for rrset in made.authority] == [(dns.rdatatype.SOA, 60)]

    def test_what_does_not_fit_is_cut(self) -> None:
        many = [bytes([198, 51, 100, number]) for number in range(60)]
        wire = landing.rewrite(
            found(response(ASKED, [CNAME, PLACEHOLDER])), landing.Records(ttl_s=42, rdatas=many), 512
        )
        assert len(wire) <= 512
        assert dns.message.from_wire(wire).flags & dns.flags.TC

    def test_a_dname_stays_in_the_chain(self) -> None:
        asked = query("www.d.example.com")
        reply = response(
            asked, ["d.example.com. 60 IN DNAME e.example.com.", "www.d.example.com. 60 IN CNAME www.e.example.com."]
        )
        there = landing.find(reply, lambda name: name == b"\3www\1e\7example\3com\0")
        assert there is not None
        made = dns.message.from_wire(landing.rewrite(there, PUT, 512))
        assert [rrset.rdtype.name for rrset in made.answer] == ["DNAME", "CNAME", "A"]


class TestSigned:
    OURS = dns.rdata.from_text("IN", "RRSIG", f"A {_SIGNED.format(labels=2)[:-4]}b3Vycw==").to_wire() or b""

    def made(self, records: landing.Records, *, labels: int = 3) -> dns.message.Message:
        return dns.message.from_wire(landing.rewrite(found(signed_reply(labels=labels)), records, 1232))

    def test_the_alias_keeps_its_signature_and_ours_follows_our_records(self) -> None:
        made = self.made(landing.Records(ttl_s=42, rdatas=NEW, rrsigs=[self.OURS]))
        assert [(rrset.name.to_text(), rrset.rdtype, rrset.covers, rrset.ttl) for rrset in made.answer] == [
            ("www.example.com.", 5, 0, 300),
            ("www.example.com.", 46, 5, 300),
            ("example.com.", 1, 0, 42),
            ("example.com.", 46, 1, 42),
        ]
        assert made.answer[-1][0].to_wire() == self.OURS
        assert made.authority == []

    def test_what_proves_a_wildcard_stays(self) -> None:
        made = self.made(landing.Records(ttl_s=42, rdatas=NEW, rrsigs=[self.OURS]), labels=2)
        assert [(rrset.name.to_text(), rrset.rdtype) for rrset in made.authority] == [
            ("v.example.com.", 47),
            ("v.example.com.", 46),
        ]

    def test_a_denial_of_ours_takes_the_place_of_the_nameservers(self) -> None:
        nsec = dns.rdata.from_text("IN", "NSEC", "\\000.example.com. MX RRSIG NSEC").to_wire() or b""
        authority = [landing.record_of(ZONE_SOA), (FLAGGED, 47, 60, nsec), (FLAGGED, 46, 60, self.OURS)]
        made = self.made(landing.Records(ttl_s=42, rdatas=[], authority=authority))
        assert [rrset.rdtype for rrset in made.answer] == [5, 46]
        assert [(rrset.rdtype, rrset.ttl) for rrset in made.authority] == [(6, 60), (47, 60), (46, 60)]
