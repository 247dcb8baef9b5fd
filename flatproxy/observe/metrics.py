"""The metrics: one collector that reads plain numbers when a scrape asks.

It must never keep a count of its own, and never be touched by the packet path.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from ipaddress import ip_address
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Final

import dns.rcode
from attrs import field, frozen
from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from flatproxy.observe import families as f
from flatproxy.observe.sources import RUNGS
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from flatproxy.counts import BucketTable, Traffic, Verdicts
    from flatproxy.observe.sources import AddressHealth, FleetStatus, MeasuredResolver, NameStatus, Server, Sources

DETAIL_LIMIT: Final = 1000
"""Up to this many flagged names (counted per type) each has its own series; above it only those that are not fresh.

As many signed zones are shown."""
ADDRESS_LIMIT: Final = 32
"""Addresses shown per name and type, so that one huge RRset does not fill a scrape."""

PIECE: Final = 50
"""Names whose samples are made without a rest: about a millisecond of work."""

_Read = Callable[["NameStatus"], Sequence["f.Reading"]]
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
        """Every family with its samples as they are now. The statuses of the names shown are read once."""
        yield from _traffic(self.sources.traffic())
        yield _histogram(f.RESOLVE_SECONDS, self.sources.resolve_latency)
        yield _histogram(f.HEALTH_SECONDS, self.sources.probe_latency)
        yield f.HEALTH_LATE.of(((), self.sources.probes_late()))
        yield from _health(self.sources)
        yield from _servers(list(self.sources.servers()))
        yield from _resolvers(list(self.sources.resolvers()))
        yield from _names(self.sources, self.now())
        yield from self._condition()

    def _condition(self) -> Iterator[Metric]:
        reload = self.sources.reload()
        dropped = self.sources.dnstap_dropped()
        yield f.DNSTAP_DROPPED.of(*([] if dropped is None else [((), dropped)]))
        expires_at = self.sources.certificate_expires_at()
        yield f.CERTIFICATE_EXPIRES.of(*([] if expires_at is None else [((), expires_at)]))
        yield f.ZONE_SIGNED.of(*(((zone,), 1) for zone in islice(self.sources.signed_zones(), DETAIL_LIMIT)))
        yield f.DNSSEC_KEY.of(*self.sources.keys_by_state().items())
        yield f.SHADOW.of(*islice(self.sources.shadow_counts(), DETAIL_LIMIT))
        missing = islice(self.sources.placeholders_missing(), DETAIL_LIMIT)
        yield f.PLACEHOLDER_MISSING.of(*((each, 1) for each in missing))
        tailoring = self.sources.tailoring()
        yield f.SUBNET_ENTRIES.of(
            *(((name,), kept) for name, kept in islice(tailoring.by_target().items(), DETAIL_LIMIT))
        )
        yield f.SUBNET_HITS.of(((), tailoring.hits))
        yield f.SUBNET_EVICTIONS.of(((), tailoring.evictions))
        yield f.CONTROLLERS.of(*(((name,), there) for name, there in islice(self.sources.controllers(), DETAIL_LIMIT)))
        yield f.ADDRESSES_CUT.of(((), self.sources.addresses_cut()))
        yield f.STATE_ERRORS.of(((), self.sources.state_errors()))
        yield from _fleet(self.sources.fleet())
        yield f.SYNC_NAMES.of(*(((state,), count) for state, count in self.sources.sync_states().items()))
        yield f.SYNC_TRIES.of(*(((outcome,), count) for outcome, count in self.sources.sync_outcomes().items()))
        conflicts = islice(self.sources.sync_conflicts(), DETAIL_LIMIT)
        yield f.SYNC_CONFLICT.of(*(((name,), 1) for name in conflicts))
        yield f.RELOAD_SUCCESS.of(((), int(reload.success)))
        yield f.RELOAD_AT.of(((), reload.at))
        yield f.CONFIG.of(((reload.digest,), 1))
        yield f.BUILD.of(((*self._versions, self.sources.packet_path()), 1))


def _fleet(fleet: FleetStatus | None) -> Iterator[Metric]:
    """Give all families, without samples where there is no fleet."""
    if fleet is None:
        yield from map(f.Family.empty, _FLEET)
        return
    yield f.FLEET_STORE_UP.of(((), int(fleet.joined)))
    yield _histogram(f.FLEET_STORE_SECONDS, fleet.latency)
    yield f.FLEET_STORE_ERRORS.of(*(((reason,), count) for reason, count in fleet.errors.items()))
    yield f.FLEET_RESOLUTIONS.of(*(((by,), count) for by, count in fleet.resolutions.items()))
    yield f.FLEET_LEASES.of(((), fleet.leases))
    yield f.FLEET_REFUSED.of(*(((reason,), count) for reason, count in fleet.refused.items()))
    yield f.FLEET_NODES.of(((), fleet.nodes))


_FLEET: Final = tuple(family for family in f.FAMILIES if family.name.startswith("fleet_"))


def _histogram(family: f.Family, buckets: BucketTable) -> Metric:
    metric = family.empty()
    metric.samples = list(_buckets(family, buckets, {}))
    return metric


def _buckets(family: f.Family, buckets: BucketTable, labels: dict[str, str]) -> Iterator[Sample]:
    bounds = [*map(floatToGoString, buckets.bounds), "+Inf"]
    below = list(accumulate(buckets.counts))
    for le, count in zip(bounds, below, strict=True):
        yield Sample(f"{family.exposed}_bucket", {**labels, "le": le}, count)
    yield Sample(f"{family.exposed}_count", labels, below[-1])
    yield Sample(f"{family.exposed}_sum", labels, buckets.total)


def _verdicts(transport: str, counts: Verdicts) -> Iterator[f.Reading]:
    yield (transport, "forwarded"), counts.forwarded
    yield (transport, "flattened"), counts.flattened
    yield (transport, "refused"), counts.refused
    yield (transport, "dropped"), counts.dropped


def _traffic(traffic: Traffic) -> Iterator[Metric]:
    transports = (("udp", traffic.udp), ("tcp", traffic.tcp), ("tls", traffic.tls))
    yield f.QUERIES.of(*(reading for name, counts in transports for reading in _verdicts(name, counts)))
    yield f.REPLIES.of(
        *(
            ((dns.rcode.to_text(dns.rcode.Rcode.make(number)),), count)
            for number, count in enumerate(traffic.rcodes)
            if count or number in _ALWAYS_SHOWN
        )
    )
    yield _histogram(f.FORWARD_SECONDS, traffic.latency)
    for family, value in (
        (f.MALFORMED, traffic.malformed),
        (f.UNSENT, traffic.unsent),
        (f.LIMITED, traffic.limited),
        (f.OVERLOADED, traffic.overloaded),
        (f.TCP_CONNECTIONS, traffic.tcp_connections),
        (f.TCP_REFUSED, traffic.tcp_refused),
        (f.TCP_EVICTED, traffic.tcp_evicted),
        (f.TLS_FAILED, traffic.tls_failed),
    ):
        yield family.of(((), value))


def _health(sources: Sources) -> Iterator[Metric]:
    """Show addresses that are checked, of which several names, views and targets may have the same."""
    shown: dict[tuple[str, ...], AddressHealth] = {}
    for each in islice(sources.checked_addresses(), DETAIL_LIMIT):
        labels = names.to_text(each.name), names.to_text(each.target), str(ip_address(each.address))
        shown.setdefault(labels, each)  # the sick ones come first
    yield f.HEALTH_UP.of(*((labels, int(each.is_well)) for labels, each in shown.items()))
    yield f.HEALTH_FLAPS.of(*((labels, each.flaps) for labels, each in shown.items()))
    failing: dict[str, bool] = {}
    for name, fails in islice(sources.failing_open(), DETAIL_LIMIT):
        failing.setdefault(names.to_text(name), fails)
    yield f.HEALTH_FAILING_OPEN.of(*(((name,), int(fails)) for name, fails in failing.items()))


def _servers(servers: Sequence[Server]) -> Iterator[Metric]:
    def each(family: f.Family, read: Callable[[Server], int]) -> Metric:
        return family.of(*(((str(server.endpoint),), read(server)) for server in servers))

    yield each(f.UPSTREAM_UP, lambda server: int(server.up))
    yield each(f.UPSTREAM_PENDING, lambda server: server.pending)
    yield each(f.UPSTREAM_SENT, lambda server: server.sent)
    yield each(f.UPSTREAM_TIMEOUTS, lambda server: server.timeouts)
    yield each(f.UPSTREAM_MISMATCHED, lambda server: server.mismatched)


def _resolvers(resolvers: Sequence[MeasuredResolver]) -> Iterator[Metric]:
    seconds = f.RESOLVER_SECONDS.empty()
    for each in resolvers:
        seconds.samples += _buckets(f.RESOLVER_SECONDS, each.replies.latency, {"resolver": str(each.endpoint)})
    yield seconds
    yield f.RESOLVER_FAILURES.of(
        *(((str(each.endpoint), reason), count) for each in resolvers for reason, count in each.failures.items())
    )


def _names(sources: Sources, now: float) -> Iterator[Metric]:
    """Count all names, and show some: the counts are kept by who changes them, so that nobody walks over a million."""
    by_rung = sources.names_by_rung()
    yield f.NAMES.of(*(((rung,), by_rung[rung]) for rung in RUNGS))
    few = sum(by_rung.values()) <= DETAIL_LIMIT
    statuses = islice((sources.statuses if few else sources.not_fresh)(now), DETAIL_LIMIT)
    shown: list[NameStatus] = []
    rungs = f.Pieces(f.RUNG, _readings(_kept(statuses, shown), _rung))
    yield rungs
    for _piece in rungs.pieces():  # whoever took it may not have looked at its samples
        pass
    for family, read in _PER_NAME:
        yield f.Pieces(family, _readings(shown, read))


def _kept(statuses: Iterable[NameStatus], shown: list[NameStatus]) -> Iterator[NameStatus]:
    for status in statuses:
        shown.append(status)
        yield status


def _readings(statuses: Iterable[NameStatus], read: _Read) -> Iterator[Iterable[f.Reading]]:
    """Yield at least one piece, so that a family without samples is told of, too."""
    left = iter(statuses)
    first = True
    while (piece := list(islice(left, PIECE))) or first:
        first = False
        yield [((status.name, status.rdtype, *more), value) for status in piece for more, value in read(status)]


def _rung(status: NameStatus) -> Sequence[f.Reading]:
    return _known(RUNGS[status.rung])


def _known(value: float | None) -> Sequence[f.Reading]:
    return () if value is None else (((), value),)


def _addresses(status: NameStatus) -> Sequence[f.Reading]:
    if not types.has_addresses(types.number_of(status.rdtype)):
        return ()
    first = sorted(set(status.rdatas))[:ADDRESS_LIMIT]  # sorted: the same ones from scrape to scrape
    return [((address,), 1) for address in first]


_PER_NAME: Final[tuple[tuple[f.Family, _Read], ...]] = (
    (f.ABSENT, lambda status: _known(int(status.absent))),
    (f.TTL_LEFT, lambda status: _known(status.ttl_left_s)),
    (f.AGE, lambda status: _known(status.age_s)),
    (f.STALE_LEFT, lambda status: _known(status.stale_left_s)),
    (f.ADDRESS_INFO, _addresses),
    (f.ADDRESS_CHANGE, lambda status: _known(status.changed_at)),
    (f.CHAIN_LENGTH, lambda status: _known(len(status.chain))),
    (f.RESOLUTIONS, lambda status: [((outcome,), count) for outcome, count in status.outcomes.items()]),
)
"""The families of a name but its rung, and what each reads of its status: labels after name and type, and value."""
