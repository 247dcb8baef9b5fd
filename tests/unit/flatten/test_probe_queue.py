from __future__ import annotations

import sys

from flatproxy.flatten.probe_queue import NAMES_AT_ONCE, SORTED, ProbeQueue

NET = b"\3net\0"


def name(label: bytes, parent: bytes = b"\7example\3com\0") -> bytes:
    return bytes((len(label),)) + label + parent


def many(count: int) -> list[bytes]:
    return [name(f"n{number}".encode()) for number in range(count)]


def found(new: ProbeQueue, calls: int = 1) -> list[bytes]:
    for _ in range(calls):
        new.look(lambda _name: None)
    return list(new.urgent)


def test_new_names_are_taken_in_some_at_a_time() -> None:
    new, flagged = ProbeQueue(), many(NAMES_AT_ONCE + 10)
    new.cover(flagged[5:], flagged, set())
    assert len(found(new)) == NAMES_AT_ONCE
    assert sorted(found(new, 3)) == sorted(flagged[5:])


def test_one_name_of_each_parent_comes_first() -> None:
    new, other = ProbeQueue(), name(b"www", name(b"other"))
    new.cover([*many(10), other], (), set())
    assert set(found(new)[:2]) == {many(1)[0], other}


def test_a_second_change_loses_nothing_of_the_first_and_holds_nothing_of_it() -> None:
    new, flagged = ProbeQueue(), many(NAMES_AT_ONCE * 2)
    first = dict.fromkeys(flagged)
    new.cover(first, first, {NET})
    new.cover((), flagged, set())
    assert sorted(found(new, 3)) == sorted(flagged)
    assert sys.getrefcount(first) == 2, "this variable and the call"


def test_zones_without_a_name_are_found_by_the_same_look() -> None:
    new, parent = ProbeQueue(), b"\7example\3com\0"
    gone = name(b"gone", parent)
    new.cover((), many(NAMES_AT_ONCE + 1), {parent, gone})
    looks = [new.look(lambda _name: parent) for _ in range(4)]
    assert looks == [set(), set(), {gone}, set()]


def test_names_in_a_known_zone_wait_apart_and_keep_nobody_up() -> None:
    new, stranger = ProbeQueue(), name(b"x", b"\3net\0")
    new.urgent.extend([*many(SORTED + 1), stranger])
    for waiting in (SORTED, SORTED + 1, SORTED + 1):
        new.sort(lambda wire: wire.endswith(b"\3com\0"))
        assert len(new.patient) == waiting
    assert list(new.urgent) == [stranger]
