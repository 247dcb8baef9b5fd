from __future__ import annotations

import dns.rcode
import pytest

from flatproxy.diagnose.findings import Severity
from flatproxy.diagnose.flagged import hints, judge_soa, key_of

from .replies import reply, soa, wire

NAME = wire("example.com")


@pytest.mark.parametrize(
    "response",
    [
        reply("example.com", "SOA", soa("example.com")),
        reply("example.com", "SOA", authority=(soa("com"),)),
        # A nameserver that answers out of a cache has other findings.
        reply("example.com", "SOA", soa("example.com"), aa=False),
    ],
    ids=["an apex", "a name in a zone", "a cache"],
)
def test_nothing_is_amiss(response: object) -> None:
    assert judge_soa(NAME, response) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("response", "word"),
    [
        (reply("example.com", "SOA", authority=(soa("com"),), rcode=dns.rcode.NXDOMAIN), "NXDOMAIN"),
        (reply("example.com", "SOA", rcode=dns.rcode.REFUSED), "REFUSED"),
        (reply("example.com", "SOA", "example.com 60 IN CNAME lb.test."), "CNAME"),
        (reply("example.com", "SOA", authority=("example.com 60 IN NS ns.test.",), aa=False), "delegates"),
    ],
    ids=["no such name", "refused", "a CNAME", "a delegation"],
)
def test_what_is_amiss(response: object, word: str) -> None:
    finding = judge_soa(NAME, response)  # type: ignore[arg-type]
    assert finding is not None
    assert finding.severity is Severity.WARNING
    assert finding.key == 'flatten."example.com"'
    assert word in finding.what
    assert finding.do


def test_hints_are_told_apart_and_other_parameters_left_out() -> None:
    found = hints(
        reply(
            "example.com",
            "HTTPS",
            'example.com 60 IN HTTPS 1 . alpn="h2" ipv4hint="192.0.2.1,192.0.2.2"',
            'example.com 60 IN HTTPS 2 . ipv6hint="2001:db8::1"',
            'example.com 60 IN HTTPS 3 . alpn="h3"',
        )
    )
    assert sorted(found) == ["ipv4hint=192.0.2.1,192.0.2.2", "ipv6hint=2001:db8::1"]


def test_no_https_record_no_hints() -> None:
    assert hints(reply("example.com", "HTTPS", authority=(soa("example.com"),))) == []


def test_a_key_path_is_written_as_in_the_file() -> None:
    assert key_of(b"\x03a\x22b\x03com\x00") == r'''flatten."a\\\"b.com"'''
