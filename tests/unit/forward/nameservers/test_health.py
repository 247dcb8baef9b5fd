from __future__ import annotations

import pytest

from flatproxy.forward.nameservers.health import PROBES_TO_DOWN, Health


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
    health.answered(110.0)
    assert (health.up, health.suspect, health.unanswered) == (True, False, 0)


def test_an_answer_in_between_begins_the_count_anew() -> None:
    health = Health(answered_at=100.0)
    for number in range(3 * PROBES_TO_DOWN):
        health.probe_failed(101.0 + number)
        if number % 3 == 2:
            health.answered(101.5 + number)
    assert health.up


@pytest.mark.parametrize(("suspect", "due"), [(False, 105.0), (True, 101.0)])
def test_probes_are_rare_where_all_is_well(suspect: bool, due: float) -> None:
    health = Health(answered_at=100.0, suspect=suspect)
    assert health.probe_is_due(100.0) is suspect  # none was sent yet
    health.probed_at = 100.0
    assert not health.probe_is_due(due - 0.1)
    assert health.probe_is_due(due)
    assert not health.probe_is_due(due + 0.1)
