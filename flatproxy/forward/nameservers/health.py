"""Whether a nameserver is up: a rule told of answers and silences with the time. It sends nothing itself.

One lost packet proves nothing, so only silence counts: no answer of any kind since the lost query was sent. Then the
server is suspect: passed over where another one is there, still used where it is the only one. Probes settle it.
"""

from __future__ import annotations

from attrs import define

PROBE_S = 1.0
"""Between probes of a server that is suspect or down."""
QUIET_S = 5.0
"""Without an answer for this long, even an idle server is probed."""
PROBES_TO_DOWN = 6
"""Unanswered probes in a row, with a loss of 44 % (a quarter each way) one chance in 138."""


@define
class Health:
    """The state of one server. Times are monotonic seconds."""

    up: bool = True
    suspect: bool = False
    answered_at: float = 0.0
    probed_at: float = 0.0
    unanswered: int = 0

    def answered(self, now: float) -> None:
        """Take note of an answer of any kind."""
        self.up = True
        self.suspect = False
        self.unanswered = 0
        self.answered_at = now

    def silent(self, sent_at: float) -> None:
        """Take note that a query sent at `sent_at` was given up."""
        if sent_at > self.answered_at:
            self.suspect = True

    def probe_failed(self, sent_at: float) -> None:
        """Take note that a probe sent at `sent_at` was given up, or refused by the host."""
        if sent_at <= self.answered_at:
            return
        self.suspect = True
        self.unanswered += 1
        if self.unanswered >= PROBES_TO_DOWN:
            self.up = False

    def probe_is_due(self, now: float) -> bool:
        """Tell whether to probe now; the caller does so at once."""
        wait = PROBE_S if self.suspect or not self.up else QUIET_S
        if now - max(self.probed_at, self.answered_at if not self.suspect else 0.0) < wait:
            return False
        self.probed_at = now
        return True
