from __future__ import annotations

from typing import Any

import pytest

from flatproxy.diagnose.findings import Finding, Severity
from flatproxy.diagnose.targets import Use, about_fallback, judge_target, uses_of
from flatproxy.diagnose.traces import Walk
from flatproxy.errors import ChainBroken, ChainLoop, ChainTooLong, FlatproxyError, UpstreamTimeout
from flatproxy.flatten.chain import Found

from .replies import rule, settings, wire

GLOBAL = bytes([8, 8, 8, 8])
PRIVATE = bytes([10, 0, 0, 1])


def found(rdtype: str, *rdatas: bytes, ttl_s: int = 60, outcome: str = "") -> Walk:
    outcome = outcome or ("addresses" if rdatas else "nodata")
    return Walk(rdtype=rdtype, found=Found(rdatas=rdatas, ttl_s=ttl_s, names=("lb.test",), outcome=outcome))


def failed(rdtype: str, error: FlatproxyError) -> Walk:
    return Walk(rdtype=rdtype, error=error)


def judged(*walks: Walk, **keys: Any) -> list[Finding]:
    return list(judge_target(Use(rule(**keys), wire("lb.test"), [wire("example.com")]), walks))


def test_addresses_of_one_family_are_enough() -> None:
    assert judged(found("A", GLOBAL), found("AAAA")) == []


@pytest.mark.parametrize("outcome", ["nodata", "nxdomain"])
def test_no_address_at_all_is_an_error(outcome: str) -> None:
    (finding,) = judged(found("A", outcome=outcome), found("AAAA", outcome=outcome))
    assert finding.severity is Severity.ERROR
    assert finding.key == 'flatten."example.com".target'
    assert finding.value == "lb.test"
    assert ("does not exist" in finding.what) == (outcome == "nxdomain")
    assert "A or AAAA" in finding.what


def test_a_failure_of_both_types_is_one_error_and_says_what_clients_get() -> None:
    walks = (failed("A", UpstreamTimeout("slow")), failed("AAAA", UpstreamTimeout("slow")))
    (finding,) = judged(*walks)
    assert finding.severity is Severity.ERROR
    assert finding.what == "the target cannot be resolved: slow. Clients get what the nameserver has at the name"
    (finding,) = judged(*walks, fallback=["192.0.2.10"])
    assert finding.what.endswith("Clients get fallback")


def test_a_failure_of_one_type_beside_a_denial_is_an_error_as_well() -> None:
    (finding,) = judged(failed("A", ChainBroken("broken")), found("AAAA"))
    assert finding.severity is Severity.ERROR


@pytest.mark.parametrize("error", [ChainBroken("broken"), ChainTooLong("long"), UpstreamTimeout("slow")])
def test_a_failure_of_one_type_alone_is_a_warning(error: FlatproxyError) -> None:
    (finding,) = judged(found("A", GLOBAL), failed("AAAA", error))
    assert finding.severity is Severity.WARNING
    assert finding.what == f"AAAA cannot be resolved: {error}"


def test_a_loop_is_an_error_even_of_one_type() -> None:
    (finding,) = judged(found("A", GLOBAL), failed("AAAA", ChainLoop("a comes again after a → b")))
    assert finding.severity is Severity.ERROR
    assert "loop" in finding.what


def test_addresses_that_not_everybody_reaches() -> None:
    (finding,) = judged(found("A", GLOBAL, PRIVATE))
    assert finding.severity is Severity.WARNING
    assert "10.0.0.1" in finding.what
    assert "8.8.8.8" not in finding.what


def test_a_ttl_of_zero_is_worth_a_word_unless_min_ttl_raises_it() -> None:
    (finding,) = judged(found("A", GLOBAL, ttl_s=0))
    assert finding.severity is Severity.INFO
    assert judged(found("A", GLOBAL, ttl_s=0), min_ttl="5s") == []
    assert judged(found("A", GLOBAL), found("AAAA", ttl_s=0)) == []


def test_private_fallback_addresses() -> None:
    name = [wire("example.com")]
    (finding,) = about_fallback(Use(rule(fallback=["192.0.2.10", "8.8.8.8"]), wire("lb.test"), name))
    assert finding.key == 'flatten."example.com".fallback'
    assert "192.0.2.10" in finding.what
    assert "8.8.8.8" not in finding.what
    assert not list(about_fallback(Use(rule(fallback=["8.8.8.8"]), wire("lb.test"), name)))
    assert not list(about_fallback(Use(rule(), wire("lb.test"), name)))


def test_names_with_one_rule_are_one_use() -> None:
    config = settings(
        {
            "a.example.com": {"target": "lb.test"},
            "b.example.com": {"target": "other.test"},
            "c.example.com": {"target": "lb.test"},
        }
    )
    uses = uses_of(config)
    assert [use.names for use in uses] == [[wire("a.example.com"), wire("c.example.com")], [wire("b.example.com")]]
    assert uses[0].value == "lb.test, also for 1 more name"
    assert uses[1].key == 'flatten."b.example.com".target'
