"""Sources with plain values, and a scrape read back the way Prometheus reads it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypedDict

from attrs import define, evolve, field, frozen
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from flatproxy.config.settings import Endpoint
from flatproxy.counts import BucketTable, Replies, Traffic, Verdicts
from flatproxy.observe.metrics import register
from flatproxy.observe.scrapes import exposition
from flatproxy.observe.sources import RUNGS, NameStatus, Sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.core import Metric

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@define(kw_only=True)
class FakeServer:
    endpoint: Endpoint = field(factory=lambda: Endpoint(host="192.0.2.53", port=53))
    up: bool = True
    pending: int = 0
    sent: int = 0
    timeouts: int = 0
    mismatched: int = 0


@define(kw_only=True)
class FakeStatus:
    name: str = "example.com"
    rdtype: str = "A"
    rung: str = "fresh"
    absent: bool = False
    ttl_left_s: float = 42.5
    age_s: float | None = 17.5
    stale_left_s: float | None = 86400.0
    rdatas: tuple[str, ...] = ("198.51.100.7", "198.51.100.8")
    changed_at: float | None = 1_700_000_000.0
    chain: tuple[str, ...] = ("lb.example.net", "eu.lb.example.net")
    outcomes: Mapping[str, int] = field(factory=lambda: {"addresses": 12, "timeout": 1})


@define(kw_only=True)
class FakeAddress:
    name: bytes = b"\7example\3org\0"
    target: bytes = b"\2lb\7example\3net\0"
    address: bytes = b"\xc6\x33\x64\x07"
    is_well: bool = True
    flaps: int = 0


@define(kw_only=True)
class FakeReload:
    success: bool = True
    digest: str = "ab" * 32
    at: float = 1_700_000_100.0


@define
class FakeResolver:
    endpoint: str = "192.0.2.7:53"
    replies: Replies = field(
        factory=lambda: Replies(latency=BucketTable(bounds=(0.01, 0.1), counts=[3, 2, 1], total=0.5))
    )
    failures: Mapping[str, int] = field(factory=lambda: {"timeout": 4})


@frozen
class FakeCondition:
    """Stands in for the whole `Watch` where no page is asked for that reads more of it."""

    missing: Callable[[], Iterable[str]] = list
    is_alive: Callable[[], bool] = lambda: True

    def begin(self) -> None:
        pass


class Names(TypedDict):
    """What `Sources` reads of names."""

    names_by_rung: Callable[[], Mapping[str, int]]
    statuses: Callable[[float], Iterable[NameStatus]]
    not_fresh: Callable[[float], Iterable[NameStatus]]


@frozen
class FakeFleet:
    joined: bool = True
    nodes: int = 3
    leases: int = 2
    resolutions: Mapping[str, int] = {"own": 11, "fleet": 22}
    errors: Mapping[str, int] = {"timeout": 1, "full": 0}
    refused: Mapping[str, int] = {"hmac": 4, "old": 0}
    latency: BucketTable = field(factory=lambda: BucketTable(bounds=(0.001, 0.01), counts=[30, 3, 1], total=0.125))


def names_of(*statuses: NameStatus) -> Names:
    counted = Counter(status.rung for status in statuses)
    return {
        "names_by_rung": lambda: {rung: counted[rung] for rung in RUNGS},
        "statuses": lambda _now: statuses,
        "not_fresh": lambda _now: (status for status in statuses if status.rung != "fresh"),
    }


@define
class FakeSubnets:
    hits: int = 7
    evictions: int = 3

    def by_target(self) -> dict[str, int]:
        return {"lb.test": 2}


def sources() -> Sources:
    """Give a busy and healthy proxy in which every family has at least one sample."""
    rcodes = [0] * 24
    rcodes[0], rcodes[3], rcodes[12] = 90, 7, 1
    return Sources(
        traffic=lambda: Traffic(
            udp=Verdicts(forwarded=80, flattened=15, refused=2, dropped=3),
            tcp=Verdicts(forwarded=4, flattened=1),
            rcodes=rcodes,
            latency=BucketTable(bounds=(0.001, 0.01), counts=[70, 10, 4], total=0.75),
            malformed=3,
            unsent=1,
            limited=6,
            overloaded=4,
            tcp_connections=2,
            tcp_refused=8,
            tcp_evicted=9,
            tls=Verdicts(forwarded=6),
            tls_failed=7,
        ),
        packet_path=lambda: "C",
        dnstap_dropped=lambda: 11,
        certificate_expires_at=lambda: 1_800_000_000.0,
        resolvers=lambda: [FakeResolver()],
        servers=lambda: [FakeServer(sent=84, pending=1, timeouts=2, mismatched=3)],
        **names_of(FakeStatus(), FakeStatus(rdtype="AAAA", rdatas=("2001:db8::7",))),
        resolve_latency=BucketTable(bounds=(0.1, 1.0), counts=[10, 2, 1], total=2.5),
        probe_latency=BucketTable(bounds=(0.1, 1.0), counts=[5, 1, 0], total=0.5),
        probes_late=lambda: 12,
        checked_addresses=lambda: [FakeAddress(), FakeAddress(address=bytes(4), is_well=False, flaps=3)],
        failing_open=lambda: [(b"\7example\3org\0", True)],
        addresses_cut=lambda: 1000,
        state_errors=lambda: 5,
        signed_zones=lambda: ["example.org"],
        keys_by_state=lambda: {("example.org", "active"): 1, ("example.org", "waiting"): 0},
        shadow_counts=lambda: [(("example.org", "A", "differs"), 3)],
        placeholders_missing=lambda: [("example.org", "AAAA")],
        tailoring=FakeSubnets,
        fleet=FakeFleet,
        sync_states=lambda: {"in_step": 3, "conflict": 1},
        sync_outcomes=lambda: {"written": 4},
        sync_conflicts=lambda: ["example.org"],
        controllers=lambda: [("corp.example.org", 2)],
        reload=FakeReload,
    )


def registry_of(read: Sources, now: float = 1000.0) -> CollectorRegistry:
    registry = CollectorRegistry()
    register(registry, read, now=lambda: now)
    return registry


def scrape(read: Sources) -> bytes:
    return b"".join(exposition(registry_of(read)))


def families(read: Sources) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(scrape(read).decode())}


def samples(read: Sources) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families(read).values()
        for sample in family.samples
    }


def value(read: Sources, name: str, /, **labels: str) -> float | None:
    return samples(read).get((name, frozenset(labels.items())))


def with_names(*statuses: NameStatus) -> Sources:
    return evolve(sources(), **names_of(*statuses))
