"""What is measured, and who does it beside whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from bench.servers import HOSTS, ZONE

if TYPE_CHECKING:
    from pathlib import Path

FLATPROXY: Final = "flatproxy"
EVERYWHERE: Final = "flatproxy on 0.0.0.0"
DNSDIST: Final = "dnsdist"
PIPELINED: Final = "dnsdist, 64 in flight"
CACHED: Final = "dnsdist packet cache"
SPLIT: Final = "dnsdist, apex cached"
PDNS: Final = "PowerDNS ALIAS"

LATENCY_QPS: Final = 5000


@frozen(kw_only=True)
class Work:
    """One kind of load, and the servers that are given it in turn."""

    name: str
    queries: str
    """Which file of queries: forwarded, flattened or mixed."""
    servers: tuple[str, ...]
    options: tuple[str, ...] = field(default=())
    """Further options of dnsperf."""
    latency: bool = False


WORKS: Final = (
    Work(name="forwarded UDP", queries="forwarded", servers=(FLATPROXY, EVERYWHERE, DNSDIST)),
    Work(name="flattened UDP", queries="flattened", servers=(FLATPROXY, EVERYWHERE, CACHED, PDNS)),
    Work(name="forwarded TCP", queries="forwarded", servers=(FLATPROXY, DNSDIST, PIPELINED), options=("-m", "tcp")),
    Work(name="mixed UDP", queries="mixed", servers=(FLATPROXY, SPLIT)),
    Work(
        name="latency, forwarded",
        queries="forwarded",
        servers=(FLATPROXY, DNSDIST),
        options=("-Q", str(LATENCY_QPS), "-v"),
        latency=True,
    ),
    Work(
        name="latency, flattened",
        queries="flattened",
        servers=(FLATPROXY, CACHED, PDNS),
        options=("-Q", str(LATENCY_QPS), "-v"),
        latency=True,
    ),
)


def write_queries(folder: Path) -> dict[str, Path]:
    """Write the files of queries that dnsperf reads, and return their paths."""
    forwarded = [f"h{number}.{ZONE} A" for number in range(HOSTS)]
    flattened = [f"{ZONE} A", f"{ZONE} AAAA"]
    mixed = [line for number, line in enumerate(forwarded) if number % 10 != 0]
    for number in range(HOSTS // 10):
        mixed.insert(number * 10, flattened[number % 2])
    paths = {}
    for name, lines in {"forwarded": forwarded, "flattened": flattened, "mixed": mixed}.items():
        paths[name] = folder / f"{name}.txt"
        paths[name].write_text("\n".join(lines) + "\n")
    return paths
