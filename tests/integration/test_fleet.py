"""Several flatproxies on one store: what is resolved once, what all answer, and what is not believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Fleet
from tests.support.internet import FakeInternet
from tests.support.waiting import let_pass

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nsd import Nsd
    from tests.support.redis import Redis

FLATTEN = {"example.com": {"target": "lb.test", "types": ["A"]}}


@pytest.fixture
def resolver() -> Iterator[FakeInternet]:
    with FakeInternet() as internet:
        internet.set("lb.test", "A", ["203.0.113.1"], 2)
        yield internet


@pytest.fixture
def fleet(tmp_path: Path, store: Redis, resolver: FakeInternet, nsd: Nsd) -> Iterator[Fleet]:
    nodes = Fleet(tmp_path, store.url, resolver, nsd.address, FLATTEN)
    yield nodes
    nodes.stop()


def test_a_target_is_resolved_once(fleet: Fleet, resolver: FakeInternet) -> None:
    """Four nodes ask what one would, for a target that is due every second."""
    fleet.begin(4)
    fleet.all_answer("203.0.113.1")
    before = resolver.asked["lb.test", "A"]
    let_pass(10)
    asked = resolver.asked["lb.test", "A"] - before
    assert 5 <= asked <= 12


def test_all_answer_what_one_has_found(fleet: Fleet, resolver: FakeInternet) -> None:
    fleet.begin(4)
    for number in range(2, 6):
        resolver.set("lb.test", "A", [f"203.0.113.{number}"], 2)
        fleet.all_answer(f"203.0.113.{number}", deadline_s=5)
