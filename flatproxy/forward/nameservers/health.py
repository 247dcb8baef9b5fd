"""Whether a nameserver is up over one transport: a rule over answers and silences. It sends nothing.

    calm ──a query ran out──► suspect ──six probes ran out──► down
      ▲                         │                               │
      └──────── any answer ─────┴───────────────────────────────┘

One lost packet proves nothing, so only silence counts: no answer of any kind since the lost query was sent. A suspect
is passed over where another server is there, and still used where it is the only one. Probes settle it. So it is with
a server that has SERVFAIL for everything: it is *failing* once several probes got that and no query got anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define
from twisted.logger import Logger

from flatproxy.wire.reply import SERVFAIL

if TYPE_CHECKING:
    from collections.abc import Callable

log = Logger()

PROBE_TIMEOUT_S = 1.0
"""A probe that was not answered for so long has failed."""
PROBE_S = 1.0
"""Between probes of a server that is suspect, down or failing."""
QUIET_S = 5.0
"""Without an answer for this long, even an idle server is probed."""
PROBES_TO_DOWN = 6
"""Unanswered probes in a row, with a loss of 44 % (a quarter each way) one chance in 138."""
PROBES_TO_FAILING = 3
"""Probes in a row that got SERVFAIL, and no answer to anything else that did not."""


def _nothing() -> None:
    """Tell nobody."""


@define(eq=False)
class Health:
    """The state of one server over one transport. Times are monotonic seconds.

    `changed` is called when another server may be the better one to ask.
    """

    server: str = ""
    changed: Callable[[], None] = _nothing
    over_tcp: bool = False
    up: bool = True
    suspect: bool = False
    answered_at: float = 0.0
    probed_at: float = 0.0
    unanswered: int = 0
    servfails: int = 0
    """0 while answers are good; 1 once one was SERVFAIL, and one more for each probe that was."""

    @property
    def failing(self) -> bool:
        """Whether it answers SERVFAIL to everything."""
        return self.servfails > PROBES_TO_FAILING

    @property
    def rank(self) -> tuple[bool, bool]:
        """How much another server is to be preferred: the least first."""
        return self.suspect, self.failing

    @property
    def troubled(self) -> bool:
        """Whether probes have something to settle."""
        return self.suspect or not self.up or self.servfails > 0

    def heard(self, reply: bytes, now: float) -> None:
        """Take note of a reply to a query. Called once for each batch of them."""
        self.answered_at = now
        if self.suspect or self.servfails or reply[3] & 0x0F == SERVFAIL:
            self._judge(reply, probe=False)

    def probe_answered(self, reply: bytes, now: float) -> None:
        """Take note of a reply to a probe."""
        self.answered_at = now
        self._judge(reply, probe=True)

    def _judge(self, reply: bytes, *, probe: bool) -> None:
        before = self.up, self.rank
        self.up, self.suspect, self.unanswered = True, False, 0
        if reply[3] & 0x0F != SERVFAIL:
            self.servfails = 0
        else:
            self.servfails = max(self.servfails + probe, 1)
        self._tell(*before)

    def silent(self, sent_at: float) -> None:
        """Take note that a query sent at `sent_at` was given up, or could not be sent."""
        if sent_at > self.answered_at and not self.suspect:
            before = self.up, self.rank
            self.suspect = True
            self._tell(*before)

    def probe_failed(self, sent_at: float) -> None:
        """Take note that a probe sent at `sent_at` was given up, or refused by the host."""
        if sent_at <= self.answered_at:
            return
        before = self.up, self.rank
        self.suspect = True
        self.unanswered += 1
        if self.unanswered >= PROBES_TO_DOWN:
            self.up = False
        self._tell(*before)

    def _tell(self, was_up: bool, rank: tuple[bool, bool]) -> None:  # noqa: FBT001 - what it was
        """Log what an operator must know, and have the best server chosen anew."""
        if was_up != self.up:
            (_say_over_tcp if self.over_tcp else _say)(self)
        if self.failing and not rank[1]:
            log.error("upstream {server} answers SERVFAIL to everything", event="upstream_failing", server=self.server)
        elif rank[1] and not self.failing:
            log.info("upstream {server} no longer answers SERVFAIL", event="upstream_answers", server=self.server)
        if was_up != self.up or rank != self.rank:
            self.changed()

    def probe_is_due(self, now: float, *, wary: bool = False) -> bool:
        """Tell whether to probe now; the caller does so at once. `wary`: something else makes it look unwell."""
        troubled = self.troubled or wary
        if now < (self.probed_at + PROBE_S if troubled else max(self.probed_at, self.answered_at) + QUIET_S):
            return False
        self.probed_at = now
        return True


def _say(health: Health) -> None:
    if health.up:
        log.info("upstream {server} is up", event="upstream_up", server=health.server)
    else:
        log.error("upstream {server} is down", event="upstream_down", server=health.server)


def _say_over_tcp(health: Health) -> None:
    if health.up:
        log.info("upstream {server} is up over TCP", event="upstream_tcp_up", server=health.server)
    else:
        log.error("upstream {server} is down over TCP", event="upstream_tcp_down", server=health.server)
