"""One resolver as the status page knows it: what was counted of it, and whether it answers. It asks nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from flatproxy.config.settings import Endpoint
    from flatproxy.counts import Questions, Replies

UNANSWERED: Final = 3
"""Questions in a row without a reply make a resolver count as down, until its next reply."""


@frozen
class AskedResolver:
    """A resolver of the settings in force."""

    endpoint: Endpoint
    _questions: Questions

    @property
    def state(self) -> str:
        """`up`, or `down` where the last questions had no reply."""
        return "up" if self._questions.unanswered < UNANSWERED else "down"

    @property
    def sent(self) -> int:
        """Questions asked of it."""
        return self._questions.sent

    @property
    def timeouts(self) -> int:
        """Questions that had no reply: in time, or at all."""
        return self._questions.silences

    @property
    def replies(self) -> Replies:
        """What it has replied."""
        return self._questions.replies
