from __future__ import annotations

from typing import Any

import pytest

from .configs import flattened, problems

BAD: list[tuple[dict[str, Any], str, str, str, str]] = [
    # tables, key, value, a part of the reason, a part of what to write
    ({"listen": 5}, "listen", "5", "a table is needed, not an integer", "[listen]\ndns = ["),
    ({"listen": [{}]}, "listen", "[{}]", "not an array", "[listen]"),
    ({"listen": {}}, "listen.dns", "", "is required", 'dns = ["0.0.0.0:53", "[::]:53"]'),
    ({"listen": {"dns": []}}, "listen.dns", "[]", "nobody can ask", '["0.0.0.0:53", "[::]:53"]'),
    ({"listen": {"dns": "0.0.0.0:53"}}, "listen.dns", '"0.0.0.0:53"', "an array of strings", '["0.0.0.0:53"]'),
    ({"listen": {"dns": 53}}, "listen.dns", "53", "not an integer", '["0.0.0.0:53", "[::]:53"]'),
    ({"listen": {"dns": [True]}}, "listen.dns[0]", "true", "a string, not a boolean", '"0.0.0.0:53"'),
    ({"listen": {"dns": ["192.0.2.1"]}}, "listen.dns[0]", '"192.0.2.1"', "needs a port", '"192.0.2.1:53"'),
    ({"listen": {"dns": ["::"]}}, "listen.dns[0]", '"::"', "needs a port", '"[::]:53"'),
    (
        {"listen": {"dns": ["192.0.2.1:53", "192.0.2.1:53"]}},
        "listen.dns[1]",
        '"192.0.2.1:53"',
        "the same as item [0]",
        "leave this one out",
    ),
    ({"listen": {"dns": ["192.0.2.1:53"], "http": 9353}}, "listen.http", "9353", "a string", '"127.0.0.1:9353"'),
    ({"listen": {"dns": ["192.0.2.1:53"], "http": False}}, "listen.http", "false", "a string", '"127.0.0.1:9353"'),
    (
        {"listen": {"dns": ["192.0.2.1:53"], "http": "127.0.0.1"}},
        "listen.http",
        '"127.0.0.1"',
        "needs a port",
        '"127.0.0.1:9353"',
    ),
    (
        {"listen": {"dns": ["192.0.2.1:53"], "http": "192.0.2.1:53"}},
        "listen.http",
        '"192.0.2.1:53"',
        "DNS over TCP listens there",
        '"192.0.2.1:9353"',
    ),
    ({"listen": {"dns": ["192.0.2.1:53"], "htp": "x"}}, "listen.htp", '"x"', "did you mean http?", 'http = "x"'),
    ({"upstream": {}}, "upstream.servers", "", "is required", 'servers = ["192.0.2.53:53"]'),
    ({"upstream": {"servers": []}}, "upstream.servers", "[]", "nothing can be forwarded", '["192.0.2.53:53"]'),
    ({"upstream": {"servers": ["ns.example.com"]}}, "upstream.servers[0]", '"ns.example.com"', "host names", "IP addr"),
    ({"upstream": {"servers": ["192.0.2.1:0"]}}, "upstream.servers[0]", '"192.0.2.1:0"', "no port 0", '"192.0.2.1:53"'),
    (
        {"upstream": {"servers": ["192.0.2.1", "192.0.2.1:53"]}},
        "upstream.servers[1]",
        '"192.0.2.1:53"',
        "the same as item [0]",
        "only once",
    ),
    ({"upstream": {"servers": ["192.0.2.1"], "timeout": 2}}, "upstream.timeout", "2", "a string of a number", '"2s"'),
    ({"upstream": {"servers": ["192.0.2.1"], "timeout": 1.5}}, "upstream.timeout", "1.5", "and a unit", '"1.5s"'),
    ({"upstream": {"servers": ["192.0.2.1"], "timeout": True}}, "upstream.timeout", "true", "a string", '"2s"'),
    ({"upstream": {"servers": ["192.0.2.1"], "timeout": "0s"}}, "upstream.timeout", '"0s"', "more than 0s", '"2s"'),
    ({"upstream": {"servers": ["192.0.2.1"], "timeout": "61s"}}, "upstream.timeout", '"61s"', "at most 60s", '"60s"'),
    ({"access": {}}, "access.zones", "", "is required", 'zones = ["."] for every name'),
    ({"access": {"zones": []}}, "access.zones", "[]", "every query is refused", '["."] for every name'),
    ({"access": {"zones": "example.com"}}, "access.zones", '"example.com"', "an array", '["example.com"]'),
    ({"access": {"zones": [""]}}, "access.zones[0]", '""', "empty", '"example.com"'),
    (
        {"access": {"zones": ["example.com", "EXAMPLE.COM."]}},
        "access.zones[1]",
        '"EXAMPLE.COM."',
        "the same as item [0]",
        "leave this one out",
    ),
    ({"access": {"zones": ["."], "query": "any"}}, "access.query", '"any"', "an array", '["192.0.2.0/24", "2001:'),
    (
        {"access": {"zones": ["."], "transfer": ["192.0.2.1/24"]}},
        "access.transfer[0]",
        '"192.0.2.1/24"',
        "bits set outside",
        '"192.0.2.0/24"',
    ),
    ({"access": {"zones": ["."], "permit": []}}, "access.permit", "[]", "no such key", "zones, query, transfer"),
    ({"access": {"zones": ["."], "timeout": "1s"}}, "access.timeout", '"1s"', "no such key", "under [upstream]"),
    ({"defaults": {"special": "deny"}}, "defaults.special", '"deny"', "refused or allowed", '"refuse" or "allow"'),
    ({"defaults": {"hold_absent": "31d"}}, "defaults.hold_absent", '"31d"', "out of range", '"30d"'),
    ({"defaults": {"allow": ["10.0.0.1/8"]}}, "defaults.allow[0]", '"10.0.0.1/8"', "bits set outside", '"10.0.0.0/8"'),
    (
        {"resolver": {"client_subnet": "on"}},
        "resolver.client_subnet",
        '"on"',
        "of its client (synthesize)",
        '"off" or "forward" or "synthesize"',
    ),
    ({"resolver": {"subnet_v4": 33}}, "resolver.subnet_v4", "33", "from 1 to 32", "24"),
    ({"resolver": {"subnet_v6": 0}}, "resolver.subnet_v6", "0", "from 1 to 128", "56"),
    (
        {"defaults": {"client_subnet": "forward"}},
        "defaults.client_subnet",
        '"forward"',
        "no such key",
        "under [resolver]",
    ),
    ({"defaults": {"pin": ["192.0.2.1"]}}, "defaults.pin", '["192.0.2.1"]', "no such key", 'under [flatten."NAME"]'),
    ({"resolver": {"servers": []}}, "resolver.servers", "[]", "no target can be resolved", '["system"]'),
    ({"resolver": {"servers": ["System"]}}, "resolver.servers[0]", '"System"', "not an IP address", '"system"'),
    ({"resolver": {"servers": ["192.0.2.1:0"]}}, "resolver.servers[0]", '"192.0.2.1:0"', "port 0", '"192.0.2.1:53"'),
    ({"resolver": {"timeout": "5"}}, "resolver.timeout", '"5"', "and a unit", '"5s"'),
    ({"resolver": None}, "resolver", "None", "a table is needed", "[resolver]"),
    ({"state": {}}, "state.path", "", "is required", 'path = "/var/lib/flatproxy/answers.sqlite"'),
    ({"state": {"path": ""}}, "state.path", '""', "not the path of a file", '"/var/lib/'),
    ({"state": {"path": 1}}, "state.path", "1", "a path is a string", '"/var/lib/'),
    ({"state": "a"}, "state", '"a"', "a table is needed, not a string", "[state]\npath = "),
    ({"defaults": []}, "defaults", "[]", "a table is needed", "[defaults]"),
    ({"flatten": "x"}, "flatten", '"x"', "a table is needed", '[flatten."example.com"]\ntarget = '),
    ({"upstreams": {}}, "upstreams", "{}", "did you mean upstream?", "[upstream]"),
    ({"zones": ["."]}, "zones", '["."]', "no such table", 'zones = ["."] under [access]'),
    ({"x y": 1}, '"x y"', "1", "no such table", "the tables here are listen, upstream"),
]


@pytest.mark.parametrize(("tables", "key", "value", "reason", "write"), BAD)
def test_a_wrong_value_is_said_with_its_key(
    tables: dict[str, Any], key: str, value: str, reason: str, write: str
) -> None:
    (problem,) = problems(flattened(**tables))
    assert (problem.key, problem.value) == (key, value)
    assert reason in problem.reason
    assert write in problem.write
