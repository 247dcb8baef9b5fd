from __future__ import annotations

import asyncio

import dns.rcode
import dns.rdatatype

from flatproxy.config.settings import Endpoint
from flatproxy.diagnose.traces import Walk, follow
from flatproxy.flatten.scope import ConfiguredScope

from .replies import Scripted, reply, settings, soa, wire

A = dns.rdatatype.A
NAMESERVER = Endpoint("192.0.2.53", 53)


def walk(target: str, resolver: Scripted, upstream: Scripted | None = None) -> Walk:
    config = settings({"example.com": {"target": "lb.test"}, "loop.example.com": {"target": "a.loop.test"}})
    scope = ConfiguredScope(config.flatten, frozenset(config.access.zones))
    return asyncio.run(follow(wire(target), A, scope, resolver, upstream or Scripted({}, NAMESERVER)))


def test_each_hop_says_who_was_asked() -> None:
    resolver = Scripted(
        {
            "lb.test": reply("lb.test", "A", "lb.test 60 IN CNAME edge.test."),
            "edge.test": reply("edge.test", "A", "edge.test 20 IN CNAME host.example.com."),
        }
    )
    upstream = Scripted(
        {"host.example.com": reply("host.example.com", "A", "host.example.com 30 IN A 192.0.2.7")}, NAMESERVER
    )
    found = walk("lb.test", resolver, upstream)
    assert [(hop.name, hop.what, hop.ttl_s, hop.asked, hop.server) for hop in found.hops] == [
        ("lb.test", "CNAME edge.test", 60, "resolver", "192.0.2.1:53"),
        ("edge.test", "CNAME host.example.com", 20, "resolver", "192.0.2.1:53"),
        ("host.example.com", "A 192.0.2.7", 30, "nameserver", "192.0.2.53:53"),
    ]
    assert found.outcome == "addresses"
    assert found.addresses == ("192.0.2.7",)
    assert found.found is not None
    assert found.found.ttl_s == 20
    assert found.as_json()["ttl"] == 20


def test_a_hop_through_a_flagged_name_asks_nobody() -> None:
    found = walk("example.com", Scripted({"lb.test": reply("lb.test", "A", "lb.test 5 IN A 192.0.2.9")}))
    assert [(hop.name, hop.what, hop.asked, hop.server) for hop in found.hops] == [
        ("example.com", "flagged, target lb.test", "", ""),
        ("lb.test", "A 192.0.2.9", "resolver", "192.0.2.1:53"),
    ]


def test_silence_is_the_last_hop() -> None:
    resolver = Scripted({"lb.test": reply("lb.test", "A", "lb.test 60 IN CNAME gone.test.")})
    found = walk("lb.test", resolver)
    assert [(hop.name, hop.what, hop.server, hop.failed) for hop in found.hops] == [
        ("lb.test", "CNAME gone.test", "192.0.2.1:53", False),
        ("gone.test", "no answer within 1 s", "", True),
    ]
    assert found.silent
    assert found.outcome == "timeout"
    assert found.reason == "gone.test A: no answer within 1 s"


def test_an_error_says_whose_it_is() -> None:
    found = walk("lb.test", Scripted({"lb.test": reply("lb.test", "A", rcode=dns.rcode.SERVFAIL)}))
    assert [(hop.name, hop.what, hop.server, hop.failed) for hop in found.hops] == [
        ("lb.test", "SERVFAIL", "192.0.2.1:53", True)
    ]
    assert not found.silent
    assert found.outcome == "broken"
    assert found.reason == "lb.test: SERVFAIL from 192.0.2.1:53"
    assert found.as_json()["error"] == "lb.test: SERVFAIL"


def test_a_loop_keeps_the_hops_that_led_into_it() -> None:
    resolver = Scripted(
        {
            "a.loop.test": reply("a.loop.test", "A", "a.loop.test 60 IN CNAME b.loop.test."),
            "b.loop.test": reply("b.loop.test", "A", "b.loop.test 60 IN CNAME a.loop.test."),
        }
    )
    found = walk("a.loop.test", resolver)
    assert [hop.name for hop in found.hops] == ["a.loop.test", "b.loop.test"]
    assert found.outcome == "loop"
    assert found.reason == "a.loop.test comes again after a.loop.test → b.loop.test"


def test_a_loop_among_flagged_names_needs_no_question() -> None:
    config = settings({"a.example.com": {"target": "b.example.com"}, "b.example.com": {"target": "a.example.com"}})
    scope = ConfiguredScope(config.flatten, frozenset(config.access.zones))
    nobody = Scripted({})
    found = asyncio.run(follow(wire("b.example.com"), A, scope, nobody, nobody))
    assert found.outcome == "loop"
    assert not nobody.seen


def test_a_denial_is_an_answer() -> None:
    denial = reply("lb.test", "A", authority=(soa("test"),), rcode=dns.rcode.NXDOMAIN)
    found = walk("lb.test", Scripted({"lb.test": denial}))
    assert found.outcome == "nxdomain"
    assert found.error is None
    assert [(hop.what, hop.ttl_s) for hop in found.hops] == [("NXDOMAIN", 60)]
