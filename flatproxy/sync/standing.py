"""How a name stands after a try, when it is looked at again, and what the log says of it. Nothing is asked here."""

from __future__ import annotations

import random
from enum import StrEnum
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from twisted.logger import Logger

from flatproxy.sync.sets import sets_text
from flatproxy.wire import names

if TYPE_CHECKING:
    from flatproxy.config.rules import Rule
    from flatproxy.sync.memory import Noted
    from flatproxy.sync.sets import Sets

log = Logger()

ZONE_LOOK_S = 300.0
"""The longest time until the zone is looked at again."""
CONFLICT_S = 60.0
"""… while there is a conflict."""
TURN_S = 5.0
"""… while it is another node's part to write."""
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 600.0


class SyncState(StrEnum):
    """How a name stands."""

    IN_STEP = "in_step"
    WRITTEN = "written"
    DIFFERS = "differs"
    """It would have been written, but that this is a dry run, or another node's part."""
    WAITING = "waiting"
    """It was written less than `interval` ago."""
    WITHHELD = "withheld"
    """What is answered now is not to be written."""
    CONFLICT = "conflict"
    FAILED = "failed"


@frozen(kw_only=True)
class Standing:
    """What a try came to; `found` is what stood there before it, `made` what stands (or is to stand) there after it.

    `wait_s` is for how long another try is of no use.
    """

    state: SyncState
    reason: str = ""
    found: Sets = field(factory=dict)
    made: Sets = field(factory=dict)
    why: str = ""
    """Why not all that was answered then may be written."""
    wait_s: float = 0.0
    first: bool = False
    """The name was never looked at before: what stood there is taken as ours."""


def pause_s(failures: int) -> float:
    """Return after how long to try again after so many failures in a row: 5 s, doubling to 10 min."""
    return min(FIRST_PAUSE_S * (1 << min(max(failures - 1, 0), 10)), LONGEST_PAUSE_S)


@define(eq=False)
class SyncedName:
    """One name that is kept in step. Read it from anywhere; only the updater changes it. Times are monotonic."""

    wire: bytes
    rule: Rule
    standing: Standing | None = None
    """None before the first try."""
    failures: int = 0
    """In a row."""
    noted: Noted | None = None
    due: float = 0.0
    """When to look again, even where nothing has changed here."""
    not_before: float = 0.0
    """Until when not to look, whatever has changed."""

    @property
    def text(self) -> str:
        """The name as it is written."""
        return names.to_text(self.wire)

    @property
    def state(self) -> SyncState | None:
        """How it stands, None before the first try."""
        if self.standing is None:
            return None
        return SyncState.IN_STEP if self.standing.state is SyncState.WRITTEN else self.standing.state

    def forget_failures(self) -> None:
        """Look again soon, whatever went wrong."""
        self.due, self.not_before, self.failures = 0.0, 0.0, 0

    def take(self, standing: Standing, now: float, interval_s: float) -> None:
        """Take what a try came to, plan the next one, and log what is new."""
        before, self.standing = self.standing, standing
        self.failures = self.failures + 1 if standing.state is SyncState.FAILED else 0
        pauses = {
            SyncState.FAILED: pause_s(self.failures),
            SyncState.CONFLICT: min(interval_s, CONFLICT_S),
            SyncState.DIFFERS: TURN_S,
        }
        pause = max(pauses.get(standing.state, 0.0), standing.wait_s)
        self.not_before = now + pause
        self.due = now + (pause or ZONE_LOOK_S * random.uniform(0.8, 1.0))
        was = (before.state, before.reason) if before is not None else None
        if standing.state is SyncState.WRITTEN or standing.first or (standing.state, standing.reason) != was:
            _say(self.text, standing, before)


def _say(name: str, standing: Standing, before: Standing | None) -> None:
    """Write the line about how a name stands now."""
    reason = standing.reason
    if standing.first:
        what = sets_text(standing.found)
        log.info("{name}: takes {what}, which stands there now, as its own", event="sync_first", name=name, what=what)
    match standing.state:
        case SyncState.WRITTEN:
            old, new = sets_text(standing.found), sets_text(standing.made)
            log.info("{name}: the zone said {old}, now {new}", event="sync_written", name=name, old=old, new=new)
        case SyncState.CONFLICT:
            log.error(
                "{name} is not written any more, somebody else has: {reason}. Take that as ours, to be written over: "
                "flatproxy sync --adopt {name} --config FILE",
                event="sync_conflict",
                name=name,
                reason=reason,
            )
        case SyncState.FAILED:
            log.warn("{name} cannot be written: {reason}", event="sync_failed", name=name, reason=reason)
        case SyncState.WITHHELD:
            log.info("{name} is not written: {reason}", event="sync_withheld", name=name, reason=reason)
        case SyncState.IN_STEP if before is not None and before.state not in (SyncState.IN_STEP, SyncState.WRITTEN):
            log.info("{name} is in step again", event="sync_in_step", name=name)
        case _:
            pass
