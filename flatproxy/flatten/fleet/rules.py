"""The rules of sharing resolutions: who resolves what when, and which of two results stands. No socket, no clock.

A target has one node that is first: by rank, the same for all nodes that see the same nodes. What happens when it is
due:

    first      claim the lease ── granted ──► resolve, publish
    others     wait a little ──► read ──► claim, in case that the first one is gone
    all        take what was published as soon as they read it
               resolve by themselves where nothing was, in time before they would go stale

So nobody is later than it would be alone. Whoever claims is told what was published meanwhile, or for how long another
has the lease; then it claims again when that ends. Times are monotonic seconds but where they are the store's.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from attrs import define

LEASE_MORE_S: Final = 0.5
"""A lease lasts for so much more than a resolution may take."""
COLD_S: Final = 0.45
"""For so long another's resolution is waited for where nothing is known: a quarter of the default timeout."""
SETTLE_S: Final = 0.3
"""Others than the first one wait for at most so long for its result before they read."""


class NextStep(Enum):
    """What to do about a target that is due."""

    RESOLVE = "resolve"
    CLAIM = "claim"
    READ = "read"
    WAIT = "wait"


class EntryJudgement(Enum):
    """What to do about an entry that was read."""

    TAKE = "take"
    KNOWN = "known"
    """It is the version that is known."""
    OLD = "old"
    """A version before the known one: replayed, or of a store that has lost what was written last."""
    KEEP = "keep"
    """What is known was resolved later, and says the same."""
    PUBLISH = "publish"
    """What is known was resolved later, and says something else: others should have it."""


@define(eq=False)
class Shared:
    """What a node knows of one target in the fleet; `place` is its field of the store."""

    place: str = ""
    version: int = 0
    """Of the last entry that was read or written; it only grows."""
    content: frozenset[bytes] | None = None
    """The records of that entry."""
    stage: int = 0
    left_s: float = 0.0
    """How long the answer was still fresh when the target was due."""
    granted_until: float = float("-inf")
    wait_until: float = float("-inf")
    """Nothing is to be done before that, unless the lease is granted."""
    token: bytes = b""
    is_warm: bool = False
    """Whether it came from the store at the start, and was not due since."""

    def settle(self) -> None:
        """Take note that the target was resolved, here or elsewhere: the next time begins anew."""
        self.stage = 0
        self.wait_until = float("-inf")
        self.granted_until = float("-inf")
        self.token = b""

    def next_version(self, store_now: float) -> int:
        """Return the version of what is published next: above all known, and above what a flushed store has lost."""
        return max(self.version + 1, int(store_now * 1000))


def next_step(
    shared: Shared, *, now: float, first: bool, fresh_until: float | None, chance: float
) -> tuple[NextStep, float]:
    """Return what to do about a target that is due, and when to ask again if nothing has come of it.

    `fresh_until` is None where nothing is known or it is stale; `chance` in [0, 1) scatters nodes.
    """
    if now < shared.granted_until:
        return NextStep.RESOLVE, now
    if now < shared.wait_until:
        return NextStep.WAIT, shared.wait_until
    step, shared.wait_until = _step(shared, now, fresh_until, chance, first=first)
    return step, shared.wait_until


def _step(
    shared: Shared, now: float, fresh_until: float | None, chance: float, *, first: bool
) -> tuple[NextStep, float]:
    if fresh_until is None or fresh_until <= now:
        if shared.stage:
            return NextStep.RESOLVE, now
        shared.stage, shared.left_s = 3, 0.0
        return NextStep.CLAIM, now + COLD_S
    if shared.stage == 0:
        shared.left_s = fresh_until - now
    alone_at = fresh_until - shared.left_s / 4
    if shared.stage and now >= alone_at:
        return NextStep.RESOLVE, now
    shared.stage += 1
    if first or shared.stage > 2:
        shared.stage = 3
        return NextStep.CLAIM, alone_at
    pause_s = min(shared.left_s * (0.1 + 0.1 * chance), SETTLE_S * (1 + chance))
    if shared.stage == 1:
        return NextStep.WAIT, now + pause_s
    return NextStep.READ, now + 2 * pause_s


def claim_again_at(now: float, lease_left_s: float, alone_at: float, chance: float) -> float:
    """Return when to claim again what another has the lease of."""
    return min(now + lease_left_s + 0.05 * chance, alone_at)


def lease_s(timeout_s: float) -> float:
    """Return for how long a lease lasts, by the timeout of resolvers."""
    return timeout_s + LEASE_MORE_S


def judge(
    shared: Shared,
    version: int,
    resolved_at: float,
    content: frozenset[bytes],
    own: tuple[float, frozenset[bytes]] | None,
) -> EntryJudgement:
    """Return what to do about an entry. `own`: when what is known was resolved (store's clock), and its records."""
    if version < shared.version:
        return EntryJudgement.OLD
    if version == shared.version:
        return EntryJudgement.KNOWN
    shared.version, shared.content = version, content
    if own is None or own[0] <= resolved_at:
        return EntryJudgement.TAKE
    return EntryJudgement.KEEP if own[1] == content else EntryJudgement.PUBLISH
