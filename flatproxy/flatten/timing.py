"""When a target is resolved again: before its TTL ends, and after failures with growing pauses (RFC 9520 section 3.2).

Only arithmetic lives here: the time is passed, and so is the chance that scatters what would come at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatproxy.table.agenda import NEVER
from flatproxy.table.held import retry_s
from flatproxy.table.ladder import lifetime_s

if TYPE_CHECKING:
    from flatproxy.table.target import Target

MIN_INTERVAL_S = 1.0
MARGIN_S = 4.0
"""Before the TTL ends: room for two attempts with the default timeout of 1.8 s."""
FAILURE_S = 5.0
MAX_FAILURE_S = 300.0
MAX_ASKED_FAILURE_S = 60.0
"""The longest pause where clients ask for it."""


def refresh_at(now: float, lifetime: float, chance: float) -> float:
    """Return when to resolve again what lives for `lifetime` seconds; `chance` in [0, 1) scatters equal ones."""
    lead = max(min(MARGIN_S, lifetime / 2), lifetime * 0.1)
    return now + max((lifetime - lead) * (1 - 0.1 * chance), MIN_INTERVAL_S)


def retry_at(now: float, failures: int, chance: float, longest_s: float = MAX_FAILURE_S) -> float:
    """Return when to try again after this many failures in a row: 5 s, doubling to 5 min."""
    pause = min(FAILURE_S * (1 << min(failures - 1, 10)), longest_s)
    return now + pause * (1 - 0.1 * chance)


def resolve_again_at(target: Target, now: float, chance: float, *, asked: bool) -> float:
    """Return when to resolve a target again; `asked`: clients have asked for it since the last time."""
    if target.failures or target.resolution is None:
        longest_s = MAX_ASKED_FAILURE_S if asked else MAX_FAILURE_S
        return retry_at(now, max(target.failures, 1), chance, longest_s)
    ttl_s = target.resolution.ttl_s
    if target.history.absent_since is not None:
        held = [answer.held_of(target) for answer in target.answers]
        ends = [each.until for each in held if each is not None and now < each.until]
        if ends:
            # Once more before the end, so that what is said then is fresh.
            return max(min(now + retry_s(ttl_s), min(ends) - MIN_INTERVAL_S), now + MIN_INTERVAL_S)
    lifetime = min((lifetime_s(ttl_s, answer.rule) for answer in target.answers), default=ttl_s)
    believed_at = target.belief.due(target.guarding.hold_change_s)
    return min(refresh_at(now, lifetime, chance), believed_at if believed_at is not None else NEVER)
