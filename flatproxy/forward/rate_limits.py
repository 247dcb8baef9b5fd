"""`[limits]`: how much one client may have of what flatproxy answers itself, and of what it forwards.

Both are off by default. A bucket holds a second's worth and fills with time. Over UDP an address is easily forged, so
responses are counted by network and what is too much is dropped; every `slip`-th is cut short instead (TC=1), so that
a real client comes back over TCP (the rule of BIND's rate limiting).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from flatproxy.config import settings

MAX_BUCKETS = 65_536
"""Clients or networks remembered; those whose bucket is full again are forgotten first."""
DROPPED = 1
SLIP = 2
"""Respond, but cut short."""
PREFIX_V4 = 24
PREFIX_V6 = 56

_Bucket = tuple[float, float, int]
"""Tokens left, when that was so (monotonic seconds), and how many were refused in a row."""


@define(eq=False)
class TokenBuckets:
    """Token buckets by key: at most `per_second` on average, as many at once."""

    per_second: float
    _buckets: dict[bytes, _Bucket] = field(factory=dict)

    def take(self, key: bytes, now: float) -> int:
        """Take a token: 0 where there was one, else how many have been refused in a row."""
        tokens, at, refused = self._buckets.get(key) or (self.per_second, now, 0)
        tokens = min(tokens + (now - at) * self.per_second, self.per_second)
        if key not in self._buckets and len(self._buckets) >= MAX_BUCKETS:
            self._make_room(now)
        if tokens >= 1:
            self._buckets[key] = (tokens - 1, now, 0)
            return 0
        self._buckets[key] = (tokens, now, refused + 1)
        return refused + 1

    def _make_room(self, now: float) -> None:
        """Forget the buckets that are full again, or all where that leaves most of the table.

        A table that little can be forgotten of would be looked through again for every few new addresses.
        """
        self._buckets = {
            key: bucket
            for key, bucket in self._buckets.items()
            if bucket[0] + (now - bucket[1]) * self.per_second < self.per_second
        }
        if len(self._buckets) > MAX_BUCKETS // 2:
            self._buckets.clear()


def network_of(host: bytes) -> bytes:
    """Return the network that stands for a client: /24 for IPv4, /56 for IPv6."""
    return host[: PREFIX_V4 // 8] if len(host) == 4 else host[: PREFIX_V6 // 8]


@define(eq=False)
class RateLimits:
    """The buckets for one `[limits]` table; None is no limit. A reload that leaves the table as it is keeps them."""

    responses: TokenBuckets | None = None
    slip: int = 2
    queries: TokenBuckets | None = None

    @classmethod
    def of(cls, settings: settings.Limits) -> RateLimits | None:
        """Return the limits of a configuration, None where none is on."""
        responses, queries = settings.responses_per_second, settings.queries_per_second
        if not responses and not queries:
            return None
        return cls(
            TokenBuckets(responses) if responses else None, settings.slip, TokenBuckets(queries) if queries else None
        )

    def excess(self, host: bytes, now: float, *, own: bool) -> int:
        """Say what is to become of a query: 0 goes on as if there were no limit. `own`: flatproxy itself responds."""
        buckets = self.responses if own else self.queries
        if buckets is None:
            return 0
        refused = buckets.take(network_of(host) if own else host, now)
        if not refused:
            return 0
        return SLIP if own and self.slip and refused % self.slip == 0 else DROPPED
