"""`explain` in front of NSD: each hop, what sets the TTL, each rung of the ladder, and names that are not flagged."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from flatproxy.flatten.stores import sqlite as store
from flatproxy.flatten.stores.store import Row
from tests.support.configuration import configuration
from tests.support.internet import FakeInternet
from tests.support.ports import text
from tests.support.zones import PLACEHOLDERS, wire_name

from .commands import NOWHERE, WIDTH, Output, fill, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.nsd import Nsd

    Explain = Callable[..., Output]

NAME = "flat.example.net"


@pytest.fixture(scope="module")
def internet() -> Iterator[FakeInternet]:
    with FakeInternet() as net:
        fill(net)
        yield net


@pytest.fixture
def explain(nsd: Nsd, internet: FakeInternet, tmp_path: Path) -> Explain:
    def begin(name: str, target: str = "lb.cloud.test", *, as_text: bool = False, **keys: Any) -> Output:
        path = tmp_path / "flatproxy.toml"
        rule = {"target": target, **keys.pop("rule", {})}
        keys = {"upstream": [nsd.address], "resolver": [internet.address], "flatten": {NAME: rule}, **keys}
        path.write_text(configuration(**keys))
        return run("explain", "--config", str(path), name, *([] if as_text else ["--json"]))

    return begin


def types(done: Output) -> dict[str, Any]:
    return {each["type"]: each for each in done.json["types"]}


def test_each_hop_with_its_ttl_and_who_was_asked(explain: Explain, internet: FakeInternet) -> None:
    done = explain(NAME, as_text=True)
    resolver = text(internet.address)
    assert done.code == 0
    assert max(map(len, done.lines)) <= WIDTH
    assert done.lines[:10] == [
        "flat.example.net is flattened: its target is lb.cloud.test",
        "",
        "A",
        f"  lb.cloud.test  TTL 600  resolver {resolver}  CNAME edge.cdn.test",
        f"  edge.cdn.test  TTL 60   resolver {resolver}  CNAME pop.cdn.test",
        f"  pop.cdn.test   TTL 30   resolver {resolver}  A 198.51.100.7 198.51.100.8",
        "",
        "  answer     198.51.100.7, 198.51.100.8",
        "  TTL        30 s: the least in the chain, of pop.cdn.test",
        "  rung       fresh: the target resolves now",
    ]


def test_a_target_within_the_zones_is_asked_of_the_nameserver(explain: Explain, nsd: Nsd) -> None:
    done = explain("FLAT.example.net.", "host.example.net")
    assert done.code == 0
    assert done.json["name"] == NAME
    assert types(done)["A"]["chain"] == [
        {
            "name": "host.example.net",
            "what": "A 203.0.113.10",
            "ttl": 300,
            "asked": "nameserver",
            "server": text(nsd.address),
        }
    ]


@pytest.mark.parametrize(
    ("target", "rule", "ttl", "by"),
    [
        ("long.cloud.test", {}, 300, "max_ttl"),
        ("long.cloud.test", {"max_ttl": "2d"}, 86400, "chain"),
        ("short.cloud.test", {"min_ttl": "15s"}, 15, "min_ttl"),
    ],
)
def test_what_sets_the_ttl(explain: Explain, target: str, rule: dict[str, str], ttl: int, by: str) -> None:
    found = types(explain(NAME, target, rule=rule))["A"]
    assert (found["ttl"], found["ttl_limited_by"]) == (ttl, by)
    assert ttl - 10 < found["answer"]["ttl"] <= ttl, "what is left of it a moment later"


def test_a_family_that_the_target_lacks(explain: Explain) -> None:
    done = explain(NAME, "long.cloud.test")
    assert done.code == 0
    answer = types(done)["AAAA"]["answer"]
    assert (answer["rung"], answer["addresses"]) == ("fresh", [])


def kept(path: Path, age_s: float) -> dict[str, Any]:
    """A state file with an answer of this age for broken.cloud.test, and the table that names it."""
    row = Row(wire_name("broken.cloud.test"), 1, (bytes([198, 51, 100, 77]),), 300, (), time.time() - age_s)
    store.write(path, [row])
    return {"tables": {"state": {"path": str(path)}}}


def test_the_rungs_of_a_target_that_cannot_be_resolved(explain: Explain, tmp_path: Path) -> None:
    broken, path = "broken.cloud.test", tmp_path / "answers.sqlite"

    done = explain(NAME, broken, **kept(path, 20))
    assert done.code == 1
    answer = types(done)["A"]["answer"]
    assert (answer["rung"], answer["addresses"]) == ("fresh", ["198.51.100.77"])
    assert 180 < answer["ttl"] <= 280

    answer = types(explain(NAME, broken, **kept(path, 3965)))["A"]["answer"]
    assert (answer["rung"], answer["addresses"], answer["ttl"]) == ("stale", ["198.51.100.77"], 30)
    assert 3965 <= answer["age"] < 4020
    assert "1 h 6 min old" in answer["why"]

    rule = {"fallback": ["192.0.2.10"], "stale_for": "1h"}
    answer = types(explain(NAME, broken, rule=rule, **kept(path, 3965)))["A"]["answer"]
    assert (answer["rung"], answer["addresses"]) == ("fallback", ["192.0.2.10"])
    assert "too old" in answer["why"]

    answer = types(explain(NAME, broken))["A"]["answer"]
    assert answer["rung"] == "upstream"
    assert answer["nameserver"]["records"] == [f"{NAME} 300 A {PLACEHOLDERS['A']}"]
    assert "without [state]" in answer["why"]

    answer = types(explain(NAME, broken, upstream=[NOWHERE]))["A"]["answer"]
    assert answer["rung"] == "servfail"
    assert "connection refused" in answer["why"]


def test_the_rungs_as_text(explain: Explain, internet: FakeInternet, tmp_path: Path) -> None:
    done = explain(NAME, "broken.cloud.test", as_text=True, **kept(tmp_path / "answers.sqlite", 3965))
    assert done.code == 1
    assert done.lines[3:8] == [
        f"  broken.cloud.test  resolver {text(internet.address)}  SERVFAIL",
        "",
        "  answer     198.51.100.77",
        "  TTL        30 s: stale_ttl",
        "  rung       stale: the target cannot be resolved now: the state file's answer, 1 h 6 min old, holds",
    ]
    done = explain(NAME, "loop1.cloud.test", as_text=True, upstream=[NOWHERE])
    assert done.code == 1
    assert "  failure    loop1.cloud.test comes again after loop1.cloud.test → loop2.cloud.test" in done.lines
    assert "  answer     SERVFAIL" in done.lines


def test_a_signed_zone_is_said(explain: Explain) -> None:
    done = explain("signed.test", flatten={"signed.test": {"target": "lb.cloud.test"}})
    assert done.json["signed_zone"] == "signed.test"
    assert explain(NAME).json["signed_zone"] is None


def test_a_name_that_is_forwarded(explain: Explain, nsd: Nsd) -> None:
    done = explain("host.example.net")
    assert done.code == 0
    assert (done.json["verdict"], done.json["zone"], done.json["lands_on"]) == ("forwarded", "example.net", None)
    assert done.json["answers"][0] == {
        "type": "A",
        "server": text(nsd.address),
        "rcode": "NOERROR",
        "records": ["host.example.net 300 A 203.0.113.10"],
        "error": None,
    }
    assert explain("host.example.net", upstream=[NOWHERE]).code == 1


def test_a_cname_that_lands_on_a_flagged_name(explain: Explain) -> None:
    flatten = {"example.com": {"target": "lb.cloud.test"}}
    assert explain("deep.example.com", flatten=flatten).json["lands_on"] is None
    for name in ("www.example.com", "alias.example.com"):
        assert explain(name, flatten=flatten).json["lands_on"] == "example.com"
    done = explain("www.example.com", flatten=flatten, as_text=True)
    assert "Its CNAME lands on example.com, which is flagged" in done.out


def test_a_name_outside_the_zones_and_a_near_miss(explain: Explain) -> None:
    done = explain("flat.exampel.net", as_text=True)
    assert done.code == 0
    assert done.lines == [
        "flat.exampel.net is not flagged and in none of access.zones: every query for it is REFUSED",
        "",
        "Did you mean flat.example.net?",
    ]
    done = explain("www.flat.example.net")
    assert (done.json["verdict"], done.json["near"]) == ("forwarded", [NAME])


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64 + ".example.com", "http://example.com", "192.0.2.1"])
def test_what_is_no_name(explain: Explain, name: str) -> None:
    done = explain(name, as_text=True)
    assert done.code == 2
    assert done.out == ""
    assert repr(name) in done.err


def test_nobody_to_resolve(explain: Explain) -> None:
    done = explain(NAME, resolver=[NOWHERE])
    assert done.code == 1
    assert types(done)["A"]["error"] == "lb.cloud.test A: 127.0.0.1:9: connection refused"


def test_a_reader_that_has_enough_is_no_error(explain: Explain, tmp_path: Path) -> None:
    whole = explain(NAME, as_text=True)
    assert whole.code == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "flatproxy", "explain", "--config", str(tmp_path / "flatproxy.toml"), NAME],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(10) == 0


def test_a_terminal_without_the_characters_gets_others(explain: Explain, tmp_path: Path) -> None:
    explain(NAME, "loop1.cloud.test")
    done = subprocess.run(
        [sys.executable, "-m", "flatproxy", "explain", "--config", str(tmp_path / "flatproxy.toml"), NAME],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        check=False,
    )
    assert done.returncode == 1
    assert b"loop1.cloud.test ? loop2.cloud.test" in done.stdout


def test_what_guards_do_is_said(explain: Explain, tmp_path: Path) -> None:
    """Pinned, held by the state file, and refused."""
    pinned = types(explain(NAME, rule={"pin": ["192.0.2.77"]}))["A"]["answer"]
    assert (pinned["rung"], pinned["addresses"], pinned["ttl"]) == ("pinned", ["192.0.2.77"], 30)

    path = tmp_path / "state.sqlite"
    store.write(path, [Row(wire_name("gone.test"), 1, (b"\xc0\0\2\7",), 60, ("gone.test",), time.time() - 90)])
    held = types(explain(NAME, "gone.test", state={"path": str(path)}))["A"]["answer"]
    assert (held["rung"], held["addresses"]) == ("held", ["192.0.2.7"])
    assert "held for another" in held["why"]

    refused = types(explain(NAME, rule={"special": "refuse", "fallback": ["192.0.2.10"]}))["A"]["answer"]
    assert (refused["rung"], refused["addresses"]) == ("fallback", ["192.0.2.10"])
    assert "every address is refused: 198.51.100.7 is in 198.51.100.0/24 (documentation)" in refused["why"]
