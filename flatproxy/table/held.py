"""Addresses that are kept although the last resolution says something else. Pure rules; `now` is passed.

Two rules, each about a resolution that succeeded: one that found no address (`hold_absent`), and one that found only
other addresses (`hold_change`). What cannot be resolved at all is the ladder's matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from flatproxy.table.ladder import Held

if TYPE_CHECKING:
    from collections.abc import Iterable

Rdatas = tuple[bytes, ...]

MIN_RETRY_S: Final = 5.0
GRACE_S: Final = 5.0
"""For so long the addresses of a family are held while the other one, living by all that is known, is asked again."""
MAX_RETRY_S: Final = 60.0


@frozen(kw_only=True)
class History:
    """What the resolutions of one type of a target found, each taken in by `after`. Times are monotonic seconds.

    `addresses` are the last that there were, `seen_at` is when they were last found. `absent_since` is when a
    resolution first found none after them, None while the last one found some, or where none ever did.
    """

    addresses: Rdatas = ()
    seen_at: float = float("-inf")
    absent_since: float | None = None

    def after(self, found: Rdatas, now: float) -> History:
        """Return what is known after one more resolution."""
        if found:
            return History(addresses=found, seen_at=now)
        if self.addresses and self.absent_since is None:
            return evolve(self, absent_since=now)
        return self

    @property
    def is_present(self) -> bool:
        """Tell whether the last resolution that succeeded found addresses."""
        return bool(self.addresses) and self.absent_since is None


NO_HISTORY: Final = History()


def held_until(history: History, others: Iterable[History], hold_absent_s: float) -> float | None:
    """Return until when the addresses of a family are held; None where it is not its absence that is to be hidden.

    `others` are the other flattened families of the name. This one was withdrawn on purpose if another was found to
    have addresses after this one had none; if not, both went in one go. Another that was not asked since is asked at
    once, and `GRACE_S` is the time that its answer has.
    """
    since = history.absent_since
    if since is None:
        return None
    others = tuple(others)
    if any(other.seen_at > since for other in others):
        return None
    if any(other.is_present for other in others):
        return since + min(GRACE_S, hold_absent_s)
    return since + hold_absent_s


def held_of(history: History, others: Iterable[History], hold_absent_s: float) -> Held | None:
    """Return the addresses of a family that are held, though its target has none; None where none are."""
    if history.absent_since is None or not hold_absent_s:
        return None
    until = held_until(history, others, hold_absent_s)
    return None if until is None else Held(history.addresses, until)


def retry_s(negative_ttl_s: float) -> float:
    """Return after how long a target without addresses is asked again while they are held."""
    return min(max(negative_ttl_s, MIN_RETRY_S), MAX_RETRY_S)


@frozen(kw_only=True)
class Belief:
    """The set that is answered, and the wholly different one that waits to be believed, since `seen_at`."""

    current: Rdatas = ()
    waiting: Rdatas = ()
    seen_at: float = float("-inf")

    def after(self, found: Rdatas, now: float, hold_change_s: float) -> Belief:
        """Return which set is answered after a resolution that found these addresses.

        A set that shares no address with the current one is taken when it, or one that shares an address with it, has
        been found in two resolutions at least `hold_change_s` apart. Whatever else is found in between starts the
        count again. None at all is no set: the one before stays the one to compare with, `held_until` says whether it
        is answered, and who goes over to NODATA begins with a new `Belief`.
        """
        if not found:
            return Belief(current=self.current)
        if not self.current or not hold_change_s or not _are_apart(found, self.current):
            return Belief(current=found)
        if not self.waiting or _are_apart(found, self.waiting):
            return Belief(current=self.current, waiting=found, seen_at=now)
        if now - self.seen_at >= hold_change_s:
            return Belief(current=found)
        return evolve(self, waiting=found)

    def due(self, hold_change_s: float) -> float | None:
        """Return when to resolve again so that a set that waits can be believed, None where none does."""
        return self.seen_at + hold_change_s if self.waiting else None


NO_BELIEF: Final = Belief()


def _are_apart(one: Rdatas, other: Rdatas) -> bool:
    return set(one).isdisjoint(other)
