"""The two packet paths agree on messages that are broken at random; `tests.fuzz.native.twins` goes on for longer."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.mutation import mutated
from tests.unit.forward.native.twins import Twins
from tests.unit.wire.messages import query, response

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERIES = [
    query(name, rdtype, id=6, **options)
    for name in ("example.com", "fLat.example.com", "www.example.com", "example.net")
    for rdtype in ("A", "AAAA", "TXT", "AXFR")
    for options in ({}, {"payload": 1232}, {"want_dnssec": True}, {"use_edns": 0, "payload": 512})
]
ASKED = [query("www.example.com", id=6), query("www.example.com", "AAAA", id=6), query("deep.www.example.com", id=6)]
REPLIES = [
    ["www.example.com. 60 IN CNAME example.com.", "example.com. 60 IN A 192.0.2.9"],
    ["www.example.com. 60 IN CNAME a.example.com.", "a.example.com. 60 IN CNAME flat.example.com."],
    ["www.example.com. 60 IN A 192.0.2.9"],
    [],
]


@pytest.fixture
def twins() -> Iterator[Twins]:
    made = Twins(random.Random(7))
    yield made
    made.close()


def test_whole_queries_meet_the_same_fate(twins: Twins) -> None:
    for message in QUERIES:
        twins.query(message)


def test_broken_queries_meet_the_same_fate(twins: Twins) -> None:
    for _ in range(1500):
        twins.query(mutated(twins.rng.choice(QUERIES), twins.rng))


def test_broken_replies_meet_the_same_fate(twins: Twins) -> None:
    for _ in range(800):
        asked = twins.rng.choice(ASKED)
        came = response(asked, twins.rng.choice(REPLIES))
        twins.reply(asked, mutated(came, twins.rng) if twins.rng.random() < 0.9 else came)
