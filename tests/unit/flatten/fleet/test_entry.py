"""Entries: what was sealed comes back, and nothing else is believed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.flatten.fleet.entry import HEAD, MAX_ENTRY, EntryRefused, Seal, TargetEntry, field_of

SECRET = b"0123456789abcdef"
SEAL = Seal(SECRET, "flatproxy")
PLACE = "lb.example.net/A"
NOW = 1_800_000_000.0

entries = st.builds(
    TargetEntry,
    rdatas=st.lists(st.binary(min_size=4, max_size=4), max_size=8).map(tuple),
    ttl_s=st.integers(0, 2**31 - 1),
    names=st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=16).map(tuple),
    outcome=st.sampled_from(["addresses", "nodata", "nxdomain"]),
    resolved_at=st.integers(0, int(NOW)).map(float),
    left_out=st.integers(0, 9999),
)
versions = st.integers(0, 2**52)


def reason_of(raw: object, place: str = PLACE, seal: Seal = SEAL) -> str:
    with pytest.raises(EntryRefused) as caught:
        TargetEntry.of(seal.open(place, raw)[1], 1, NOW)
    return caught.value.reason


@given(entries, versions)
def test_what_was_sealed_comes_back(entry: TargetEntry, version: int) -> None:
    opened, content = SEAL.open(PLACE, SEAL.seal(PLACE, version, entry.content()))
    assert (opened, TargetEntry.of(content, 1, NOW)) == (version, entry)


@given(entries, versions, st.data())
def test_one_changed_bit_is_noticed(entry: TargetEntry, version: int, data: st.DataObject) -> None:
    raw = bytearray(SEAL.seal(PLACE, version, entry.content()))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert reason_of(bytes(raw)) in {"hmac", "schema"}


@given(st.binary(max_size=200))
def test_octets_of_somebody_else_are_refused(raw: bytes) -> None:
    assert reason_of(raw) in {"size", "schema", "hmac"}


def test_an_entry_is_one_in_its_own_place_only() -> None:
    raw = SEAL.seal(PLACE, 7, {})
    assert reason_of(raw, "lb.example.net/AAAA") == "hmac"
    assert reason_of(raw, "other.example.net/A") == "hmac"


def test_another_version_cannot_be_written_on_it() -> None:
    raw = SEAL.seal(PLACE, 7, {})
    assert reason_of(raw.replace(b"0000000000000007", b"0000000000000008")) == "hmac"


@pytest.mark.parametrize("seal", [Seal(b"another secret..", "flatproxy"), Seal(SECRET, "flatproxy:other")])
def test_another_fleets_is_refused(seal: Seal) -> None:
    assert reason_of(seal.seal(PLACE, 1, {})) == "hmac"


def test_another_schema_is_refused() -> None:
    assert reason_of(b"2" + SEAL.seal(PLACE, 1, {})[1:]) == "schema"


@pytest.mark.parametrize("raw", [None, 7, "text", [], b"", b"1" * HEAD, b"1" * (MAX_ENTRY + 1)])
def test_what_is_no_entry_is_refused(raw: object) -> None:
    assert reason_of(raw) == "size"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rdatas": ["c0000201ff"]}, "content"),
        ({"rdatas": ["zz"]}, "content"),
        ({"rdatas": ["c0000201"] * 2001}, "content"),
        ({"rdatas": None}, "content"),
        ({"ttl": -1}, "content"),
        ({"ttl": 2**31}, "content"),
        ({"ttl": "soon"}, "content"),
        ({"names": []}, "content"),
        ({"names": ["x"] * 21}, "content"),
        ({"names": ["x" * 1025]}, "content"),
        ({"outcome": "evil"}, "content"),
        ({"at": "now"}, "content"),
        ({"at": float("nan")}, "time"),
        ({"at": float("inf")}, "time"),
        ({"at": NOW + 31}, "time"),
        ({"left_out": -1}, "content"),
    ],
)
def test_bounds(change: dict[str, Any], reason: str) -> None:
    content = {"rdatas": ["c0000201"], "ttl": 60, "names": ["lb"], "outcome": "addresses", "at": NOW} | change
    assert reason_of(SEAL.seal(PLACE, 1, content)) == reason


def test_what_a_later_version_adds_is_not_looked_at() -> None:
    content = {"rdatas": [], "ttl": 60, "names": ["lb"], "outcome": "nodata", "at": NOW + 29, "new": {"a": 1}}
    assert TargetEntry.of(content, 1, NOW).resolved_at == NOW + 29


def test_a_list_is_no_content() -> None:
    assert reason_of(SEAL.seal(PLACE, 1, [])) == "content"  # type: ignore[arg-type]


def test_a_field_has_name_and_type() -> None:
    assert field_of(b"\x02lb\x07example\x03net\0", 28) == "lb.example.net/AAAA"
