from __future__ import annotations

from flatproxy.observe import history
from flatproxy.observe.history import CHANGES, TARGETS
from flatproxy.table import status

from .world import NOON, ONE, SIX, TWO, World, wire


def told(world: World, name: str = "example.com") -> list[tuple[float, str]]:
    answers = [answer for _view, answer, _status in status.of_name(world.table, wire(name), world.now)]
    return [(event.at - NOON, event.what) for event in world.watch.history.of(wire(name), answers)]


def test_a_first_answer_is_no_change() -> None:
    world = World()
    world.settle_all()
    assert told(world) == []
    assert list(world.watch.history.last) == []


def test_changes_are_told_the_newest_first() -> None:
    world = World(types=("A",))
    world.settle_all()
    world.now = 1010.0
    world.settle("example.com", TWO, ONE)
    world.now = 1020.0
    world.target().fail("timeout", "no answer", world.now)
    world.target().fail("timeout", "no answer", world.now)
    world.pass_to(1080.0)
    world.settle("example.com")
    assert told(world) == [
        (80.0, "stale → fresh"),
        (80.0, "198.51.100.2 198.51.100.1 → none"),
        (80.0, "fresh → stale"),
        (20.0, "cannot be resolved: no answer"),
        (10.0, "198.51.100.1 → 198.51.100.2 198.51.100.1"),
    ] or told(world)[-2:] == [
        (20.0, "cannot be resolved: no answer"),
        (10.0, "198.51.100.1 → 198.51.100.2 198.51.100.1"),
    ]
    assert [event.subject for event in world.watch.history.last] == ["example.com A"] * 5


def test_so_many_are_kept() -> None:
    world = World(types=("A",))
    for number in range(CHANGES + 5):
        world.now = 1000.0 + number
        world.settle("example.com", bytes((192, 0, 2, number)))
    assert len(told(world)) == len(list(world.watch.history.last)) == CHANGES
    assert told(world)[0] == (14.0, "192.0.2.13 → 192.0.2.14")


def test_of_more_targets_the_one_that_changed_last_is_kept() -> None:
    count = TARGETS + 2
    world = World(names=tuple(f"n{number}.test" for number in range(count)), types=("A",))
    world.settle_all()
    for number in [*range(count), 2]:
        world.settle(f"n{number}.test", TWO if number != 2 else SIX[:4])
    kept = world.watch.history._of
    assert len(kept) == TARGETS
    assert told(world, "n1.test") == []
    assert told(world, "n2.test")
    assert told(world, "n3.test")


def test_a_line_is_never_long() -> None:
    many = tuple(bytes((192, 0, 2, number)) for number in range(100))
    assert history._texts(1, many).endswith("192.0.2.5 and 94 more")
    assert history._texts(1, ()) == "none"
