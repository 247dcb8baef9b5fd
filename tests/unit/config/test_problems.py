from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.config.problems import join, kind_of, quoted, toml_text
from flatproxy.config.tables import unknown_key


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (True, "a boolean", "true"),
        (1, "an integer", "1"),
        (1.5, "a float", "1.5"),
        ('a"b\n', "a string", r'"a\"b\n"'),
        ("bücher", "a string", '"bücher"'),
        ([1, ["a"]], "an array", '[1, ["a"]]'),
        ({"a b": {"c": []}}, "a table", '{"a b" = {c = []}}'),
        (date(2026, 1, 2), "a date or a time", "2026-01-02"),
        (time(1, 2), "a date or a time", "01:02:00"),
        (datetime(2026, 1, 2, tzinfo=UTC), "a date or a time", "2026-01-02T00:00:00+00:00"),
        (None, "something that TOML does not have", "None"),
    ],
)
def test_values_are_shown_as_toml(value: object, kind: str, text: str) -> None:
    assert kind_of(value) == kind
    assert toml_text(value) == text


def test_long_and_deep_values_are_cut() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert toml_text(deep) == "[[[[…]]]]"
    table: dict[str, Any] = {}
    for _ in range(100_000):
        table = {"a": table}
    assert toml_text(table) == "{a = {a = {a = {…}}}}"
    for value in ("x" * 1000, ["x"] * 1000, 10**5000, {str(number): number for number in range(1000)}):
        assert len(toml_text(value)) == 70
        assert toml_text(value).endswith("…")


@given(st.text().filter(lambda text: not any("\ud800" <= character <= "\udfff" for character in text)))
def test_quoted_text_is_toml_and_shows_on_a_terminal(text: str) -> None:
    shown = quoted(text)
    assert shown.isprintable()
    assert tomllib.loads(f"a = {shown}") == {"a": text}


def test_paths_are_written_as_in_the_file() -> None:
    assert join("", "listen") == "listen"
    assert join("listen", "dns") == "listen.dns"
    assert join("", "a b") == '"a b"'
    assert join("flatten", "com") == 'flatten."com"'
    assert join('flatten."com"', "target") == 'flatten."com".target'
    assert join("flatten", 'a"b') == r'flatten."a\"b"'


@pytest.mark.parametrize(
    ("path", "key", "value", "reason", "write"),
    [
        ("upstream", "timout", "2s", "did you mean timeout?", 'timeout = "2s"'),
        ("upstream", "Timeout", "2s", "did you mean timeout?", 'timeout = "2s"'),
        ("upstream", "server", "x" * 99, "did you mean servers?", "servers"),
        ("defaults", "fallback", ["192.0.2.1"], "no such key", 'fallback = ["192.0.2.1"] under [flatten."NAME"]'),
        ("upstream", "stale_for", "1d", "no such key", 'stale_for = "1d" under [defaults]'),
        ("upstream", "zzz", 1, "no such key", "no such line; the keys here are servers, timeout"),
        ("", "lisen", {}, "did you mean listen?", "[listen]"),
        ("", "zzz", 1, "no such table", "no such line; the tables here are servers, timeout"),
    ],
)
def test_an_unknown_key_gets_what_was_meant(path: str, key: str, value: object, reason: str, write: str) -> None:
    known = ["types", "max_ttl", "min_ttl"] if path == "defaults" else ["servers", "timeout"]
    found = unknown_key(path, key, value, [*known, "listen"] if key == "lisen" else known)
    assert found.key == (f"{path}.{key}" if path else key)
    assert reason in found.reason
    assert found.write == write
