from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from flatproxy.demo.nameserver import DKIM, DemoNameserver
from flatproxy.demo.serving import reply

from .asks import ask, query, records

SERVER = DemoNameserver()
SOA = "example.com. {ttl} IN SOA ns1.example.com. hostmaster.example.com. 2024010101 7200 3600 1209600 300"


@pytest.mark.parametrize(
    ("rdtype", "expected"),
    [
        ("A", ["example.com. 3600 IN A 192.0.2.1"]),
        ("SOA", [SOA.format(ttl=3600)]),
        ("NS", ["example.com. 3600 IN NS ns1.example.com.", "example.com. 3600 IN NS ns2.example.com."]),
        ("MX", ["example.com. 3600 IN MX 10 mail.example.com.", "example.com. 3600 IN MX 20 mail2.example.com."]),
        ("TXT", ['example.com. 3600 IN TXT "v=spf1 mx -all"']),
    ],
)
def test_the_apex(rdtype: str, expected: list[str]) -> None:
    response = ask(SERVER, "example.com", rdtype)
    assert records(response) == expected
    assert response.rcode() == dns.rcode.NOERROR
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.RA


def test_any_at_the_apex_is_all_there_is() -> None:
    found = {rrset.rdtype for rrset in ask(SERVER, "example.com", "ANY").answer}
    assert found == {dns.rdatatype.from_text(text) for text in ("SOA", "NS", "A", "MX", "TXT")}


def test_www_leads_to_the_apex() -> None:
    assert records(ask(SERVER, "www.example.com")) == [
        "www.example.com. 3600 IN CNAME example.com.",
        "example.com. 3600 IN A 192.0.2.1",
    ]
    assert records(ask(SERVER, "www.example.com", "CNAME")) == ["www.example.com. 3600 IN CNAME example.com."]


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode"),
    [
        ("example.com", "AAAA", dns.rcode.NOERROR),
        ("_domainkey.example.com", "TXT", dns.rcode.NOERROR),
        ("www.example.com", "AAAA", dns.rcode.NOERROR),
        ("nothing-here.example.com", "A", dns.rcode.NXDOMAIN),
        ("below.www.example.com", "A", dns.rcode.NXDOMAIN),
    ],
)
def test_denials_carry_the_soa_and_how_long_they_hold(name: str, rdtype: str, rcode: dns.rcode.Rcode) -> None:
    response = ask(SERVER, name, rdtype)
    assert response.rcode() == rcode
    assert response.flags & dns.flags.AA
    assert [rrset.to_text() for rrset in response.authority] == [SOA.format(ttl=300)]


@pytest.mark.parametrize(
    ("name", "rdtype", "rdclass"),
    [
        ("example.net", "A", "IN"),
        ("com", "NS", "IN"),
        (".", "NS", "IN"),
        ("badexample.com", "A", "IN"),
        ("example.com", "A", "CH"),
        ("example.com", "AXFR", "IN"),
        ("example.com", "IXFR", "IN"),
    ],
)
def test_the_rest_is_refused(name: str, rdtype: str, rdclass: str) -> None:
    response = ask(SERVER, name, rdtype, rdclass)
    assert response.rcode() == dns.rcode.REFUSED
    assert not response.flags & dns.flags.AA
    assert not response.answer
    assert not response.authority


def test_the_key_needs_tcp_whatever_the_client_takes() -> None:
    for payload in (512, 1232, 4096):
        response = ask(SERVER, DKIM, "TXT", use_edns=0, payload=payload)
        assert response.flags & dns.flags.TC
        assert response.flags & dns.flags.AA
        assert not response.answer
    (rrset,) = ask(SERVER, DKIM, "TXT", udp=False).answer
    text = b"".join(rrset[0].strings)
    assert text.startswith(b"v=DKIM1; k=rsa; p=")
    assert len(text) > 1232


def test_it_says_the_same_in_the_same_octets() -> None:
    for name, rdtype in (("example.com", "MX"), ("example.com", "NS"), ("example.com", "ANY"), (DKIM, "TXT")):
        wire = query(name, rdtype, id=1).to_wire()
        assert (
            len({reply(wire, nameserver, udp=False) for nameserver in [DemoNameserver() for _ in range(3)] * 10}) == 1
        )


def test_the_case_of_the_question_does_not_matter() -> None:
    assert records(ask(SERVER, "WWW.eXample.COM"))[1].endswith("IN A 192.0.2.1")
