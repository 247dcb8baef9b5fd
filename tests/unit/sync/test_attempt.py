from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from attrs import define, field

from flatproxy.sync.attempt import Attempt, take_as_ours
from flatproxy.sync.memory import Noted, note, recall
from flatproxy.sync.plan import Wanted
from flatproxy.sync.standing import Standing, SyncState
from flatproxy.wire.types import TYPE_A, TYPE_AAAA

from .names import FOREIGN, FOUR, NAME, OTHER_FOUR, PLACEHOLDER, RULE, SIX, FakePrimary, Memo, sets

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = Wanted(sets([FOUR], [SIX])), Wanted(sets([OTHER_FOUR], [SIX]))


@define(eq=False)
class Job:
    """A name and its zone, over several processes: nothing is kept between two tries but in the file."""

    state: Path
    zone: Memo = field(factory=Memo)
    wall: float = 1_000_000.0
    interval_s: float = 60.0

    def go(self, want: Wanted, *, write: bool = True, dry: bool = False) -> Standing:
        attempt = Attempt(
            primary=FakePrimary(self.zone),
            state=self.state,
            interval_s=self.interval_s,
            name=NAME,
            rule=RULE,
            may_write=lambda: write,
            dry=dry,
            wall=lambda: self.wall,
        )
        standing, _ = asyncio.run(attempt.run(want))
        self.wall += 100.0
        return standing


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "state.sqlite")


def test_the_placeholder_is_taken_as_ours_and_written_over(job: Job) -> None:
    first = job.go(ONE)
    assert (first.state, first.first, first.found, first.made) == (SyncState.WRITTEN, True, PLACEHOLDER, ONE.sets)
    second = job.go(ONE)
    assert (second.state, second.first) == (SyncState.IN_STEP, False)
    assert job.go(TWO).state is SyncState.WRITTEN
    assert job.zone.updates == [ONE.sets, TWO.sets]


def test_somebody_elses_set_is_a_conflict_until_it_is_adopted(job: Job) -> None:
    job.go(ONE)
    job.zone.has = sets([FOREIGN], [SIX])
    said = job.go(ONE)
    assert (said.state, "192.0.2.99" in said.reason) == (SyncState.CONFLICT, True)
    assert job.go(TWO).state is SyncState.CONFLICT
    assert len(job.zone.updates) == 1

    asyncio.run(take_as_ours(FakePrimary(job.zone), job.state, NAME, RULE))
    assert job.go(TWO).state is SyncState.WRITTEN


def test_the_placeholder_put_back_is_a_conflict_too(job: Job) -> None:
    job.go(ONE)
    job.zone.has = dict(PLACEHOLDER)
    assert job.go(ONE).state is SyncState.CONFLICT


def test_a_conflict_ends_when_our_set_is_put_back(job: Job) -> None:
    job.go(ONE)
    job.zone.has = sets([FOREIGN])
    assert job.go(ONE).state is SyncState.CONFLICT
    job.zone.has = dict(ONE.sets)
    assert job.go(TWO).state is SyncState.WRITTEN


def test_what_somebody_else_wrote_as_we_would_is_ours(job: Job) -> None:
    job.go(ONE)
    job.zone.has = dict(TWO.sets)
    assert job.go(TWO).state is SyncState.IN_STEP
    assert job.go(ONE).state is SyncState.WRITTEN


def test_a_lost_reply_is_no_conflict_and_not_done_twice(job: Job) -> None:
    job.zone.loses = True
    assert job.go(ONE).state is SyncState.WRITTEN
    assert job.go(ONE).state is SyncState.IN_STEP
    assert len(job.zone.updates) == 1


def test_an_end_between_update_and_reply_is_no_conflict(job: Job) -> None:
    job.go(ONE)
    noted = recall(job.state, NAME)
    assert noted is not None
    note(job.state, NAME, noted.with_intent(TWO.sets))  # and the process is gone
    job.zone.has = dict(TWO.sets)
    assert job.go(ONE).state is SyncState.WRITTEN


def test_a_refusal_is_tried_again_as_if_nothing_had_been_sent(job: Job) -> None:
    job.zone.refuses = True
    assert (job.go(ONE).state, job.go(ONE).reason) == (SyncState.FAILED, "REFUSED")
    job.zone.refuses = False
    assert job.go(ONE).state is SyncState.WRITTEN


def test_a_nameserver_that_is_down_changes_nothing(job: Job) -> None:
    job.go(ONE)
    job.zone.silent = True
    assert job.go(TWO).state is SyncState.FAILED
    job.zone.silent = False
    assert job.go(TWO).state is SyncState.WRITTEN


def test_one_update_in_an_interval(job: Job) -> None:
    job.interval_s = 150.0
    job.go(ONE)
    waits = job.go(TWO)
    assert (waits.state, waits.wait_s) == (SyncState.WAITING, 50.0)
    assert job.go(TWO).state is SyncState.WRITTEN
    job.wall -= 10_000.0  # the clock is set back: no reason to wait for hours
    assert job.go(ONE).state is SyncState.WRITTEN


def test_an_active_directory_domain_is_left_alone(job: Job) -> None:
    job.zone.domain = True
    said = job.go(ONE)
    assert (said.state, "Active Directory" in said.reason) == (SyncState.WITHHELD, True)
    assert job.zone.has == PLACEHOLDER


def test_what_is_withheld_leaves_the_zone_as_it_is_and_conflicts_are_seen_all_the_same(job: Job) -> None:
    job.go(ONE)
    stale = Wanted({}, {TYPE_A: "stale", TYPE_AAAA: "stale"})
    assert job.go(stale).state is SyncState.WITHHELD
    assert job.go(Wanted(sets())).reason == "the target has no address"
    job.zone.has = sets([FOREIGN])
    assert job.go(stale).state is SyncState.CONFLICT
    assert len(job.zone.updates) == 1


def test_a_dry_run_writes_no_file_either(job: Job) -> None:
    assert job.go(ONE, dry=True).state is SyncState.DIFFERS
    assert not job.state.exists()
    assert job.zone.updates == []


def test_another_node_may_go_on_where_this_one_has_written(job: Job, tmp_path: Path) -> None:
    other = Job(tmp_path / "other.sqlite", zone=job.zone)
    other.go(ONE, write=False)
    job.go(ONE)
    assert other.go(TWO, write=False).state is SyncState.DIFFERS  # it was away while ONE was written and confirmed
    job.go(TWO)
    assert other.go(ONE).state is SyncState.WRITTEN  # the lease is its own now


def test_what_another_node_wrote_is_no_conflict_to_this_one(job: Job) -> None:
    job.go(ONE)
    job.zone.has = dict(TWO.sets)
    assert job.go(ONE, write=False).state is SyncState.DIFFERS
    assert job.go(ONE).state is SyncState.CONFLICT


def test_a_file_that_everybody_can_write_is_not_believed(job: Job) -> None:
    job.go(ONE)
    job.state.chmod(0o666)
    said = job.go(TWO)
    assert (said.state, "every user" in said.reason) == (SyncState.FAILED, True)


def test_a_file_that_is_damaged_keeps_the_zone_as_it_is(job: Job) -> None:
    job.state.write_bytes(b"no database" * 100)
    assert job.go(ONE).state is SyncState.FAILED
    assert job.zone.updates == []


def test_what_is_kept_of_a_name_has_a_bound() -> None:
    noted = Noted((PLACEHOLDER,))
    for number in range(100):
        noted = noted.with_intent(sets([bytes((203, 0, 113, number))]))
    assert len(noted.ours) <= 17
    assert noted.ours[-1] == sets([bytes((203, 0, 113, 99))])


def test_a_type_that_was_not_kept_in_step_before_is_no_conflict(job: Job) -> None:
    note(job.state, NAME, Noted(({TYPE_A: PLACEHOLDER[TYPE_A]},)))
    assert job.go(ONE).state is SyncState.WRITTEN
