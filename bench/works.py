"""What is measured, and who does it beside whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from bench import load
from bench.servers import HOSTS, TSIG, ZONE

if TYPE_CHECKING:
    from pathlib import Path

    from bench.servers import Server

FLATPROXY: Final = "flatproxy"
PYTHON: Final = "flatproxy in Python"
BEFORE: Final = "flatproxy before"
EVERYWHERE: Final = " on 0.0.0.0"
THREADS: Final = ", two threads"
FRESH: Final = ", names never asked before"
THOUSAND: Final = ", 1,000 names"
MANY: Final = ", many names"
VIEWS: Final = ", 10,000 networks in views"
"""These say, behind a flatproxy, how it is configured, or what it is asked."""
RELAY: Final = "C relay"
ANSWERER: Final = "C answerer"
DNSDIST: Final = "dnsdist"
PIPELINED: Final = "dnsdist, 64 in flight"
CACHED: Final = "dnsdist packet cache"
SPLIT: Final = "dnsdist, apex cached"
PDNS: Final = "PowerDNS ALIAS"

LATENCY_QPS: Final = 5000
MOST_QPS: Final = 400_000
"""More than anything here answers: so many names a second are made that were never asked before."""


@frozen(kw_only=True)
class Work:
    """One kind of load, and the servers that are given it in turn."""

    name: str
    queries: str
    """Which file of queries; what a server's name ends with may be about another one."""
    servers: tuple[str, ...]
    options: tuple[str, ...] = ()
    """Further options of dnsperf."""
    latency: bool = False
    connections: bool = False
    """A connection for each query, which is not dnsperf's."""

    def load(self, queries: Path, server: Server, seconds: float) -> load.Load:
        """Load a server with it."""
        if self.connections:
            return load.crowd(server, queries, seconds, "tcp")
        return load.dnsperf(server, queries, seconds, self.options)


_LATENCY: Final = ("-Q", str(LATENCY_QPS), "-v")
_HANDED_OVER: Final = ("-y", f"hmac-sha256:{TSIG[0]}:{TSIG[1]}")
"""What the native path leaves to Python, and a nameserver answers: the one place where that is chosen."""
_BOTH: Final = (FLATPROXY, PYTHON)

WORKS: Final = (
    Work(
        name="forwarded UDP",
        queries="forwarded",
        servers=(FLATPROXY, FLATPROXY + FRESH, FLATPROXY + THREADS, FLATPROXY + EVERYWHERE, PYTHON, RELAY, DNSDIST),
    ),
    Work(
        name="flattened UDP",
        queries="flattened",
        servers=(FLATPROXY, FLATPROXY + THREADS, FLATPROXY + EVERYWHERE, PYTHON, ANSWERER, CACHED, PDNS),
    ),
    Work(name="flagged names", queries="", servers=(FLATPROXY + THOUSAND, FLATPROXY + MANY)),
    Work(name="views", queries="flattened", servers=(PYTHON, PYTHON + VIEWS)),
    Work(name="views, forwarded", queries="forwarded", servers=(PYTHON, PYTHON + VIEWS)),
    Work(name="mixed UDP", queries="mixed", servers=(*_BOTH, SPLIT)),
    Work(name="forwarded TCP", queries="forwarded", servers=(*_BOTH, DNSDIST, PIPELINED), options=("-m", "tcp")),
    Work(name="flattened TCP", queries="flattened", servers=(*_BOTH, CACHED), options=("-m", "tcp")),
    Work(name="a connection for each query", queries="forwarded", servers=(*_BOTH, DNSDIST), connections=True),
    Work(name="handed over", queries="forwarded", servers=_BOTH, options=_HANDED_OVER),
    Work(
        name="latency, forwarded",
        queries="forwarded",
        servers=(*_BOTH, RELAY, DNSDIST),
        options=_LATENCY,
        latency=True,
    ),
    Work(
        name="latency, flattened",
        queries="flattened",
        servers=(*_BOTH, ANSWERER, CACHED, PDNS),
        options=_LATENCY,
        latency=True,
    ),
    Work(
        name="latency, handed over", queries="forwarded", servers=_BOTH, options=_LATENCY + _HANDED_OVER, latency=True
    ),
)


def beside_before(works: tuple[Work, ...]) -> tuple[Work, ...]:
    """Return the works for the flatproxy of now, in Python, and one of before, each configured as it was there."""
    found = []
    for work in works:
        if any(name.endswith(VIEWS) for name in work.servers):  # one of before knows none
            continue
        suffixes = [name.removeprefix(FLATPROXY) for name in work.servers if name.startswith(FLATPROXY)]
        kept = [suffix for suffix in suffixes if FLATPROXY + suffix != PYTHON and suffix != THREADS]
        found.append(evolve(work, servers=tuple(name + suffix for suffix in kept for name in (PYTHON, BEFORE))))
    return tuple(found)


def server_of(name: str) -> str:
    """Return the server that a name in a work means: what it is asked is no part of it."""
    return name.removesuffix(FRESH)


class Queries:
    """The files of queries that dnsperf reads, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fresh = 0
        forwarded = [f"h{number}.{ZONE} A" for number in range(HOSTS)]
        flattened = [f"{ZONE} A", f"{ZONE} AAAA"]
        mixed = [line for number, line in enumerate(forwarded) if number % 10 != 0]
        for number in range(HOSTS // 10):
            mixed.insert(number * 10, flattened[number % 2])
        for name, lines in {"forwarded": forwarded, "flattened": flattened, "mixed": mixed}.items():
            self.path(name).write_text("\n".join(lines) + "\n")

    def path(self, name: str) -> Path:
        return self._folder / f"{name}.txt"

    def fresh(self, seconds: float) -> Path:
        """Write as many names as may be asked in so long, none of which was in such a file before."""
        first, self._fresh = self._fresh, self._fresh + int(MOST_QPS * seconds)
        with self.path("fresh").open("w") as file:
            file.writelines(f"f{number}.fresh.{ZONE} A\n" for number in range(first, self._fresh))
        return self.path("fresh")
