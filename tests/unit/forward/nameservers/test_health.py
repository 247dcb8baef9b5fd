from __future__ import annotations

from typing import Any

import pytest

from flatproxy.forward.nameservers.health import PROBES_TO_DOWN, PROBES_TO_FAILING, Health

GOOD = bytes(12)
SERVFAIL = b"\0\0\x80\2" + bytes(8)


def test_one_silence_makes_suspect_not_down() -> None:
    health = Health(answered_at=100.0)
    health.silent(101.0)
    assert (health.up, health.suspect) == (True, True)


def test_a_silence_among_answers_proves_nothing() -> None:
    health = Health(answered_at=102.0)
    health.silent(101.0)
    health.probe_failed(101.5)
    assert (health.suspect, health.unanswered) == (False, 0)


def test_so_many_probes_make_it_down_and_any_answer_up() -> None:
    health = Health(answered_at=100.0)
    for number in range(PROBES_TO_DOWN):
        assert health.up
        health.probe_failed(101.0 + number)
    assert not health.up
    health.heard(GOOD, 110.0)
    assert (health.up, health.suspect, health.unanswered) == (True, False, 0)


def test_an_answer_in_between_begins_the_count_anew() -> None:
    health = Health(answered_at=100.0)
    for number in range(3 * PROBES_TO_DOWN):
        health.probe_failed(101.0 + number)
        if number % 3 == 2:
            health.heard(GOOD, 101.5 + number)
    assert health.up


@pytest.mark.parametrize(("suspect", "due"), [(False, 105.0), (True, 101.0)])
def test_probes_are_rare_where_all_is_well(suspect: bool, due: float) -> None:
    health = Health(answered_at=100.0, suspect=suspect)
    assert health.probe_is_due(100.0) is suspect  # none was sent yet
    health.probed_at = 100.0
    assert not health.probe_is_due(due - 0.1)
    assert health.probe_is_due(due)
    assert not health.probe_is_due(due + 0.1)


def failing(**more: Any) -> Health:
    health = Health(**more)
    health.heard(SERVFAIL, 100.0)
    for number in range(PROBES_TO_FAILING):
        assert not health.failing
        health.probe_answered(SERVFAIL, 101.0 + number)
    return health


def test_servfail_to_all_probes_makes_it_failing_and_any_other_rcode_well() -> None:
    health = failing()
    assert (health.failing, health.up, health.suspect) == (True, True, False)
    health.heard(GOOD, 110.0)
    assert not health.failing


def test_servfail_to_clients_alone_proves_nothing() -> None:
    """They may ask for the one name that is broken: it takes probes, and no other rcode in between."""
    health = Health()
    for number in range(100):
        health.heard(SERVFAIL, 100.0 + number)
        assert health.probe_is_due(100.5 + number), "but it calls for a probe"
        health.probe_answered(GOOD if number % 3 == 2 else SERVFAIL, 100.6 + number)
        assert not health.failing


def test_who_chooses_a_server_hears_of_each_change_once() -> None:
    changes: list[bool] = []
    health = failing(changed=lambda: changes.append(True))
    assert len(changes) == 1
    health.probe_answered(SERVFAIL, 120.0)
    assert len(changes) == 1
    health.probe_answered(GOOD, 121.0)
    health.silent(122.0)
    health.silent(122.5)
    assert len(changes) == 3


def test_the_sick_come_after_the_well() -> None:
    suspect = Health()
    suspect.silent(1.0)
    assert sorted([suspect.rank, failing().rank, Health().rank]) == [Health().rank, failing().rank, suspect.rank]


def test_doubt_from_elsewhere_calls_for_a_probe() -> None:
    health = Health(answered_at=100.0, probed_at=100.0)
    assert not health.probe_is_due(101.5)
    assert health.probe_is_due(101.5, wary=True)
