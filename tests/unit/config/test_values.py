from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.config.problems import ItemRefusals, Refusal
from flatproxy.config.values import array, choice, file_path, parse_duration, timeout, whole_seconds

ttl = whole_seconds(1, "7d", '"300s"')
stale_for = whole_seconds(0, "365d", '"1d"')
short = timeout('"2s"')
word = choice(("A", "AAAA"), "only these")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", Fraction(0)),
        ("1.8s", Fraction(9, 5)),
        ("2000ms", Fraction(2)),
        ("1ms", Fraction(1, 1000)),
        ("5m", Fraction(300)),
        ("0.5h", Fraction(1800)),
        ("7d", Fraction(604800)),
        ("007s", Fraction(7)),
    ],
)
def test_a_duration_is_exact(text: str, seconds: Fraction) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "-1s",
        "+1s",
        "1 s",
        " 1s",
        "1s\n",
        "1S",
        "1.s",
        ".5s",
        "1e3s",
        "1d12h",
        "1w",
        "1us",
        "\u0665s",
        "1_0s",
    ],
)
def test_what_has_not_one_number_and_one_unit_is_no_duration(text: str) -> None:
    assert parse_duration(text) is None
    with pytest.raises(Refusal, match="ms, s, m, h, d"):
        ttl(text)


@given(st.integers(0, 10**9), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_units_are_multiples(number: int, unit: str) -> None:
    whole = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}[unit]
    assert parse_duration(f"{number}{unit}") == Fraction(number * whole, 1000)


def test_seconds_have_the_type_of_their_setting() -> None:
    assert ttl("2000ms") == 2
    assert type(ttl("2000ms")) is int
    assert short("1.8s") == 1.8
    assert type(short("2s")) is float


def test_the_bounds_are_within() -> None:
    assert (ttl("1s"), ttl("604800s"), ttl("7d")) == (1, 604800, 604800)
    assert (stale_for("0s"), stale_for("365d")) == (0, 31536000)
    assert (short("1ms"), short("60s"), short("1m")) == (0.001, 60.0, 60.0)


@pytest.mark.parametrize(
    ("value", "reason", "write"),
    [
        ("0s", "1s to 7d", '"1s"'),
        ("604801s", "1s to 7d", '"7d"'),
        ("8d", "1s to 7d", '"7d"'),
        ("1.5s", "whole seconds", '"2s"'),
        ("1500ms", "whole seconds", '"2s"'),
        ("604799.5s", "whole seconds", '"604800s"'),
        (300, "a string", '"300s"'),
        (300.0, "a string", '"300.0s"'),
        (53.9, "a string", '"300s"'),
        (0, "a string", '"300s"'),
        (-1, "a string", '"300s"'),
        (10**400, "a string", '"300s"'),
        (float("nan"), "a string", '"300s"'),
        (True, "a string", '"300s"'),
        (["300s"], "a string", '"300s"'),
        ("300", "a string", '"300s"'),
        ("5 M", "a string", '"5m"'),
        ("10 fortnights", "a string", '"300s"'),
        ("99d ", "a string", '"300s"'),
    ],
)
def test_a_wrong_duration_gets_a_right_one_suggested(value: object, reason: str, write: str) -> None:
    for _ in range(2):  # what is kept of a first look changes nothing
        with pytest.raises(Refusal) as caught:
            ttl(value)
        assert reason in caught.value.reason
        assert caught.value.write == write
    assert ttl(write.strip('"')) >= 1


@pytest.mark.parametrize(
    ("value", "write"),
    [("0s", '"2s"'), ("0ms", '"2s"'), ("60.001s", '"60s"'), ("1h", '"60s"'), (5, '"5s"'), (5000, '"2s"')],
)
def test_a_timeout_is_more_than_nothing_and_at_most_a_minute(value: object, write: str) -> None:
    with pytest.raises(Refusal) as caught:
        short(value)
    assert caught.value.write == write


def test_a_choice_has_one_spelling() -> None:
    assert word("AAAA") == "AAAA"
    for value, write in (("a", '"A"'), (" aaaa", '"AAAA"'), ("MX", '"A" or "AAAA"'), (1, '"A" or "AAAA"')):
        with pytest.raises(Refusal, match="only these") as caught:
            word(value)
        assert caught.value.write == write


def test_a_path_is_a_string_with_something_in_it() -> None:
    read = file_path('"/var/lib/flatproxy/answers.sqlite"')
    assert read("answers.sqlite") == Path("answers.sqlite")
    for value in ("", "a\0b", 1, True, ["a"]):
        with pytest.raises(Refusal):
            read(value)


def test_an_array_is_read_in_order() -> None:
    assert array(word, example="[]")(["AAAA", "A"]) == ("AAAA", "A")
    assert array(word, example="[]")([]) == ()


def test_each_wrong_item_of_an_array_is_told() -> None:
    with pytest.raises(ItemRefusals) as caught:
        array(word, example="[]")(["A", "MX", "AAAA", "A", 5])
    found = [(index, str(refusal)) for index, refusal in caught.value.items]
    assert found == [(1, "only these"), (3, "the same as item [0]"), (4, "only these")]


@pytest.mark.parametrize(
    ("value", "reason", "write"),
    [
        ("A", "not a string", '["A"]'),
        ("MX", "not a string", '["x"]'),
        (5, "not an integer", '["x"]'),
        ({"A": 1}, "not a table", '["x"]'),
        ([], "there must be one", '["x"]'),
    ],
)
def test_what_is_no_array_is_refused(value: object, reason: str, write: str) -> None:
    with pytest.raises(Refusal, match=reason) as caught:
        array(word, example='["x"]', empty="there must be one")(value)
    assert caught.value.write == write
