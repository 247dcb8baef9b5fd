from __future__ import annotations

import tomllib
from ipaddress import IPv4Address
from time import perf_counter
from typing import Any

import pytest

from flatproxy.config.load import to_settings
from flatproxy.config.rules import Rule

from .configs import MINIMAL, flattened, keys, minimal, problems

LB = b"\x02lb\x07example\x03net\0"
NAME = b"\x07example\x03com\0"


def rules(**tables: Any) -> dict[bytes, Rule]:
    return dict(to_settings(flattened(**tables)).flatten)


def one(table: dict[str, Any], **defaults: object) -> dict[str, Any]:
    return flattened(flatten={"example.com": {"target": "lb.example.net", **table}}, defaults=defaults)


def test_a_name_has_the_defaults_below_its_own_keys() -> None:
    found = rules(
        defaults={"max_ttl": "1m", "any": "forward", "stale_for": "1h"},
        flatten={
            "example.com": {"target": "lb.example.net", "stale_for": "2h"},
            "www.example.com.": {"target": "LB.example.net", "any": "hinfo", "fallback": ["192.0.2.1"]},
        },
    )
    assert found == {
        NAME: Rule(target=LB, max_ttl_s=60, any="forward", stale_for_s=7200),
        b"\x03www" + NAME: Rule(target=LB, max_ttl_s=60, stale_for_s=3600, fallback=(IPv4Address("192.0.2.1"),)),
    }


def test_equal_rules_are_one_object() -> None:
    found = rules(
        defaults={"max_ttl": "60s"},
        flatten={
            "a.example.com": {"target": "lb.example.net"},
            "b.example.com": {"target": "LB.example.net."},
            "c.example.com": {"max_ttl": "1m", "target": "lb.example.net"},
            "d.example.com": {"target": "lb.example.net", "types": ["AAAA", "A"]},
            "e.example.com": {"target": "lb.example.net", "max_ttl": "61s"},
        },
    )
    first, *others = found.values()
    assert [rule is first for rule in others] == [True, True, True, False]


def test_rules_differ_by_the_order_of_their_fallback() -> None:
    addresses = ["192.0.2.1", "192.0.2.2"]
    found = rules(
        flatten={
            "a.example.com": {"target": "lb.example.net", "fallback": addresses},
            "b.example.com": {"target": "lb.example.net", "fallback": addresses[::-1]},
        }
    )
    assert len(set(found.values())) == 2


def test_the_root_zone_covers_every_name() -> None:
    raw = {**minimal(), "access": {"zones": ["."]}, "flatten": {"example.org": {"target": "lb.example.net"}}}
    assert keys(raw) == []


@pytest.mark.parametrize("name", ["example.com", "EXAMPLE.COM.", "a.b.example.com", r"a\.b.example.com"])
def test_a_name_in_a_zone_is_taken(name: str) -> None:
    assert keys(flattened(flatten={name: {"target": "lb.example.net"}})) == []


@pytest.mark.parametrize("name", ["example.net", "com", "badexample.com", "example.com.net", r"www\.example.com"])
def test_a_name_outside_of_the_zones_is_refused(name: str) -> None:
    (problem,) = problems(flattened(flatten={name: {"target": "lb.example.org"}}))
    assert problem.reason == "not in a zone of access.zones"
    assert "access.zones" in problem.write


def test_names_are_not_called_outside_where_the_zones_are_wrong() -> None:
    raw = {**minimal(), "access": {"zones": ["exam ple.com"]}, "flatten": {"example.com": {"target": "a.example"}}}
    assert keys(raw) == ["access.zones[0]"]
    raw["access"] = {}
    assert keys(raw) == ["access.zones"]


def test_a_name_twice_is_refused_where_it_is_written_again() -> None:
    table = {"target": "lb.example.net"}
    raw = flattened(
        flatten={"Example.com": table, "example.com": table, "EXAMPLE.COM.": table, r"\065.example.com": table}
    )
    found = problems({**raw, "flatten": {**raw["flatten"], "A.example.com": table}})
    assert [problem.key for problem in found] == [
        'flatten."example.com"',
        'flatten."EXAMPLE.COM."',
        'flatten."A.example.com"',
    ]
    assert found[0].reason == 'the same name as flatten."Example.com"'


def test_defaults_are_wrong_once_and_not_under_each_name() -> None:
    raw = flattened(
        defaults={"max_ttl": 5, "types": ["MX"], "min_ttl": "100s", "what": 1},
        flatten={f"n{number}.example.com": {"target": "lb.example.net", "max_ttl": "200s"} for number in range(3)},
    )
    assert keys(raw) == ["defaults.what", "defaults.types[0]", "defaults.max_ttl"]


BAD: list[tuple[dict[str, Any], dict[str, Any], str, str, str]] = [
    # table, defaults, key below the name, a part of the reason, what to write or its beginning
    ({"target": "EXAMPLE.com."}, {}, ".target", "its own target", "another name"),
    ({"target": "192.0.2.1"}, {}, ".target", "an IP address", "a host name"),
    ({"target": "bücher.example"}, {}, ".target", "ASCII", '"xn--bcher-kva.example"'),
    ({"target": ""}, {}, ".target", "empty", '"lb.example.net"'),
    ({"target": 5}, {}, ".target", "a string, not an integer", '"lb.example.net"'),
    ({"types": []}, {}, ".types", "nothing is flattened", '["A", "AAAA"]'),
    ({"types": "A"}, {}, ".types", "an array of strings", '["A"]'),
    ({"types": ["CNAME"]}, {}, ".types[0]", "only A, AAAA, SVCB and HTTPS can be flattened", '"A" or "AAAA"'),
    ({"types": ["A", "aaaa"]}, {}, ".types[1]", "only A, AAAA, SVCB and HTTPS can be flattened", '"AAAA"'),
    ({"types": ["A", "A"]}, {}, ".types[1]", "the same as item [0]", "each only once"),
    ({"types": [True]}, {}, ".types[0]", "only A, AAAA", '"A" or "AAAA"'),
    ({"max_ttl": "0s"}, {}, ".max_ttl", "1s to 7d", '"1s"'),
    ({"max_ttl": "8d"}, {}, ".max_ttl", "1s to 7d", '"7d"'),
    ({"max_ttl": 300}, {}, ".max_ttl", "a string", '"300s"'),
    ({"min_ttl": "0.5s"}, {}, ".min_ttl", "whole seconds", '"1s"'),
    ({"min_ttl": "301s"}, {}, ".min_ttl", "more than max_ttl, which is 300s", '"300s"'),
    ({"min_ttl": "60s", "max_ttl": "30s"}, {}, ".min_ttl", "more than max_ttl, which is 30s", '"30s"'),
    ({"max_ttl": "30s"}, {"min_ttl": "60s"}, ".max_ttl", "less than min_ttl, which is 60s", '"60s"'),
    ({"stale_for": "366d"}, {}, ".stale_for", "0s to 365d", '"365d"'),
    ({"stale_ttl": "8d"}, {}, ".stale_ttl", "0s to 7d", '"7d"'),
    ({"stale_ttl": False}, {}, ".stale_ttl", "a string", '"30s"'),
    ({"any": "HINFO"}, {}, ".any", "HINFO or forwarded", '"hinfo"'),
    ({"any": True}, {}, ".any", "HINFO or forwarded", '"hinfo" or "forward"'),
    ({"fallback": "192.0.2.1"}, {}, ".fallback", "an array of strings", '["192.0.2.1"]'),
    ({"fallback": ["a.example"]}, {}, ".fallback[0]", "would be a target", "an address"),
    ({"fallback": ["192.0.2.1", "192.0.2.1"]}, {}, ".fallback[1]", "the same as item [0]", "each only once"),
    ({"types": ["AAAA"], "fallback": ["2001:db8::1", "192.0.2.1"]}, {}, ".fallback[1]", 'no "A"', "types = "),
    ({"types": ["A"], "fallback": ["2001:db8::1"]}, {}, ".fallback[0]", 'no "AAAA"', 'types = ["A", "AAAA"]'),
    ({"fallback": ["192.0.2.1"]}, {"types": ["AAAA"]}, ".fallback[0]", 'no "A"', "types = "),
    ({"fallbck": []}, {}, ".fallbck", "did you mean fallback?", "fallback = []"),
    ({"servers": []}, {}, ".servers", "no such key", "servers = [] under [upstream]"),
]


@pytest.mark.parametrize(("table", "defaults", "key", "reason", "write"), BAD)
def test_a_wrong_table_is_said_with_its_key(
    table: dict[str, Any], defaults: dict[str, Any], key: str, reason: str, write: str
) -> None:
    (problem,) = problems(one(table, **defaults))
    assert problem.key == f'flatten."example.com"{key}'
    assert reason in problem.reason
    assert problem.write.startswith(write)


@pytest.mark.parametrize(
    ("name", "reason", "write"),
    [
        ("bücher.example.com", "ASCII", '[flatten."xn--bcher-kva.example.com"]'),
        ("", "empty", '[flatten."example.com"]'),
        (".", "the root cannot be flattened", "the name"),
        ("*.example.com", "exact", "each name"),
        ("a..example.com", "a label is empty", '[flatten."a.example.com"]'),
        ("a" * 64 + ".example.com", "63 octets", "a name whose labels"),
        ("192.0.2.1", "an IP address", "a host name"),
    ],
)
def test_a_wrong_name_is_said_with_its_table(name: str, reason: str, write: str) -> None:
    (problem,) = problems(flattened(flatten={name: {"target": "lb.example.net"}}))
    assert problem.key == f'flatten."{name}"'
    assert reason in problem.reason
    assert problem.write.startswith(write)


def test_defaults_that_clash_are_said_there() -> None:
    (problem,) = problems(one({}, min_ttl="10m"))
    assert (problem.key, problem.write) == ("defaults.min_ttl", '"300s"')
    assert keys(one({"max_ttl": "1h"}, min_ttl="10m")) == ["defaults.min_ttl"]


def test_min_ttl_may_reach_max_ttl() -> None:
    assert keys(one({"min_ttl": "5m"})) == []
    assert keys(one({"max_ttl": "1m"}, min_ttl="60s")) == []


def test_a_missing_target_is_asked_for() -> None:
    (problem,) = problems(flattened(flatten={"example.com": {}}))
    assert problem.key == 'flatten."example.com".target'
    assert problem.reason == "is required"
    assert problem.write.startswith('target = "lb.example.net"')


def test_a_value_in_place_of_a_table_is_refused() -> None:
    (problem,) = problems(flattened(flatten={"example.com": "lb.example.org"}))
    assert problem.key == 'flatten."example.com"'
    assert problem.write == '[flatten."example.com"]\ntarget = "lb.example.org"'


def test_a_wrong_key_hides_no_other() -> None:
    table = {"target": "example.com", "any": 1, "min_ttl": "9m", "types": ["A"], "fallback": [5, "2001:db8::1"]}
    assert keys(flattened(flatten={"example.com": table})) == [
        'flatten."example.com".any',
        'flatten."example.com".fallback[0]',
        'flatten."example.com".min_ttl',
        'flatten."example.com".fallback[1]',
        'flatten."example.com".target',
    ]


def test_a_wrong_key_makes_no_other_wrong() -> None:
    table = {"target": "lb.example.net", "max_ttl": "x", "min_ttl": "9m", "types": ["MX"], "fallback": ["2001:db8::1"]}
    assert keys(flattened(flatten={"example.com": table})) == [
        'flatten."example.com".types[0]',
        'flatten."example.com".max_ttl',
    ]


@pytest.mark.parametrize(
    ("toml", "found"),
    [
        ("[flatten.example.com]\ntarget = 'lb.example.net'", [("example", "example.com")]),
        (
            "[flatten.www.example.com]\ntarget='a.example'\n[flatten.www.example.net]\ntarget='a.example'",
            [("www", "www.example.com"), ("www", "www.example.net")],
        ),
        (
            "[flatten.a.b]\ntarget='a.example'\n[flatten.a.b.c]\ntarget='a.example'",
            [("a", "a.b"), ("a", "a.b.c")],
        ),
        ("[flatten.a." + "b." * 2000 + "b]\n", [("a", "a" + ".b" * 126)]),
    ],
)
def test_a_name_without_quotes_is_put_together_again(toml: str, found: list[tuple[str, str]]) -> None:
    problems_found = problems(tomllib.loads(MINIMAL + toml))
    assert [(problem.key, problem.write) for problem in problems_found] == [
        (f'flatten."{first}"', f'[flatten."{whole}"]') for first, whole in found
    ]
    assert all("quotes" in problem.reason for problem in problems_found)


def test_a_table_may_be_right_but_for_a_table_in_it() -> None:
    raw = tomllib.loads(
        MINIMAL + '[flatten."example.com"]\ntarget="lb.example.net"\n[flatten."example.com".net]\nany=1'
    )
    assert [(problem.key, problem.write) for problem in problems(raw)] == [
        ('flatten."example.com"', '[flatten."example.com.net"]')
    ]


def test_many_names_with_one_target_share_one_rule_and_are_quick() -> None:
    raw = flattened(
        defaults={"max_ttl": "1m"},
        flatten={
            f"n{number}.example.com": {"target": "lb.example.net", "fallback": ["192.0.2.1", "2001:db8::1"]}
            for number in range(20_000)
        },
    )
    start = perf_counter()
    found = to_settings(raw).flatten
    assert perf_counter() - start < 2  # generous: it takes about a tenth of a second
    assert len(found) == 20_000
    assert len({id(rule) for rule in found.values()}) == 1


def test_addresses_that_clash_with_types_or_allow() -> None:
    table = {
        "target": "lb.example.net",
        "types": ["A"],
        "allow": ["192.0.2.0/24"],
        "fallback": ["192.0.2.1", "198.51.100.1"],
        "pin": ["198.51.100.1", "2001:db8::1"],
    }
    found = problems({**minimal(), "flatten": {"example.com": table}})
    assert [(each.key, each.reason) for each in found] == [
        ('flatten."example.com".fallback[1]', "outside the networks of allow"),
        ('flatten."example.com".pin[1]', 'an IPv6 address, but types has no "AAAA"'),
    ]
    assert found[0].write == 'an address inside, or "198.51.100.1" in allow as well'
    (empty,) = problems({**minimal(), "flatten": {"example.com": {"target": "lb.example.net", "pin": []}}})
    assert (empty.key, empty.write) == ('flatten."example.com".pin', '["192.0.2.10"], or no such line')
