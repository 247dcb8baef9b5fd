"""Plain integers that the busy parts count in; Prometheus reads them when it asks. Nothing here publishes anything."""

from __future__ import annotations

from bisect import bisect_left

from attrs import define, field

# From a warm cache on the same host to the longest timeout that makes sense.
_SERVFAIL = 2
LATENCY_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_ANSWERS = (0, 3)  # NOERROR, NXDOMAIN
_BY_RCODE = {2: "servfail", 5: "refused"}
_REASONS = ("timeout", "servfail", "refused", "other_rcode", "unreachable", "not_validated")


def worth_a_line(times: int) -> bool:
    """Tell whether to log what has happened this often: the 1st, 2nd, 4th, 8th …: a flood must not fill the log."""
    return times & (times - 1) == 0


@define
class BucketTable:
    """A histogram: `counts[i]` durations were at most `bounds[i]` seconds (and above the bound before it)."""

    bounds: tuple[float, ...] = LATENCY_BOUNDS_S
    counts: list[int] = field(factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


@define
class Replies:
    """What one server has replied: how long each reply took, and how many of them were SERVFAIL."""

    latency: BucketTable = field(factory=BucketTable)
    servfails: int = 0

    def add(self, rcode: int, seconds: float) -> None:
        """Count one reply."""
        self.latency.add(seconds)
        if rcode == _SERVFAIL:
            self.servfails += 1


@define
class ResolverCounts:
    """What was asked of one resolver, and what came of it."""

    sent: int = 0
    silences: int = 0
    """ResolverCounts without a reply: none came in time, or its host said that nobody listens."""
    unanswered: int = 0
    """Silences since its last reply."""
    replies: Replies = field(factory=Replies)
    failures: dict[str, int] = field(factory=lambda: dict.fromkeys(_REASONS, 0))
    """How often the next one was asked for want of an answer, by reason."""

    def answered(self, rcode: int, seconds: float) -> None:
        """Count a reply."""
        self.sent += 1
        self.unanswered = 0
        self.replies.add(rcode, seconds)
        if rcode not in _ANSWERS:
            self.failures[_BY_RCODE.get(rcode, "other_rcode")] += 1

    def silent(self, reason: str) -> None:
        """Count a question without a reply: `timeout` or `unreachable`."""
        self.sent += 1
        self.unanswered += 1
        self.silences += 1
        self.failures[reason] += 1

    def not_validated(self) -> None:
        """Count an answer that was not taken: AD=0, and `require_ad` is set."""
        self.failures["not_validated"] += 1


@define
class Verdicts:
    """What became of the queries of one transport."""

    forwarded: int = 0
    flattened: int = 0
    refused: int = 0
    dropped: int = 0

    @property
    def all(self) -> int:
        """Queries, whatever became of them."""
        return self.forwarded + self.flattened + self.refused + self.dropped


@define
class Traffic:
    """Everything counted on the way of a packet. `rcodes` counts the replies sent to clients."""

    udp: Verdicts = field(factory=Verdicts)
    tcp: Verdicts = field(factory=Verdicts)
    tls: Verdicts = field(factory=Verdicts)
    rcodes: list[int] = field(factory=lambda: [0] * 24)
    latency: BucketTable = field(factory=BucketTable)
    malformed: int = 0
    unsent: int = 0
    tcp_connections: int = 0
    tcp_evicted: int = 0
    tcp_refused: int = 0
    tls_failed: int = 0
    overloaded: int = 0
    limited: int = 0
