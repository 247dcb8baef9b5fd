"""Why a store was lost or an entry refused, and how often: plain counts. No socket and nothing of redis lives here."""

from __future__ import annotations

from collections import Counter
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from flatproxy.counts import BucketTable, worth_a_line
from flatproxy.errors import FlatproxyError

log = Logger()

STORE_REASONS: Final = ("timeout", "connection", "unavailable", "full", "readonly", "auth", "garbage", "skew", "other")
ENTRY_REASONS: Final = ("size", "schema", "hmac", "content", "time", "old", "guard")
SAID_AT_MOST: Final = 1_000
"""Of so many entries that are not believed is said so, each once."""


class StoreLost(FlatproxyError):
    """The store cannot be used."""

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(text or reason)
        self.reason = reason if reason in STORE_REASONS else "other"


@define(eq=False)
class FleetCounts:
    """What of a fleet is counted at one node."""

    latency: BucketTable = field(factory=BucketTable)
    errors: Counter[str] = field(factory=Counter)
    refused: Counter[str] = field(factory=Counter)
    own: int = 0
    """Resolutions made here."""
    fleet: int = 0
    """Resolutions taken from others."""

    _said: set[tuple[str, str]] = field(factory=set)

    def refuse(self, reason: str, place: str) -> None:
        """Count an entry that is not believed, and say so once; with very many of them, seldom."""
        self.refused[reason] += 1
        is_new = (reason, place) not in self._said
        if is_new and len(self._said) < SAID_AT_MOST:
            self._said.add((reason, place))
        elif not (is_new and worth_a_line(self.refused[reason])):
            return
        log.warn(
            "what the fleet's store has of {place} is not believed: {reason} ({times} so far)",
            event="fleet_entry_refused",
            place=place,
            reason=reason,
            times=self.refused[reason],
        )
