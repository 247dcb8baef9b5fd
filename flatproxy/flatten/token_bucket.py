"""A token bucket: how fast questions may be asked that nobody waits for. It knows no clock, and never sleeps."""

from __future__ import annotations

from attrs import define

BURST_S = 0.1


@define
class TokenBucket:
    """So many questions a second; what is not used is kept for `BURST_S`, so that they never come all at once."""

    rate: float
    _left: float = 0.0
    _at: float = float("-inf")

    def refill(self, now: float) -> None:
        """Take note of the time, in monotonic seconds."""
        self._left = min(self._left + (now - self._at) * self.rate, max(self.rate * BURST_S, 1.0))
        self._at = now

    @property
    def has_token(self) -> bool:
        """Tell whether a question may be asked now."""
        return self._left >= 1.0

    def take(self) -> bool:
        """Use a token; False where there is none."""
        if not self.has_token:
            return False
        self._left -= 1.0
        return True

    def owe(self) -> None:
        """Use a token for what is done already, so that what comes next waits for longer where there was none."""
        self._left -= 1.0
