from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from attrs import define, field

from flatproxy.config.rules import Rule
from flatproxy.flatten.stores.saving import UNCHANGED_S, Saving
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table
from tests.unit.flatten.walking import Rows

if TYPE_CHECKING:
    from flatproxy.table.target import Target

NAME, LB = b"\7example\3com\0", b"\2lb\4test\0"
FOUND = Resolution(rdatas=(b"\xc0\0\2\1",), ttl_s=60, names=("lb.test",), resolved_at=0.0)


@define
class World:
    """A target, the wall clock, and what was saved."""

    stale_for_s: int = 86_400
    wall: float = 1_000_000.0
    rows: Rows = field(factory=Rows)
    target: Target = field(init=False)
    saving: Saving = field(init=False)

    def __attrs_post_init__(self) -> None:
        table = Table()
        rule = Rule(target=LB, types=frozenset({"A"}), any="forward", stale_for_s=self.stale_for_s)
        (self.target,) = table.adopt({NAME: rule}, 0.0, 1.8).new
        self.saving = Saving(self.rows, lambda: self.wall)  # type: ignore[arg-type] # it saves no keys
        table.feed.subscribe(self.saving)

    def saved(self, wall: float, **changes: Any) -> bool:
        """Tell whether a resolution at this time is saved."""
        self.wall, before = wall, len(self.rows.saved)
        self.target.settle(attrs.evolve(FOUND, **changes), "addresses", wall)
        return len(self.rows.saved) > before


def test_what_is_new_is_saved_at_once() -> None:
    world = World()
    assert world.saved(1_000_000.0)
    assert world.saved(1_000_001.0, rdatas=(b"\xc0\0\2\2",))
    assert world.saved(1_000_002.0, rdatas=(b"\xc0\0\2\2",), names=("lb.test", "b.test"))
    assert [row.resolved_at for row in world.rows.saved] == [1_000_000.0, 1_000_001.0, 1_000_002.0]


def test_what_is_as_it_was_is_saved_seldom() -> None:
    world = World()
    assert world.saved(1_000_000.0)
    assert not world.saved(1_000_000.0 + UNCHANGED_S / 2 - 1, ttl_s=17)
    assert world.saved(1_000_000.0 + UNCHANGED_S)


@pytest.mark.parametrize("stale_for_s", [0, 10, 600])
def test_the_age_is_wrong_by_a_tenth_of_what_it_is_for(stale_for_s: int) -> None:
    world = World(stale_for_s)
    assert world.saved(1_000_000.0)
    assert world.saved(1_000_000.0 + stale_for_s / 10)


def test_a_clock_that_was_set_back_keeps_nothing_from_being_saved() -> None:
    world = World()
    assert world.saved(1_000_000.0)
    assert world.saved(500_000.0)


def test_a_failure_is_not_saved_and_what_is_forgotten_is_new() -> None:
    world = World()
    assert world.saved(1_000_000.0)
    world.target.fail("timeout", "no answer", 1.0)
    assert len(world.rows.saved) == 1
    world.saving.forget([world.target])
    assert world.saved(1_000_001.0)
