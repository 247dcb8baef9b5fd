"""The last five minutes of each server: how fast it replied, how often it did not, and since when it is as it is.

It keeps what was counted every `STEP_S`, and takes the difference when somebody looks: nothing is done for a packet.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flatproxy.counts import BucketTable, Replies

SPAN_S = 300.0
STEP_S = 10.0
UP = "up"
DOWN = "down"


class Counted(Protocol):
    """One server, and what was counted of it since the start."""

    @property
    def endpoint(self) -> object:
        """Its address and port; `str` gives `192.0.2.53:53`."""

    @property
    def state(self) -> str:
        """`up`, `down`, or `failing` where it answers SERVFAIL to everything."""

    @property
    def sent(self) -> int:
        """Queries sent to it."""

    @property
    def timeouts(self) -> int:
        """Queries that it did not answer in time."""

    @property
    def replies(self) -> Replies:
        """What it has replied."""


@frozen(kw_only=True)
class Lately:
    """One server in the last five minutes, or since the start where that is shorter.

    `since` is the Unix time from which on it is in its state; the durations are seconds, None without a reply.
    `failures` is the share of the replies that were SERVFAIL and of the queries without a reply, None without either.
    """

    server: str
    state: str
    since: float
    replies: int
    timeouts: int
    failures: float | None
    p50_s: float | None
    p99_s: float | None


@frozen
class _Counts:
    at: float
    buckets: tuple[int, ...]
    servfails: int
    timeouts: int


@define
class _Server:
    state: str
    since: float
    kept: deque[_Counts] = field(factory=lambda: deque(maxlen=int(SPAN_S / STEP_S) + 1))


@define(eq=False)
class Recent:
    """Those servers that were there at the last `look`, by address and port."""

    _servers: dict[str, _Server] = field(factory=dict)

    def look(self, servers: Iterable[Counted], now: float, wall: float) -> None:
        """Take note of states and counts; to be called about once a second. `wall` is Unix time."""
        known, self._servers = self._servers, {}
        for server in servers:
            name = str(server.endpoint)
            mine = self._servers[name] = known.get(name) or _Server(server.state, wall)
            if mine.state != server.state:
                mine.state, mine.since = server.state, wall
            counts = _counts_of(server, now)
            if mine.kept and _total(counts) < _total(mine.kept[-1]):
                mine.kept.clear()  # a reload has put another one in its place, which counts from 0
            if not mine.kept or now >= mine.kept[-1].at + STEP_S:
                mine.kept.append(counts)

    def lately(self, servers: Iterable[Counted], now: float) -> list[Lately]:
        """Return each of these servers that was looked at before, in their order."""
        return [
            _lately(server, self._servers[str(server.endpoint)], now)
            for server in servers
            if str(server.endpoint) in self._servers
        ]


def _counts_of(server: Counted, now: float) -> _Counts:
    replies = server.replies
    return _Counts(now, tuple(replies.latency.counts), replies.servfails, server.timeouts)


def _total(counts: _Counts) -> int:
    return counts.servfails + counts.timeouts + sum(counts.buckets)


def _lately(server: Counted, known: _Server, now: float) -> Lately:
    counts = _counts_of(server, now)
    before = next(each for each in (*known.kept, counts) if each.at >= now - SPAN_S - STEP_S)
    buckets = [later - earlier for later, earlier in zip(counts.buckets, before.buckets, strict=True)]
    replies, timeouts = sum(buckets), counts.timeouts - before.timeouts
    failed, all_ = counts.servfails - before.servfails + timeouts, replies + timeouts
    latency = server.replies.latency
    return Lately(
        server=str(server.endpoint),
        state=known.state,
        since=known.since,
        replies=replies,
        timeouts=timeouts,
        failures=failed / all_ if all_ else None,
        p50_s=quantile(latency, buckets, 0.5),
        p99_s=quantile(latency, buckets, 0.99),
    )


def quantile(table: BucketTable, counts: Sequence[int], share: float) -> float | None:
    """Return below which duration this share of them is, in seconds, as well as the buckets' bounds tell.

    Within a bucket they are taken to be spread evenly, and what is above the last bound to be at it.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    low = 0.0
    for count, below, high in zip(counts, accumulate(counts), (*table.bounds, table.bounds[-1]), strict=True):
        if below >= wanted:
            return low + (high - low) * (wanted - (below - count)) / count
        low = high
    return low
