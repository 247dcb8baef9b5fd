"""From rounds to figures: medians, ratios within a run, and the targets that they are held against."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from bench.works import (
    ANSWERER,
    BEFORE,
    CACHED,
    DNSDIST,
    FLATPROXY,
    FRESH,
    MANY,
    PDNS,
    PIPELINED,
    PYTHON,
    RELAY,
    SPLIT,
    THOUSAND,
    THREADS,
    VIEWS,
    WORKS,
    beside_before,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Result = dict[str, Any]
"""What a run wrote to `bench/results`."""

MIB: Final = 1024 * 1024


@frozen
class Target:
    """What flatproxy shall reach beside another server: `bound` is the most that the ratio may be.

    Of queries a second, where more is better, it is the least. Without a bound the ratio is judged by nobody.
    """

    work: str
    figure: str
    against: str
    bound: float | None
    server: str = FLATPROXY

    @property
    def less_is_better(self) -> bool:
        return self.figure != "qps"

    def met(self, ratio: float) -> bool | None:
        if self.bound is None:
            return None
        return ratio <= self.bound if self.less_is_better else ratio >= self.bound


TARGETS: Final = (
    Target("forwarded UDP", "cpu_us", RELAY, 1.1),
    Target("forwarded UDP", "cpu_us", DNSDIST, 0.7),
    Target("forwarded UDP", "qps", DNSDIST, 1.5),
    Target("forwarded UDP", "cpu_us", FLATPROXY, 1.1, FLATPROXY + FRESH),
    Target("forwarded UDP", "cpu_us", FLATPROXY, 1.15, FLATPROXY + THREADS),
    Target("flattened UDP", "cpu_us", ANSWERER, 1.15),
    Target("flattened UDP", "cpu_us", CACHED, 0.85),
    Target("flattened UDP", "qps", PDNS, 4.0),
    Target("flattened UDP", "cpu_us", FLATPROXY, 1.15, FLATPROXY + THREADS),
    Target("flagged names", "qps", FLATPROXY + THOUSAND, 0.9, FLATPROXY + MANY),
    Target("views", "cpu_us", PYTHON, 1.05, PYTHON + VIEWS),
    Target("views, forwarded", "cpu_us", PYTHON, 1.05, PYTHON + VIEWS),
    Target("mixed UDP", "qps", SPLIT, None),
    Target("mixed UDP", "cpu_us", SPLIT, None),
    Target("forwarded TCP", "qps", DNSDIST, 2.0),
    Target("forwarded TCP", "cpu_us", DNSDIST, 0.4),
    Target("forwarded TCP", "qps", PIPELINED, 1.5),
    Target("forwarded TCP", "cpu_us", PIPELINED, 0.8),
    Target("flattened TCP", "qps", CACHED, 2.0),
    Target("a connection for each query", "cpu_us", DNSDIST, 1.0),
    Target("handed over", "cpu_us", PYTHON, 1.0),
    Target("latency, handed over", "median_ms", PYTHON, 1.0),
    Target("latency, forwarded", "median_ms", DNSDIST, 1.0),
    Target("latency, forwarded", "p99_ms", DNSDIST, 1.0),
    Target("latency, flattened", "median_ms", CACHED, None),
    Target("latency, flattened", "p99_ms", CACHED, None),
)
BEFORE_TARGETS: Final = tuple(
    Target(work.name, "cpu_us", name.replace(PYTHON, BEFORE), 1.03, name)
    for work in beside_before(WORKS)
    for name in work.servers
    if name.startswith(PYTHON)
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


def ratio(result: Result, target: Target) -> Ratio | None:
    """Return flatproxy's figure as a multiple of the other server's; None where one of the two was not measured."""
    if not {target.server, target.against} <= result["works"].get(target.work, {}).keys():
        return None
    ours = rounds(result, target.work, target.server, target.figure)
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
