"""Runs the works in interleaved rounds (A B C A B C …) and gathers every round. It judges and prints nothing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from bench import accounting, load
from bench.servers import CACHE, Dnsdist, Flatproxy, Nsd, Pdns, Server, Unbound, running
from bench.servers import SPLIT as SPLIT_LINES
from bench.works import CACHED, DNSDIST, EVERYWHERE, FLATPROXY, PDNS, PIPELINED, SPLIT, WORKS, Work, write_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WARM_UP_S: Final = 0.5

Figures = dict[str, Any]
"""One round of one server, as it goes into the results."""


@frozen(kw_only=True)
class Plan:
    """How much is measured."""

    name: str
    rounds: int
    seconds: float
    starts: int


PLANS: Final = {
    "full": Plan(name="full", rounds=5, seconds=2.5, starts=5),
    "quick": Plan(name="quick", rounds=3, seconds=1, starts=3),
    "tiny": Plan(name="tiny", rounds=1, seconds=0.5, starts=1),
}


@frozen(kw_only=True)
class Field:
    """What runs: the two servers behind, and those that are measured, by name."""

    nsd: Nsd
    resolver: Unbound
    measured: dict[str, Server]


@contextmanager
def everything(folder: Path) -> Iterator[Field]:
    """Run every server."""
    nsd = Nsd(name="nsd", folder=folder / "nsd")
    unbound = Unbound(name="unbound", folder=folder / "unbound")
    measured: list[Server] = [
        Flatproxy(name=FLATPROXY, folder=folder / "flatproxy", nsd=nsd, resolver=unbound),
        Flatproxy(name=EVERYWHERE, folder=folder / "everywhere", nsd=nsd, resolver=unbound, host="0.0.0.0"),
        Dnsdist(name=DNSDIST, folder=folder / "dnsdist", nsd=nsd),
        Dnsdist(
            name=PIPELINED,
            folder=folder / "dnsdist-pipelined",
            nsd=nsd,
            listen="maxInFlight=64",
            server=", maxInFlight=64",
        ),
        Dnsdist(name=CACHED, folder=folder / "dnsdist-cached", nsd=nsd, lines=CACHE),
        Dnsdist(name=SPLIT, folder=folder / "dnsdist-split", nsd=nsd, lines=SPLIT_LINES),
        Pdns(name=PDNS, folder=folder / "pdns", resolver=unbound),
    ]
    with running(nsd, unbound, *measured):
        yield Field(nsd=nsd, resolver=unbound, measured={server.name: server for server in measured})


def measure(plan: Plan, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything that the plan holds; every round of every server is in what is returned."""
    queries = write_queries(folder)
    with everything(folder) as running_now:
        servers = running_now.measured
        memory = {name: server.rss_bytes for name, server in servers.items()}
        works = {}
        for work in WORKS:
            works[work.name] = _interleaved(work, plan, servers, queries[work.queries], say)
        loaded = {name: server.rss_bytes for name, server in servers.items()}
        starts = _starts(plan, folder / "starts", running_now, say)
    return {"works": works, "start_s": starts, "rss_idle_bytes": memory, "rss_after_bytes": loaded}


def _interleaved(
    work: Work, plan: Plan, servers: dict[str, Server], queries: Path, say: Callable[[str], None]
) -> dict[str, list[Figures]]:
    found: dict[str, list[Figures]] = {name: [] for name in work.servers}
    for name in work.servers:
        load.dnsperf(servers[name], queries, min(WARM_UP_S, plan.seconds), work.options)
    for number in range(plan.rounds):
        for name in work.servers:
            figures = _once(work, servers[name], queries, plan.seconds)
            found[name].append(figures)
            say(f"{work.name}, round {number + 1}, {name}: {told(figures)}")
    return found


def _once(work: Work, server: Server, queries: Path, seconds: float) -> Figures:
    before = *server.cpu_s, *accounting.machine_busy_s()
    made = load.dnsperf(server, queries, seconds, work.options)
    after = *server.cpu_s, *accounting.machine_busy_s()
    user_s, system_s, busy_s, stolen_s = (end - start for start, end in zip(before, after, strict=True))
    figures: Figures = {
        "qps": round(made.qps),
        "cpu_us": round((user_s + system_s) / made.completed * 1e6, 2),
        "completed": made.completed,
        "lost": made.lost,
        "rcodes": made.rcodes,
        "server_user_s": round(user_s, 2),
        "server_system_s": round(system_s, 2),
        "load_cpu_s": round(made.own_cpu_s, 2),
        "machine_busy_s": round(busy_s, 2),
        "machine_stolen_s": round(stolen_s, 2),
    }
    if work.latency:
        for key, share in (("median_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999)):
            figures[key] = round(load.quantile(made.latencies_s, share) * 1e3, 3)
        figures["percentiles_ms"] = [round(load.quantile(made.latencies_s, share) * 1e3, 3) for share in DISTRIBUTION]
    return figures


DISTRIBUTION: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995)
"""The shares whose latencies each round keeps, for the plot."""


def told(figures: Figures) -> str:
    """Write one round in a few words."""
    text = f"{figures['qps']} q/s, {figures['cpu_us']} µs CPU a query"
    if figures["lost"]:
        text += f", {figures['lost']} lost"
    if "median_ms" in figures:
        text += f"; {figures['median_ms']} ms median, {figures['p99_ms']} p99, {figures['p999_ms']} p99.9"
    return text


def _starts(plan: Plan, folder: Path, behind: Field, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Start further ones of each kind in turn, each in a fresh folder, and time their first right answers."""
    nsd, resolver = behind.nsd, behind.resolver
    folder.mkdir()
    found: dict[str, list[float]] = {FLATPROXY: [], DNSDIST: [], PDNS: []}
    for number in range(plan.starts):
        fresh: list[Server] = [
            Flatproxy(name=FLATPROXY, folder=folder / f"flatproxy-{number}", nsd=nsd, resolver=resolver),
            Dnsdist(name=DNSDIST, folder=folder / f"dnsdist-{number}", nsd=nsd),
            Pdns(name=PDNS, folder=folder / f"pdns-{number}", resolver=resolver),
        ]
        for server in fresh:
            try:
                found[server.name].append(round(server.start(), 3))
            finally:
                server.stop()
            say(f"start {number + 1}, {server.name}: {found[server.name][-1]} s to the first answer")
    return found
