"""One resolver as the status page knows it: what was counted of it, and whether it answers. It asks nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flatproxy.counts import Replies, ResolverCounts
    from flatproxy.flatten.resolvers.servers import AnyServer

UNANSWERED: Final = 3
"""Questions in a row without a reply make a resolver count as down, until its next reply."""


@frozen
class AskedResolver:
    """A resolver of the settings in force."""

    endpoint: AnyServer
    _counts: ResolverCounts

    @property
    def state(self) -> str:
        """`up`, or `down` where the last questions had no reply."""
        return "up" if self._counts.unanswered < UNANSWERED else "down"

    @property
    def sent(self) -> int:
        """Questions asked of it."""
        return self._counts.sent

    @property
    def timeouts(self) -> int:
        """Questions that had no reply: in time, or at all."""
        return self._counts.silences

    @property
    def replies(self) -> Replies:
        """What it has replied."""
        return self._counts.replies

    @property
    def failures(self) -> Mapping[str, int]:
        """How often it gave no answer, by reason."""
        return self._counts.failures
