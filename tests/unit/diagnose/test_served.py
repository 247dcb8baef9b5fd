from __future__ import annotations

import dns.rcode
import pytest

from flatproxy.diagnose.served import judge_zone

from .replies import reply, soa, wire

ZONE = wire("example.com")


def test_an_soa_with_authority_is_right() -> None:
    assert judge_zone(ZONE, reply("example.com", "SOA", soa("example.com"))) is None


def test_a_name_within_a_zone_is_served_too() -> None:
    assert judge_zone(wire("sub.example.com"), reply("sub.example.com", "SOA", authority=(soa("example.com"),))) is None


@pytest.mark.parametrize("rcode", [dns.rcode.REFUSED, dns.rcode.SERVFAIL, dns.rcode.NOTAUTH])
def test_an_error_is_told_by_its_name(rcode: dns.rcode.Rcode) -> None:
    verdict = judge_zone(ZONE, reply("example.com", "SOA", rcode=rcode, aa=False))
    assert verdict is not None
    assert verdict.what == rcode.name
    assert verdict.do


def test_an_answer_out_of_a_cache_is_none() -> None:
    verdict = judge_zone(ZONE, reply("example.com", "SOA", soa("example.com"), aa=False, ra=True))
    assert verdict is not None
    assert "authority" in verdict.what


def test_a_referral_is_no_answer() -> None:
    verdict = judge_zone(ZONE, reply("example.com", "SOA", authority=("com 300 IN NS ns1.test.",), aa=False))
    assert verdict is not None
    assert verdict.what == "refers to other nameservers"


def test_a_zone_that_does_not_exist() -> None:
    verdict = judge_zone(ZONE, reply("example.com", "SOA", authority=(soa("com"),), rcode=dns.rcode.NXDOMAIN))
    assert verdict is not None
    assert "NXDOMAIN" in verdict.what


@pytest.mark.parametrize("records", [(), (soa("other.test"),)])
def test_an_answer_about_something_else(records: tuple[str, ...]) -> None:
    assert judge_zone(ZONE, reply("example.com", "SOA", *records)) is not None
