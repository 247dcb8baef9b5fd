"""`[dnssec."ZONE"]` and `require_ad`: what is read, and what is said of what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flatproxy.config.load import to_settings
from flatproxy.config.settings import Dnssec
from flatproxy.errors import ConfigError

RAW: dict[str, Any] = {
    "listen": {"dns": ["127.0.0.1:0"]},
    "upstream": {"servers": ["192.0.2.53"]},
    "access": {"zones": ["example.com"]},
}
BASE = "/etc/flatproxy/keys/Kexample.com.+013+34567"


def refusal(raw: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        to_settings({**RAW, **raw})
    return str(caught.value)


@pytest.mark.parametrize("value", [BASE, [BASE], f"{BASE}.key", f"{BASE}.private"])
def test_a_pair_is_named_as_it_comes_to_hand(value: object) -> None:
    settings = to_settings({**RAW, "dnssec": {"Example.COM.": {"key": value}}})
    assert settings.dnssec == {b"\7example\3com\0": Dnssec(key=(Path(BASE),))}


def test_the_first_key_is_the_best() -> None:
    settings = to_settings({**RAW, "dnssec": {"example.com": {"key": ["/new", "/old"]}}})
    assert settings.dnssec[b"\7example\3com\0"].key == (Path("/new"), Path("/old"))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"example.com": {}}, 'dnssec."example.com".key: is required'),
        ({"example.org": {"key": BASE}}, "not a zone of access.zones"),
        ({".": {"key": BASE}}, "not a zone of access.zones"),
        ({"example.com": BASE}, "a table is needed"),
        ({"example.com": {"key": []}}, "at least one"),
        ({"example.com": {"key": 5}}, "a path is a string"),
        ({"example.com": {"key": BASE}, "EXAMPLE.com": {"key": BASE}}, "there twice"),
        ({"example.com": {"keys": BASE}}, "did you mean key?"),
    ],
)
def test_what_is_wrong_is_said(table: dict[str, object], expected: str) -> None:
    assert expected in refusal({"dnssec": table})


def test_only_a_resolver_on_this_machine_is_believed_to_have_validated() -> None:
    assert "resolver.servers[1]" in refusal({"resolver": {"servers": ["127.0.0.1", "192.0.2.1"], "require_ad": True}})
    settings = to_settings({**RAW, "resolver": {"servers": ["127.0.0.1", "[::1]:53"], "require_ad": True}})
    assert settings.resolver.require_ad
