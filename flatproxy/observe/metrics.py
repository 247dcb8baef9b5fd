"""The metrics: one collector that reads plain numbers when a scrape asks.

It must never keep a count of its own, and never be touched by the packet path.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import dns.rcode
from attrs import field, frozen
from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from flatproxy.observe import families as f
from flatproxy.observe.sources import RUNGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from flatproxy.observe.sources import Buckets, NameStatus, Server, Sources, Traffic

DETAIL_LIMIT: Final = 1000
"""Up to this many flagged names (counted per type) each has its own series; above it only those that are not fresh."""
ADDRESS_LIMIT: Final = 32
"""Addresses shown per name and type, so that one huge RRset does not fill a scrape."""

_VERDICTS: Final = ("forwarded", "flattened", "refused", "dropped")
_ALWAYS_SHOWN: Final = frozenset({0, 1, 2, 3, 4, 5, 16})  # so that a rate exists before the first SERVFAIL


def register(registry: CollectorRegistry, sources: Sources, now: Callable[[], float]) -> None:
    """Put flatproxy's metrics and those of the process into `registry`. `now` is the monotonic time in seconds."""
    registry.register(Collector(sources=sources, now=now))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)


def _versions() -> tuple[str, ...]:
    return version("flatproxy"), platform.python_version(), version("twisted"), version("dnspython")


@frozen(kw_only=True, eq=False)
class Collector:
    """Turns the sources into metric families, lazily and one family at a time."""

    sources: Sources
    now: Callable[[], float]
    _versions: tuple[str, ...] = field(factory=_versions, init=False)

    def describe(self) -> Iterator[Metric]:
        """Every family without samples, for the registry's check against duplicates. It reads no source."""
        return (family.empty() for family in f.FAMILIES)

    def collect(self) -> Iterator[Metric]:
        """Every family with its samples as they are now. The statuses of the names are read once, at the start."""
        statuses = list(self.sources.statuses(self.now()))
        yield from _traffic(self.sources.traffic)
        yield _histogram(f.RESOLVE, self.sources.resolve_latency)
        yield from _servers(list(self.sources.servers()))
        yield from _names(statuses)
        yield from self._condition()

    def _condition(self) -> Iterator[Metric]:
        reload = self.sources.reload()
        yield f.ZONE_SIGNED.of(*(((zone,), 1) for zone in self.sources.signed_zones()))
        yield f.STATE_ERRORS.of(((), self.sources.state_errors()))
        yield f.RELOAD_SUCCESS.of(((), int(reload.success)))
        yield f.RELOAD_AT.of(((), reload.at))
        yield f.CONFIG.of(((reload.digest,), 1))
        yield f.BUILD.of((self._versions, 1))


def _histogram(family: f.Family, buckets: Buckets) -> Metric:
    metric = family.empty()
    bounds = [*map(floatToGoString, buckets.bounds), "+Inf"]
    below = list(accumulate(buckets.counts))
    metric.samples = [
        Sample(f"{family.exposed}_bucket", {"le": le}, count) for le, count in zip(bounds, below, strict=True)
    ]
    metric.samples.append(Sample(f"{family.exposed}_count", {}, below[-1]))
    metric.samples.append(Sample(f"{family.exposed}_sum", {}, buckets.total))
    return metric


def _traffic(traffic: Traffic) -> Iterator[Metric]:
    yield f.QUERIES.of(
        *(
            ((transport, verdict), getattr(counts, verdict))
            for transport, counts in (("udp", traffic.udp), ("tcp", traffic.tcp))
            for verdict in _VERDICTS
        )
    )
    yield f.REPLIES.of(
        *(
            ((dns.rcode.to_text(dns.rcode.Rcode.make(number)),), count)
            for number, count in enumerate(traffic.rcodes)
            if count or number in _ALWAYS_SHOWN
        )
    )
    yield f.MALFORMED.of(((), traffic.malformed))
    yield f.UNSENT.of(((), traffic.unsent))
    yield _histogram(f.FORWARD, traffic.latency)
    yield f.TCP_CONNECTIONS.of(((), traffic.tcp_connections))


def _servers(servers: Sequence[Server]) -> Iterator[Metric]:
    for family, value in (
        (f.UPSTREAM_UP, "up"),
        (f.UPSTREAM_PENDING, "pending"),
        (f.UPSTREAM_SENT, "sent"),
        (f.UPSTREAM_TIMEOUTS, "timeouts"),
        (f.UPSTREAM_MISMATCHED, "mismatched"),
    ):
        yield family.of(*(((str(server.endpoint),), int(getattr(server, value))) for server in servers))


def _detailed(statuses: Sequence[NameStatus]) -> Sequence[NameStatus]:
    if len(statuses) <= DETAIL_LIMIT:
        return statuses
    return [status for status in statuses if status.rung != "fresh"][:DETAIL_LIMIT]


def _names(statuses: Sequence[NameStatus]) -> Iterator[Metric]:
    rungs = dict.fromkeys(RUNGS, 0)
    for status in statuses:
        rungs[status.rung] += 1
    yield f.NAMES.of(*(((rung,), count) for rung, count in rungs.items()))
    yield from _per_name([(status, (status.name, status.rdtype)) for status in _detailed(statuses)])


def _per_name(shown: Sequence[tuple[NameStatus, tuple[str, str]]]) -> Iterator[Metric]:
    def known(values: Iterable[tuple[tuple[str, str], float | None]]) -> Iterator[tuple[tuple[str, str], float]]:
        return ((labels, value) for labels, value in values if value is not None)

    yield f.RUNG.of(*((labels, RUNGS.index(status.rung)) for status, labels in shown))
    yield f.ABSENT.of(*((labels, int(status.absent)) for status, labels in shown))
    yield f.TTL_LEFT.of(*((labels, status.ttl_left_s) for status, labels in shown))
    yield f.AGE.of(*known((labels, status.age_s) for status, labels in shown))
    yield f.STALE_LEFT.of(*known((labels, status.stale_left_s) for status, labels in shown))
    yield f.ADDRESS.of(
        *(
            ((*labels, address), 1)
            for status, labels in shown
            for address in sorted(set(status.addresses))[:ADDRESS_LIMIT]  # sorted: the same ones from scrape to scrape
        )
    )
    yield f.ADDRESS_CHANGE.of(*known((labels, status.changed_at) for status, labels in shown))
    yield f.CHAIN_LENGTH.of(*((labels, len(status.chain)) for status, labels in shown))
    yield f.RESOLUTIONS.of(
        *(((*labels, outcome), count) for status, labels in shown for outcome, count in status.outcomes.items())
    )
