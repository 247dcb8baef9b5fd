from __future__ import annotations

import gc
import hashlib
import re
import tomllib
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from attrs import fields

from flatproxy.config.health import HEALTH
from flatproxy.config.load import load, to_settings
from flatproxy.config.rules import Check, Checking, Rule
from flatproxy.config.settings import Access, Endpoint, Listen, Resolver, Settings, State, Upstream
from flatproxy.config.tables import INCLUDE, RULE, TABLE_KEYS
from flatproxy.errors import ConfigError

from .configs import MINIMAL, flattened, keys, minimal, problems

EXAMPLE = Path(__file__).parents[3] / "config" / "flatproxy.toml"

FULL = """
[listen]
dns  = ["0.0.0.0:53", "[::]:53"]
http = "127.0.0.1:9353"
[upstream]
servers = ["192.0.2.53:53", "2001:DB8::35", "[2001:db8::36]"]
timeout = "1500ms"
[access]
zones    = ["example.com", "Example.NET."]
query    = ["192.0.2.0/24", "2001:db8::1"]
transfer = ["198.51.100.7"]
update   = ["0.0.0.0/0"]
notify   = []
[resolver]
servers = ["system", "203.0.113.1", "203.0.113.1:5353", "[2001:db8::fe]:53"]
timeout = "1.8s"
[defaults]
types = ["A"]
max_ttl = "10m"
min_ttl = "1m"
stale_for = "12h"
stale_ttl = "15s"
any = "forward"
[flatten."example.com"]
target = "LB.example.org"
fallback = ["192.0.2.10"]
[flatten."www.example.net"]
target = "lb.example.org."
types = ["A", "AAAA"]
max_ttl = "300s"
min_ttl = "0s"
stale_for = "365d"
stale_ttl = "0s"
any = "hinfo"
fallback = ["192.0.2.10", "2001:db8::10"]
[state]
path = "/var/lib/flatproxy/answers.sqlite"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "flatproxy.toml"


def load_error(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value


def test_every_key_reaches_its_setting(config: Path) -> None:
    config.write_text(FULL)
    target = b"\x02lb\x07example\x03org\x00"
    assert load(config) == Settings(
        listen=Listen(dns=(Endpoint("0.0.0.0", 53), Endpoint("::", 53)), http=Endpoint("127.0.0.1", 9353)),
        upstream=Upstream(
            servers=(Endpoint("192.0.2.53", 53), Endpoint("2001:db8::35", 53), Endpoint("2001:db8::36", 53)),
            timeout_s=1.5,
        ),
        access=Access(
            zones=(b"\x07example\x03com\x00", b"\x07example\x03net\x00"),
            query=(IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8::1/128")),
            transfer=(IPv4Network("198.51.100.7/32"),),
            update=(IPv4Network("0.0.0.0/0"),),
            notify=(),
        ),
        resolver=Resolver(
            servers=(
                "system",
                Endpoint("203.0.113.1", 53),
                Endpoint("203.0.113.1", 5353),
                Endpoint("2001:db8::fe", 53),
            ),
            timeout_s=1.8,
        ),
        flatten={
            b"\x07example\x03com\x00": Rule(
                target=target,
                types=frozenset({"A"}),
                max_ttl_s=600,
                min_ttl_s=60,
                stale_for_s=43200,
                stale_ttl_s=15,
                any="forward",
                fallback=(IPv4Address("192.0.2.10"),),
            ),
            b"\x03www\x07example\x03net\x00": Rule(
                target=target,
                types=frozenset({"A", "AAAA"}),
                max_ttl_s=300,
                min_ttl_s=0,
                stale_for_s=365 * 86400,
                stale_ttl_s=0,
                any="hinfo",
                fallback=(IPv4Address("192.0.2.10"), IPv6Address("2001:db8::10")),
            ),
        },
        state=State(path=Path("/var/lib/flatproxy/answers.sqlite")),
        digest=hashlib.sha256(FULL.encode()).hexdigest(),
    )


def test_what_is_left_out_is_the_default_of_the_settings(config: Path) -> None:
    config.write_text(MINIMAL)
    assert load(config) == Settings(
        listen=Listen(dns=(Endpoint("127.0.0.1", 0),), http=None),
        upstream=Upstream(servers=(Endpoint("192.0.2.53", 53),)),
        access=Access(zones=(b"\x07example\x03com\x00",)),
        digest=hashlib.sha256(MINIMAL.encode()).hexdigest(),
    )


def test_the_example_loads_and_says_the_defaults() -> None:
    example = load(EXAMPLE)
    assert example.upstream == Upstream(servers=(Endpoint("192.0.2.53", 53),))
    assert example.resolver == Resolver()
    (rule,) = example.flatten.values()
    assert rule == Rule(target=rule.target, fallback=rule.fallback)
    assert example.access == Access(zones=example.access.zones)


def test_the_example_shows_every_key_below_a_comment() -> None:
    lines = EXAMPLE.read_text().splitlines()
    shown = {found[1] for line in lines if (found := re.match(r"(?:# )?([a-z_0-9]+) = ", line))}
    assert {key for table in TABLE_KEYS.values() for key in table} | set(RULE.keys) | {INCLUDE} <= shown
    for key in {"pin", "targets", "use", "tls", *TABLE_KEYS["fleet"]} | set(
        HEALTH.keys
    ):  # whoever copies the file must not have one
        assert f"\n# {key} = " in EXAMPLE.read_text(), key
    for number, line in enumerate(lines):
        if re.match(r"[a-z_0-9]+ = ", line):
            before = [text for text in lines[:number] if not re.match(r"[a-z_0-9]+ = ", text)]
            assert before[-1].startswith("#"), line


def test_the_example_of_several_targets_says_the_defaults() -> None:
    text = EXAMPLE.read_text()
    begin, end = text.index('# [flatten."app.example.net"]'), text.index("# Another name, with settings of its own")
    lines = [line[2:] for line in text[begin:end].splitlines() if not line.startswith("#  ")]
    raw = tomllib.loads(MINIMAL + "\n".join(lines))
    raw["access"]["zones"] = ["example.net"]
    (rule,) = to_settings(raw).flatten.values()
    assert rule.health is not None
    check = Check(kind="https", port=443, host="app.example.net", path="/healthz", ca_file=rule.health.check.ca_file)
    assert rule == Rule(target=rule.targets[0], targets=rule.targets, health=Checking(check=check))


def test_every_setting_has_its_table() -> None:
    tables = {attribute.name for attribute in fields(Settings)} - {"digest"}
    assert set(TABLE_KEYS) == tables | {"defaults"}


def test_windows_line_ends_and_a_byte_order_mark_are_read(config: Path) -> None:
    data = b"\xef\xbb\xbf" + FULL.replace("\n", "\r\n").encode()
    config.write_bytes(data)
    settings = load(config)
    assert len(settings.flatten) == 2
    assert settings.digest == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'[listen]\ndns = "\n', "line 2, column 8"),
        (b"[listen]\ndns = [,]\n", "line 2, column 8"),
        (b"[listen]\n[listen]\n", "line 2, column 8"),
        (b"a = 1\na = 2\n", "line 2"),
        (b"a = " + b"[" * 5000, "nested too deeply"),
        (b"a = " + b"1" * 5000, "not TOML"),
        (b"# a\n# \xff\n", "not UTF-8: line 2, octet 6"),
        (MINIMAL.encode("utf-16"), "not UTF-8: line 1, octet 0"),
        (b"a = '\0'\n", "line 1"),
    ],
)
def test_a_file_that_is_not_toml_is_one_problem(config: Path, data: bytes, reason: str) -> None:
    config.write_bytes(data)
    error = load_error(config)
    (problem,) = error.problems
    assert (problem.key, problem.value) == ("", "")
    assert reason in problem.reason
    assert problem.write
    assert str(error).startswith(f"{config}: not ")


def test_a_file_that_cannot_be_read_is_one_problem(config: Path, tmp_path: Path) -> None:
    for path, reason in (
        (config, "No such file"),
        (tmp_path, "Is a directory"),
        (config / "below", "No such file"),
        (tmp_path / "a\0b", "null"),
        (tmp_path / ("a" * 5000), "name too long"),
    ):
        error = load_error(path)
        assert reason in error.problems[0].reason
        assert str(error).startswith(f"{path}: cannot be read: ")


def test_the_garbage_collector_is_left_as_it_was(config: Path) -> None:
    try:
        for was_enabled in (False, True):
            for text in (MINIMAL, "", "["):
                (gc.enable if was_enabled else gc.disable)()
                config.write_text(text)
                with suppress(ConfigError):
                    load(config)
                assert gc.isenabled() is was_enabled
    finally:
        gc.enable()


def test_the_error_names_the_file_in_each_block(config: Path) -> None:
    config.write_text("[listen]\ndns = ['0.0.0.0']\n")
    error = load_error(config)
    assert error.file == str(config)
    blocks = [line for line in str(error).splitlines() if not line.startswith(" ")]
    assert len(blocks) == len(error.problems) == 3
    assert all(block.startswith(f"{config}: ") for block in blocks)


def test_all_problems_of_all_tables_are_found_at_once() -> None:
    raw = {
        "listen": {"dns": ["127.0.0.1:53", "nowhere"], "http": 9353},
        "upstream": {"servers": [5, "127.0.0.1"], "timout": "2s", "timeout": "0s"},
        "access": {"query": ["192.0.2.1/24", "x"], "zones": ["example.com"]},
        "resolver": {"servers": []},
        "defaults": {"types": ["MX"], "max_ttl": 5, "target": "a.example"},
        "flatten": {
            "example.com": {"target": "EXAMPLE.com", "any": "no", "fallback": ["x", "2001:db8::1"], "types": ["A"]},
            "example.org": {"targt": "lb.example.net", "min_ttl": "301s", "max_ttl": "300s"},
        },
        "state": {},
        "extra": 1,
    }
    assert sorted(keys(raw)) == sorted(
        [
            "extra",
            "listen.dns[1]",
            "listen.http",
            "upstream.servers[0]",
            "upstream.servers[1]",
            "upstream.timout",
            "upstream.timeout",
            "access.query[0]",
            "access.query[1]",
            "resolver.servers",
            "defaults.types[0]",
            "defaults.max_ttl",
            "defaults.target",
            'flatten."example.com".target',
            'flatten."example.com".any',
            'flatten."example.com".fallback[0]',
            'flatten."example.com".fallback[1]',
            'flatten."example.org"',
            'flatten."example.org".target',
            'flatten."example.org".targt',
            'flatten."example.org".min_ttl',
            "state.path",
        ]
    )


@pytest.mark.parametrize("table", ["listen", "upstream", "access"])
def test_a_required_table_is_asked_for(table: str) -> None:
    raw = minimal()
    del raw[table]
    (problem,) = problems(raw)
    assert problem.key == table
    assert "required" in problem.reason
    assert problem.write.startswith(f"[{table}]\n")


def test_an_empty_file_lacks_three_tables() -> None:
    assert keys({}) == ["listen", "upstream", "access"]


@pytest.mark.parametrize(
    ("dns", "server"),
    [
        ("192.0.2.1:53", "192.0.2.1"),
        ("192.0.2.1:5353", "192.0.2.1:5353"),
        ("[2001:db8::1]:53", "2001:0db8::0001"),
        ("0.0.0.0:53", "127.0.0.1"),
        ("0.0.0.0:53", "127.0.0.53"),
        ("[::]:53", "::1"),
    ],
)
def test_an_upstream_that_is_flatproxy_itself_is_refused(dns: str, server: str) -> None:
    raw = flattened(listen={"dns": ["198.51.100.9:53", dns]}, upstream={"servers": ["192.0.2.53", server]})
    (problem,) = problems(raw)
    assert problem.key == "upstream.servers[1]"
    assert "its own nameserver" in problem.reason
    assert ":5353" in problem.write


@pytest.mark.parametrize(
    ("dns", "server"),
    [
        ("192.0.2.1:53", "192.0.2.1:5353"),
        ("192.0.2.1:53", "192.0.2.2"),
        ("127.0.0.1:53", "127.0.0.2"),
        ("0.0.0.0:53", "192.0.2.1"),
        ("[::]:53", "127.0.0.1"),
        ("127.0.0.1:0", "127.0.0.1:53"),
    ],
)
def test_an_upstream_elsewhere_on_this_machine_is_fine(dns: str, server: str) -> None:
    assert keys(flattened(listen={"dns": [dns]}, upstream={"servers": [server]})) == []


def test_an_upstream_that_is_flatproxy_itself_and_stands_twice_is_told_once_as_that() -> None:
    raw = flattened(listen={"dns": ["127.0.0.1:53"]}, upstream={"servers": ["127.0.0.1", "127.0.0.1"]})
    assert [(problem.key, problem.reason[:8]) for problem in problems(raw)] == [
        ("upstream.servers[1]", "the same"),
        ("upstream.servers[0]", "flatprox"),
    ]


def test_unknown_keys_are_told_in_the_order_of_the_file() -> None:
    unknown = [f"key{number}" for number in (3, 1, 4, 5, 9, 2, 6)]
    assert keys(flattened(resolver=dict.fromkeys(unknown, 1))) == [f"resolver.{key}" for key in unknown]


def test_port_0_may_stand_twice_and_for_http() -> None:
    settings = to_settings(flattened(listen={"dns": ["127.0.0.1:0", "127.0.0.1:0"], "http": "127.0.0.1:0"}))
    assert settings.listen.dns == (Endpoint("127.0.0.1", 0),) * 2
    assert settings.listen.http == Endpoint("127.0.0.1", 0)
