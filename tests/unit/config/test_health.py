"""Several targets and checks of their addresses, as a file has them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from flatproxy.config.load import to_settings
from flatproxy.config.rules import Check, Checking, Rule

from .configs import MINIMAL, problems

EU, US, BRANCH = b"\2eu\4test\0", b"\2us\4test\0", b"\6branch\4test\0"
NAME = 'flatten."example.com"'
ONE = f'[{NAME}]\ntarget = "eu.test"\n'
TWO = f'[{NAME}]\ntargets = ["eu.test", "us.test"]\n'
HTTPS = Check(kind="https", port=443, host="example.com")


def raw(text: str) -> dict[str, Any]:
    return tomllib.loads(MINIMAL + text)


def rule_of(text: str) -> Rule:
    (rule,) = to_settings(raw(text)).flatten.values()
    return rule


def checked(*lines: str) -> str:
    return ONE + f"[{NAME}.health]\n" + "".join(f"{line}\n" for line in lines)


def test_targets_stand_in_place_of_target() -> None:
    assert rule_of(TWO) == Rule(target=EU, targets=(EU, US))
    assert rule_of(TWO + 'use = "all"').use == "all"


def test_one_of_several_is_as_one() -> None:
    assert rule_of(f'[{NAME}]\ntargets = ["eu.test"]\nuse = "all"') == rule_of(ONE)


def test_the_defaults_of_health() -> None:
    assert rule_of(checked('check = "https"')).health == Checking(check=HTTPS, minimum=0.5)
    http, tcp = rule_of(checked('check = "http"')).health, rule_of(checked('check = "tcp"', "port = 25")).health
    assert http is not None
    assert (http.check.port, http.check.host) == (80, "example.com")
    assert tcp is not None
    assert (tcp.check.port, tcp.check.host) == (25, "")


def test_every_key_of_health() -> None:
    lines = (
        'check = "https"',
        "port = 8443",
        'path = "/healthz?deep=1"',
        'host = "WWW.example.com."',
        'status = ["200-299", "404", 418]',
        'ca_file = "/etc/ssl/ca.pem"',
        'interval = "1h"',
        'timeout = "1.5s"',
        "fall = 1",
        "rise = 100",
        "minimum = 1",
    )
    check = Check(
        kind="https",
        port=8443,
        host="www.example.com",
        path="/healthz?deep=1",
        status=((200, 299), (404, 404), (418, 418)),
        ca_file=Path("/etc/ssl/ca.pem"),
        interval_s=3600,
        timeout_s=1.5,
        fall=1,
        rise=100,
    )
    assert rule_of(checked(*lines)).health == Checking(check=check, minimum=1.0)


def test_names_with_equal_tables_are_asked_for_by_their_own_names() -> None:
    text = "".join(
        f'[flatten."{name}"]\ntarget = "eu.test"\nhealth = {{check = "http"}}\n'
        for name in ("a.example.com", "example.com")
    )
    hosts = [rule.health.check.host for rule in to_settings(raw(text)).flatten.values() if rule.health]
    assert hosts == ["a.example.com", "example.com"]


def test_a_view_inherits_targets_and_health_and_overrides_them() -> None:
    views = '[views.a]\nclients = ["10.0.0.0/8"]\n[views.b]\nclients = ["192.168.0.0/16"]\n'
    text = (
        views
        + TWO
        + 'use = "all"\nhealth = {check = "https"}\n'
        + f'[{NAME}.views.a]\ntarget = "branch.test"\n'
        + f'[{NAME}.views.b]\nmax_ttl = "5s"\nhealth = {{check = "tcp", port = 7}}\n'
    )
    health = Checking(check=HTTPS)
    rule = rule_of(text)
    assert rule.health == health
    assert dict(rule.views) == {
        "a": Rule(target=BRANCH, health=health),
        "b": Rule(
            target=EU, targets=(EU, US), use="all", max_ttl_s=5, health=Checking(check=Check(kind="tcp", port=7))
        ),
    }


@pytest.mark.parametrize(
    ("text", "key", "reason", "write"),
    [
        (TWO + 'target = "a.test"', "target", "targets stand there", "targets = ["),
        (f"[{NAME}]\ntargets = []", "targets", "nothing to answer", '["lb-eu'),
        (f'[{NAME}]\ntargets = "eu.test"', "targets", "an array", '["eu.test"]'),
        (f'[{NAME}]\ntargets = ["eu.test", "eu.test"]', "targets[1]", "same as item [0]", "only once"),
        (f'[{NAME}]\ntargets = ["eu.test", "192.0.2.1"]', "targets[1]", "not a name", "a host name"),
        (f'[{NAME}]\ntargets = ["eu.test", "example.com"]', "targets[1]", "its own target", "another name"),
        (TWO + 'use = "best"', "use", "the first target that is well", '"first" or "all"'),
        (ONE + 'use = "all"', "use", "which of several", "targets = ["),
        (ONE + 'health = "https"', "health", "a table is needed", 'check = "https"'),
        (TWO + 'types = ["HTTPS"]', "targets", "chosen by addresses", '"A"'),
        (ONE + 'types = ["HTTPS"]\nhealth = {check = "http"}', "health", "chosen by addresses", '"A"'),
        (checked(), "health.check", "is required", 'check = "https"'),
        (checked('check = "ping"'), "health.check", "tcp, http or https", '"http"'),
        (checked('check = "tcp"'), "health.port", "required where check", "port = 443"),
        (checked('check = "tcp"', "port = 1", 'path = "/"'), "health.path", "no use", "leave the line out"),
        (checked('check = "http"', "verify = false"), "health.verify", "no use", 'check = "https"'),
        (checked('check = "https"', "verify = false", 'ca_file = "x"'), "health.ca_file", "verify is false", "one of"),
        (checked('check = "http"', "port = 65536"), "health.port", "1 to 65535", "443"),
        (checked('check = "http"', 'path = "healthz"'), "health.path", "begins with a slash", '"/healthz"'),
        (checked('check = "http"', 'path = "/a b"'), "health.path", "blanks", "%20"),
        (checked('check = "http"', 'host = "192.0.2.1"'), "health.host", "not a name", "a host name"),
        (checked('check = "http"', 'status = ["2xx"]'), "health.status[0]", "one code", '"200-399"'),
        (checked('check = "http"', 'status = ["399-200"]'), "health.status[0]", "lower one comes first", '"200-399"'),
        (checked('check = "http"', 'status = ["600"]'), "health.status[0]", "100 to 599", '"200-399"'),
        (checked('check = "http"', "status = []"), "health.status", "every answer is bad", '["200-399"]'),
        (checked('check = "http"', 'interval = "900ms"'), "health.interval", "1s to 1h", '"1s"'),
        (checked('check = "http"', 'interval = "2h"'), "health.interval", "1s to 1h", '"1h"'),
        (checked('check = "http"', 'timeout = "10s"'), "health.timeout", "not below interval", '"5s"'),
        (checked('check = "http"', 'interval = "3s"'), "health.interval", "not above timeout", "timeout ="),
        (checked('check = "http"', "fall = 0"), "health.fall", "1 to 100", "3"),
        (checked('check = "http"', "rise = 1.5"), "health.rise", "whole number", "2"),
        (checked('check = "http"', "minimum = 50"), "health.minimum", "0 to 1", "0.5"),
        (checked('check = "http"', 'minimum = "half"'), "health.minimum", "a number", "0.5"),
        (checked('check = "http"', "paths = 1"), "health.paths", "did you mean path?", "path = 1"),
    ],
)
def test_what_cannot_stand_there_says_what_to_write(text: str, key: str, reason: str, write: str) -> None:
    (found,) = problems(raw(text))
    assert found.key == f"{NAME}.{key}"
    assert reason in found.reason
    assert write in found.write


def test_a_target_of_one_name_only_has_no_default() -> None:
    (found,) = problems(raw('[defaults]\ntargets = ["eu.test"]\n'))
    assert found.write == 'targets = ["eu.test"] under [flatten."NAME"]'


def test_a_zone_named_health_needs_its_quotes_too() -> None:
    (found,) = problems(raw('[flatten.example.health]\ntarget = "eu.test"\n'))
    assert found.write == '[flatten."example.health"]'
