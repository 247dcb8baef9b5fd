"""The place of one worker: its sockets, who has them, and when the next one may begin. It starts and ends nobody."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from flatproxy.forward.listen import Sockets
    from flatproxy.workers.link import Link

EARLY_S = 2.0
"""A worker that ends sooner after its start ended early: after the third in a row there is a pause."""
COVER_S = 1.0
"""Sockets of which nothing was heard for so long are read by another worker: a share of the clients depends on them."""
PAUSE_S = 0.5
MAX_PAUSE_S = 30.0


def pause_s(early: int) -> float:
    """Return how long to wait after so many early ends in a row: nothing twice, then 0.5 s, doubling to 30 s."""
    return min(PAUSE_S * (1 << min(early - 3, 10)), MAX_PAUSE_S) if early > 2 else 0.0


@define(eq=False)
class Slot:
    """One of the `listen.workers`. `number` counts from 1; times are monotonic seconds."""

    number: int
    sockets: list[Sockets] = field(factory=list)
    link: Link | None = None
    early: int = 0
    """Early ends in a row."""
    served_at: float = field(factory=monotonic)
    """When it was last known that somebody takes packets here."""
    due: float | None = None
    """When the next one may begin; None where there is one."""

    @property
    def serving(self) -> bool:
        """Whether somebody takes packets here."""
        return self.link is not None and self.link.serving

    def is_idle(self, now: float) -> bool:
        """Tell whether nobody has taken packets here for a while."""
        if self.link is not None and self.link.serving:
            self.served_at = self.link.heard_at
        return now - self.served_at > COVER_S

    def vacate(self, now: float, *, early: bool) -> None:
        """Take note that nobody is here any more."""
        self.link = None
        self.early = self.early + 1 if early else 0
        self.due = now + pause_s(self.early)

    def is_due(self, now: float) -> bool:
        """Tell whether another one is to begin."""
        return self.due is not None and now >= self.due

    def fill(self, link: Link) -> None:
        """Take note of who is here now."""
        self.link, self.due = link, None
