from __future__ import annotations

import dns.message
import dns.name
import dns.rdatatype
import pytest

from flatproxy.config.rules import Rule
from flatproxy.errors import ChainBroken, ChainLoop, ChainTooLong
from flatproxy.flatten.chain import Chain, Found
from flatproxy.flatten.scope import ConfiguredScope
from tests.unit.flatten.walking import SOA, response

A = dns.rdatatype.A
SHOP = b"\4shop\7example\3com\0"
ZONE = b"\7example\3com\0"


def chain(target: str = "lb.test", scope: ConfiguredScope | None = None) -> Chain:
    return Chain.to(dns.name.from_text(target), A, scope or ConfiguredScope({}, frozenset()))


def asks(walk: Chain) -> tuple[str, bool] | None:
    return (walk.ask.name.to_text(omit_final_dot=True), walk.ask.upstream) if walk.ask else None


def found(walk: Chain) -> Found:
    assert walk.ask is None
    assert walk.found is not None
    return walk.found


class TestOneResponse:
    def test_addresses(self) -> None:
        walk = chain()
        assert asks(walk) == ("lb.test", False)
        walk.receive(response("lb.test", ["lb.test. 60 IN A 192.0.2.2,192.0.2.1"]))
        end = found(walk)
        assert (end.rdatas, end.ttl_s, end.names, end.outcome) == (
            (b"\xc0\0\2\1", b"\xc0\0\2\2"),
            60,
            ("lb.test",),
            "addresses",
        )

    def test_the_least_ttl_of_the_chain(self) -> None:
        walk = chain()
        walk.receive(response("lb.test", ["lb.test. 7 IN CNAME a.test.", "a.test. 60 IN A 192.0.2.1"]))
        assert found(walk).ttl_s == 7
        assert found(walk).names == ("lb.test", "a.test")

    def test_letter_case_does_not_break_a_chain(self) -> None:
        walk = chain("LB.test")
        walk.receive(response("lb.test", ["lb.TEST. 7 IN CNAME A.test.", "a.Test. 60 IN A 192.0.2.1"]))
        assert found(walk).outcome == "addresses"

    @pytest.mark.parametrize(("rcode", "outcome"), [("NOERROR", "nodata"), ("NXDOMAIN", "nxdomain")])
    def test_a_denial_lives_as_long_as_its_soa_says(self, rcode: str, outcome: str) -> None:
        walk = chain()
        walk.receive(response("lb.test", [], [SOA], rcode=rcode))
        assert (found(walk).rdatas, found(walk).ttl_s, found(walk).outcome) == ((), 60, outcome)

    def test_a_denial_without_soa_lives_shortly(self) -> None:
        walk = chain()
        walk.receive(response("lb.test"))
        assert found(walk).ttl_s == 5

    def test_a_denial_at_the_end_of_a_chain(self) -> None:
        walk = chain()
        walk.receive(response("lb.test", ["lb.test. 7 IN CNAME a.test."], [SOA], rcode="NXDOMAIN"))
        assert (found(walk).outcome, found(walk).ttl_s) == ("nxdomain", 7)

    @pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "FORMERR"])
    def test_a_failure_is_said(self, rcode: str) -> None:
        with pytest.raises(ChainBroken, match=rcode):
            chain().receive(response("lb.test", rcode=rcode))

    def test_what_was_not_asked_for_is_refused(self) -> None:
        walk = chain()
        walk.receive(response("lb.test"))
        with pytest.raises(ChainBroken):
            walk.receive(response("lb.test"))


class TestSeveralResponses:
    def test_an_open_end_is_asked_for(self) -> None:
        walk = chain()
        walk.receive(response("lb.test", ["lb.test. 7 IN CNAME a.test."]))
        assert asks(walk) == ("a.test", False)
        walk.receive(response("a.test", ["a.test. 60 IN A 192.0.2.1"]))
        assert found(walk).ttl_s == 7

    def test_a_loop_over_two_responses(self) -> None:
        walk = chain()
        walk.receive(response("lb.test", ["lb.test. 7 IN CNAME a.test."]))
        with pytest.raises(ChainLoop, match=r"lb\.test comes again after lb\.test → a\.test"):
            walk.receive(response("a.test", ["a.test. 7 IN CNAME lb.test."]))


class TestScope:
    served = ConfiguredScope({}, frozenset({ZONE}))

    def test_a_served_name_is_asked_of_the_nameserver(self) -> None:
        walk = chain("lb.example.com", self.served)
        assert asks(walk) == ("lb.example.com", True)
        walk.receive(response("lb.example.com", ["lb.example.com. 60 IN CNAME lb.test."], aa=True))
        assert asks(walk) == ("lb.test", False)

    def test_a_resolver_is_not_believed_about_a_served_name(self) -> None:
        walk = chain("lb.test", self.served)
        lines = ["lb.test. 60 IN CNAME lb.example.com.", "lb.example.com. 60 IN A 203.0.113.9"]
        walk.receive(response("lb.test", lines))
        assert asks(walk) == ("lb.example.com", True)

    @pytest.mark.parametrize("rcode", ["NOERROR", "REFUSED"])
    def test_a_name_that_is_delegated_away_is_asked_of_the_resolvers(self, rcode: str) -> None:
        walk = chain("a.sub.example.com", self.served)
        referral = [] if rcode == "REFUSED" else ["sub.example.com. 60 IN NS ns.sub.example.com."]
        walk.receive(response("a.sub.example.com", [], referral, rcode=rcode))
        assert asks(walk) == ("a.sub.example.com", False)

    def test_every_zone_served_means_that_none_is_known(self) -> None:
        assert asks(chain("lb.test", ConfiguredScope({}, frozenset({b"\0"})))) == ("lb.test", False)

    def test_a_flagged_name_on_the_way_goes_on_with_its_target(self) -> None:
        scope = ConfiguredScope({SHOP: Rule(target=b"\5other\4test\0")}, frozenset({ZONE}))
        walk = chain("lb.test", scope)
        walk.receive(
            response("lb.test", ["lb.test. 9 IN CNAME shop.example.com.", "shop.example.com. 60 IN A 192.0.2.1"])
        )
        assert asks(walk) == ("other.test", False)
        walk.receive(response("other.test", ["other.test. 60 IN A 192.0.2.7"]))
        assert (found(walk).rdatas, found(walk).ttl_s) == ((b"\xc0\0\2\7",), 9)

    def test_flagged_names_that_point_at_each_other_are_a_loop(self) -> None:
        scope = ConfiguredScope({SHOP: Rule(target=ZONE), ZONE: Rule(target=SHOP)}, frozenset({ZONE}))
        with pytest.raises(ChainLoop):
            chain("shop.example.com", scope)

    def test_a_name_flagged_for_the_other_type_is_passed(self) -> None:
        scope = ConfiguredScope({SHOP: Rule(target=ZONE, types=frozenset({"AAAA"}))}, frozenset())
        assert asks(chain("shop.example.com", scope)) == ("shop.example.com", False)


def test_a_ttl_with_the_highest_bit_counts_as_0() -> None:
    walk = chain()
    message = response("lb.test", ["lb.test. 60 IN A 192.0.2.1"])
    message.answer[0].ttl = 2**31
    walk.receive(message)
    assert found(walk).ttl_s == 0


def test_each_hop_says_what_was_found_and_for_how_long() -> None:
    walk = chain()
    walk.receive(response("lb.test", ["lb.test. 7 IN CNAME a.test.", "a.test. 60 IN A 192.0.2.1"]))
    assert [(str(hop.name), hop.what, hop.ttl_s) for hop in walk.hops] == [
        ("lb.test.", "CNAME a.test.", 7),
        ("a.test.", "A 192.0.2.1", 60),
    ]


class TestServices:
    """HTTPS and SVCB: AliasMode is followed (RFC 9460 section 2.4.2)."""

    @staticmethod
    def walk() -> Chain:
        return Chain.to(dns.name.from_text("lb.test"), dns.rdatatype.HTTPS, ConfiguredScope({}, frozenset()))

    def test_service_mode_ends_the_chain_where_it_stands(self) -> None:
        walk = self.walk()
        answer = ["lb.test. 7 IN CNAME a.test.", 'a.test. 60 IN HTTPS 1 . alpn="h2"']
        walk.receive(_https("lb.test", answer))
        assert (found(walk).names, found(walk).ttl_s, len(found(walk).rdatas)) == (("lb.test", "a.test"), 7, 1)

    def test_alias_mode_is_the_next_question(self) -> None:
        walk = self.walk()
        walk.receive(_https("lb.test", ["lb.test. 7 IN HTTPS 0 a.test."]))
        assert asks(walk) == ("a.test", False)
        walk.receive(_https("a.test", ["a.test. 60 IN HTTPS 1 . port=8443"]))
        assert (found(walk).names, found(walk).ttl_s, found(walk).outcome) == (("lb.test", "a.test"), 7, "addresses")

    def test_an_alias_to_the_root_says_that_there_is_no_service(self) -> None:
        walk = self.walk()
        walk.receive(_https("lb.test", ["lb.test. 7 IN HTTPS 0 ."]))
        assert (found(walk).rdatas, found(walk).ttl_s, found(walk).outcome) == ((), 7, "nodata")

    def test_eight_aliases_and_no_more(self) -> None:
        walk = self.walk()
        owner = "lb.test"
        for number in range(8):
            walk.receive(_https(owner, [f"{owner}. 60 IN HTTPS 0 a{number}.test."]))
            owner = f"a{number}.test"
        assert asks(walk) == (owner, False)
        with pytest.raises(ChainTooLong, match="8 aliases"):
            walk.receive(_https(owner, [f"{owner}. 60 IN HTTPS 0 b.test."]))


def _https(name: str, answer: list[str]) -> dns.message.Message:
    made = response(name, answer)
    made.question[0].rdtype = dns.rdatatype.HTTPS
    return made
