"""From rounds to figures: medians, ratios within a run, and the targets that they are held against."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from bench.works import CACHED, DNSDIST, FLATPROXY, PDNS, PIPELINED, SPLIT

if TYPE_CHECKING:
    from collections.abc import Mapping

Result = dict[str, Any]
"""What a run wrote to `bench/results`."""

MIB: Final = 1024 * 1024


@frozen(kw_only=True)
class Target:
    """What flatproxy shall reach beside another server: `bound` is the least ratio, or the most where lower is better.

    Without a bound the ratio is shown and judged by nobody.
    """

    work: str
    figure: str
    against: str
    bound: float | None
    lower_is_better: bool = False

    def met(self, ratio: float) -> bool | None:
        if self.bound is None:
            return None
        return ratio <= self.bound if self.lower_is_better else ratio >= self.bound


TARGETS: Final = (
    Target(work="forwarded UDP", figure="qps", against=DNSDIST, bound=1.25),
    Target(work="forwarded UDP", figure="cpu_us", against=DNSDIST, bound=1.0, lower_is_better=True),
    Target(work="flattened UDP", figure="qps", against=CACHED, bound=0.95),
    Target(work="flattened UDP", figure="cpu_us", against=CACHED, bound=None, lower_is_better=True),
    Target(work="flattened UDP", figure="qps", against=PDNS, bound=4.0),
    Target(work="flattened UDP", figure="cpu_us", against=PDNS, bound=None, lower_is_better=True),
    Target(work="forwarded TCP", figure="qps", against=DNSDIST, bound=0.75),
    Target(work="forwarded TCP", figure="qps", against=PIPELINED, bound=None),
    Target(work="mixed UDP", figure="qps", against=SPLIT, bound=None),
    Target(work="mixed UDP", figure="cpu_us", against=SPLIT, bound=None, lower_is_better=True),
    Target(work="latency, forwarded", figure="median_ms", against=DNSDIST, bound=1.0, lower_is_better=True),
    Target(work="latency, forwarded", figure="p99_ms", against=DNSDIST, bound=1.0, lower_is_better=True),
    Target(work="latency, forwarded", figure="p999_ms", against=DNSDIST, bound=None, lower_is_better=True),
    Target(work="latency, flattened", figure="median_ms", against=CACHED, bound=None, lower_is_better=True),
    Target(work="latency, flattened", figure="p99_ms", against=CACHED, bound=None, lower_is_better=True),
)
START_S: Final = 1.0
MEMORY_BYTES: Final = 60 * MIB

FIGURES: Final = {
    "qps": "queries a second",
    "cpu_us": "CPU a query",
    "median_ms": "median",
    "p99_ms": "p99",
    "p999_ms": "p99.9",
}


def figure(result: Result, work: str, server: str, name: str) -> float:
    """Return the median over the rounds."""
    return float(median(each[name] for each in result["works"][work][server]))


def rounds(result: Result, work: str, server: str, name: str) -> list[float]:
    """Return the figure in each round, in order."""
    return [float(each[name]) for each in result["works"][work][server]]


@frozen(kw_only=True)
class Ratio:
    """A ratio of medians, and the least and the most that single rounds gave."""

    value: float
    least: float
    most: float


def ratio(result: Result, target: Target) -> Ratio:
    """Return flatproxy's figure as a multiple of the other server's."""
    ours = rounds(result, target.work, FLATPROXY, target.figure)
    theirs = rounds(result, target.work, target.against, target.figure)
    single = [one / max(other, 1e-9) for one, other in zip(ours, theirs, strict=True)]
    return Ratio(value=median(ours) / max(median(theirs), 1e-9), least=min(single), most=max(single))


def lost(result: Result) -> Mapping[str, int]:
    """Return how many queries each server lost, over all rounds, where it lost any."""
    totals: dict[str, int] = {}
    for servers in result["works"].values():
        for name, each in servers.items():
            totals[name] = totals.get(name, 0) + sum(one["lost"] for one in each)
    return {name: total for name, total in totals.items() if total}
