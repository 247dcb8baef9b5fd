"""The load: dnsperf or our own `crowd`, run to its end, and the figures that it prints."""

from __future__ import annotations

import math
import re
import resource
import subprocess
from typing import TYPE_CHECKING, Final

from attrs import frozen

from bench.servers import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.servers import Server

IN_FLIGHT: Final = 200
CLIENTS: Final = 20
_COUNT: Final = re.compile(r"Queries (sent|completed|lost):\s+(\d+)")
_RATE: Final = re.compile(r"Queries per second:\s+([\d.]+)")
_RCODES: Final = re.compile(r"Response codes:\s+(.*)")
_REPLY: Final = re.compile(r"^> ([A-Z]+) \S+ [A-Z]+ (\d+\.\d+)$", re.MULTILINE)


@frozen
class Load:
    """What was printed of one run, and the CPU seconds that it used itself."""

    qps: float
    completed: int
    lost: int
    rcodes: str
    latencies_s: tuple[float, ...]
    """Sorted; empty unless asked for."""
    own_cpu_s: float


def parse(text: str, own_cpu_s: float = 0.0) -> Load:
    """Read what dnsperf prints; with -v it prints a line for each reply, too, with its latency in seconds."""
    counts = {kind: int(number) for kind, number in _COUNT.findall(text)}
    rate, rcodes = _RATE.search(text), _RCODES.search(text)
    if rate is None or counts.get("completed", 0) == 0:
        raise RuntimeError(f"dnsperf had no answers:\n{text[-2000:]}")
    latencies = sorted(float(taken) for _rcode, taken in _REPLY.findall(text))
    return Load(
        float(rate[1]), counts["completed"], counts["lost"], rcodes[1].strip() if rcodes else "",
        tuple(latencies), own_cpu_s,
    )  # fmt: skip


def dnsperf(server: Server, queries: Path, seconds: float, extra: Sequence[str] = ()) -> Load:
    """Load a server for some seconds and return the figures."""
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(server.port), "-d", str(queries), "-l", str(seconds)]
    command += ["-t", "1", "-T", "1", "-c", str(CLIENTS), "-q", str(IN_FLIGHT), "-W", *extra]
    return _made(command, seconds)


def crowd(server: Server, queries: Path, seconds: float, transport: str, sources: int = 250) -> Load:
    """Load a server from many addresses, or ("tcp") with a connection for each query, and return the figures."""
    program = compiled("crowd", queries.parent)
    return _made([program, transport, str(server.port), str(seconds), str(sources), str(queries)], seconds)


def _made(command: list[str], seconds: float) -> Load:
    before = _children_cpu_s()
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
    return parse(done.stdout, _children_cpu_s() - before)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of sorted values does not exceed (nearest rank)."""
    return ordered[min(len(ordered), max(1, math.ceil(share * len(ordered)))) - 1]
