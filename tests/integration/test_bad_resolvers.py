"""Resolvers with strange answers: long chains, loops, vast sets, odd TTLs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rrset
import pytest

from tests.support import dnsio, packets, queries
from tests.support.configuration import configuration
from tests.support.internet import FakeInternet, Mood
from tests.support.proxy import Proxy
from tests.support.waiting import until
from tests.support.zones import wire_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.nsd import Nsd


def _hops(internet: FakeInternet, count: int, prefix: str, ttl: int = 60) -> None:
    """Make a chain of so many CNAMEs with an address at its end."""
    for hop in range(count):
        internet.cname(f"{prefix}{hop}.test", f"{prefix}{hop + 1}.test", ttl)
    internet.set(f"{prefix}{count}.test", "A", ["203.0.113.50"], ttl)


@pytest.fixture(scope="module", params=[True, False], ids=["whole chains", "single hops"])
def strange(request: pytest.FixtureRequest) -> Iterator[FakeInternet]:
    """Targets of every strange kind, told as one reply or hop by hop."""
    internet = FakeInternet(whole_chains=request.param)
    _hops(internet, 16, "s")
    _hops(internet, 17, "t")
    internet.cname("ring1.test", "ring2.test")
    internet.cname("ring2.test", "ring1.test")
    internet.cname("self.test", "self.test")
    internet.set("huge.test", "A", [f"100.64.{third}.{last}" for third in range(6) for last in range(250)])
    internet.set("vast.test", "A", [f"100.65.{third}.{last}" for third in range(12) for last in range(250)])
    internet.set("private.test", "A", ["10.1.2.3", "192.168.0.9"], 1)
    internet.set("zero.test", "A", ["203.0.113.60"], 0)
    internet.set("overflow.test", "A", ["203.0.113.61"], 2**31)
    internet.set("longest.test", "A", ["203.0.113.62"], 2**31 - 1)
    internet.cname("half.test", "missing.test")
    internet.cname("lost.test", "dead.test")
    internet.moods["dead.test"] = Mood.SILENT if not request.param else Mood.HONEST
    internet.set("truncated.test", "A", ["203.0.113.63"])
    internet.moods["truncated.test"] = Mood.TRUNCATED
    internet.cname("back.test", "flat.example.net")
    internet.start()
    yield internet
    internet.stop()


_TARGETS = (
    "s0", "t0", "ring1", "self", "huge", "vast", "private", "zero", "overflow", "longest", "half", "lost", "truncated",
    "back",
)  # fmt: skip
_PLACEHOLDER = "192.0.2.99"  # the wildcard of the zone


@pytest.fixture(scope="module")
def flattening(strange: FakeInternet, nsd: Nsd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    flatten: dict[str, dict[str, object]] = {
        f"{name}.example.com": {"target": f"{name}.test", "types": ["A"]} for name in _TARGETS
    }
    flatten["flat.example.net"] = {"target": "s16.test", "types": ["A"]}
    config = configuration(
        upstream=[nsd.address], resolver=[strange.address], resolver_={"timeout": "8s"}, flatten=flatten
    )
    with Proxy(tmp_path_factory.mktemp("proxy"), config) as running:
        yield running


def _flattened(proxy: Proxy, name: str, *, tcp: bool = False) -> dns.message.Message:
    return proxy.ask(dns.message.make_query(f"{name}.example.com", "A"), tcp=tcp)


def _addresses(reply: dns.message.Message) -> list[str]:
    return [rdata.to_text() for rrset in reply.answer for rdata in rrset]


def _outcomes(proxy: Proxy, name: str) -> set[str]:
    samples = proxy.metrics().samples("resolutions_total", name=f"{name}.example.com", type="A")
    return {labels["outcome"] for labels, value in samples if value}


def test_a_chain_of_16_is_followed(flattening: Proxy) -> None:
    until(lambda: flattening.metrics().rung("s0.example.com") == "fresh", "also where the first try took too long")
    assert _addresses(_flattened(flattening, "s0")) == ["203.0.113.50"]
    assert flattening.metrics().value("chain_length", name="s0.example.com", type="A") == 17


def test_a_chain_of_17_is_not(flattening: Proxy) -> None:
    assert _addresses(_flattened(flattening, "t0")) == [_PLACEHOLDER]
    until(lambda: "too_long" in _outcomes(flattening, "t0"), "the reason")
    assert _outcomes(flattening, "t0") <= {"too_long", "timeout"}, "a busy machine may need a second try"
    assert flattening.metrics().rung("t0.example.com") == "upstream"


@pytest.mark.parametrize("name", ["ring1", "self"])
def test_a_loop_ends(flattening: Proxy, strange: FakeInternet, name: str) -> None:
    assert _addresses(_flattened(flattening, name)) == [_PLACEHOLDER]
    assert _outcomes(flattening, name) == {"loop"}
    assert strange.asked[f"{name}.test", "A"] <= 3


def test_a_chain_that_breaks(flattening: Proxy) -> None:
    """To a name that does not exist: NODATA, for that is an answer."""
    reply = _flattened(flattening, "half")
    assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])
    assert _outcomes(flattening, "half") == {"nxdomain"}


def test_a_huge_set_is_truncated_over_udp_and_whole_over_tcp(flattening: Proxy) -> None:
    """1,500 addresses are 24,000 octets."""
    wire = dnsio.udp(flattening.address, queries.query(wire_name("huge.example.com"), 1, tail=packets.edns(65535)))
    assert wire is not None
    assert len(wire) <= 1232
    assert wire[2] & 0x02
    whole = _flattened(flattening, "huge", tcp=True)
    assert not whole.flags & dns.flags.TC
    assert len(set(_addresses(whole))) == 1500
    shown = list(flattening.metrics().samples("address_info", name="huge.example.com"))
    assert 0 < len(shown) < 100, "a huge set does not fill a scrape"


def test_a_vast_set_is_bounded(flattening: Proxy) -> None:
    """3,000 addresses: what is answered fits a message, all of it is true, and it takes no time to speak of."""
    reply = _flattened(flattening, "vast", tcp=True)
    assert reply.rcode() == dns.rcode.NOERROR
    addresses = _addresses(reply)
    assert 1000 <= len(set(addresses)) == len(addresses) <= 3000
    assert all(address.startswith("100.65.") for address in addresses)


def test_private_addresses_are_answered_where_that_is_meant(flattening: Proxy) -> None:
    assert sorted(_addresses(_flattened(flattening, "private"))) == ["10.1.2.3", "192.168.0.9"]
    assert flattening.since(0, "address_refused") == []


def test_a_ttl_of_zero_is_passed_on(flattening: Proxy, strange: FakeInternet) -> None:
    """Not to be cached by anybody; the resolver is still not asked once a query."""
    before = strange.asked["zero.test", "A"]
    for _ in range(50):
        reply = _flattened(flattening, "zero")
        assert _addresses(reply) == ["203.0.113.60"]
        assert reply.answer[0].ttl == 0
    assert strange.asked["zero.test", "A"] - before < 25
    assert flattening.metrics().rung("zero.example.com") == "fresh"


def test_a_ttl_with_the_top_bit_set_counts_as_zero(flattening: Proxy) -> None:
    """RFC 2181 section 8."""
    reply = _flattened(flattening, "overflow")
    assert _addresses(reply) == ["203.0.113.61"]
    assert reply.answer[0].ttl == 0


def test_the_longest_ttl_is_capped(flattening: Proxy) -> None:
    reply = _flattened(flattening, "longest")
    assert _addresses(reply) == ["203.0.113.62"]
    assert reply.answer[0].ttl <= 300


def test_a_truncated_reply_is_asked_for_again_over_tcp(flattening: Proxy) -> None:
    assert _addresses(_flattened(flattening, "truncated")) == ["203.0.113.63"]


def test_a_chain_that_reaches_a_flagged_name_goes_on_with_its_target(flattening: Proxy) -> None:
    assert _addresses(_flattened(flattening, "back")) == ["203.0.113.50"]


def test_what_is_lost_is_down_the_ladder(flattening: Proxy, strange: FakeInternet) -> None:
    if strange.whole_chains:
        assert _flattened(flattening, "lost").answer == []
    else:
        assert _addresses(_flattened(flattening, "lost")) == [_PLACEHOLDER]
        until(lambda: _outcomes(flattening, "lost") == {"timeout"}, "its end, a moment after that of the waiting")
