"""What every bench shares: one round of one server, the medians of rounds, and results with their surroundings."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench import accounting, load, surroundings
from bench.servers import HAS_NATIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.servers import Server

RESULTS: Final = Path(__file__).parent / "results"
DISTRIBUTION: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995)
"""The shares whose latencies each round keeps, for the plot."""

Figures = dict[str, Any]
"""One round of one server, as it goes into the results."""


def once(server: Server, run: Callable[[], load.Load]) -> Figures:
    """Run a load once, and return what it said and what server and machine used meanwhile."""
    before = *server.cpu_s, *accounting.machine_busy_s()
    made = run()
    after = *server.cpu_s, *accounting.machine_busy_s()
    user_s, system_s, busy_s, stolen_s = (end - start for start, end in zip(before, after, strict=True))
    figures: Figures = {
        "qps": round(made.qps),
        "cpu_us": round((user_s + system_s) / (made.completed + made.lost) * 1e6, 2),
        "completed": made.completed,
        "lost": made.lost,
        "rcodes": made.rcodes,
        "server_user_s": round(user_s, 2),
        "server_system_s": round(system_s, 2),
        "load_cpu_s": round(made.own_cpu_s, 2),
        "machine_busy_s": round(busy_s, 2),
        "machine_stolen_s": round(stolen_s, 2),
    }
    if made.latencies_s:
        figures |= latencies(made)
        figures["percentiles_ms"] = [_ms(made, share) for share in DISTRIBUTION]
    return figures


def latencies(made: load.Load) -> Figures:
    """Return the median and the high quantiles."""
    return {f"{name}_ms": _ms(made, share) for name, share in (("median", 0.5), ("p99", 0.99), ("p999", 0.999))}


def _ms(made: load.Load, share: float) -> float:
    return round(load.quantile(made.latencies_s, share) * 1e3, 3)


def told(figures: Figures) -> str:
    """Write one round in a few words."""
    text = f"{figures['qps']} q/s, {figures['cpu_us']} µs CPU a query"
    if figures["lost"]:
        text += f", {figures['lost']} lost"
    if "median_ms" in figures:
        text += f"; {figures['median_ms']} ms median, {figures['p99_ms']} p99, {figures['p999_ms']} p99.9"
    return text


def add_medians(measured: Iterable[dict[str, Any]]) -> None:
    """Put the medians of its rounds beside them, in each."""
    for each in measured:
        each |= {figure: median(one[figure] for one in each["rounds"]) for figure in ("qps", "cpu_us", "lost")}


def record(output: Path, measure: Callable[[], dict[str, Any]]) -> None:
    """Measure, and write what comes of it with the surroundings."""
    result: dict[str, Any] = {
        "machine": surroundings.machine(),
        "versions": surroundings.versions(),
        "native": HAS_NATIVE,
        "start": surroundings.moment(),
    }
    result |= measure()
    result["end"] = surroundings.moment()
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"results: {output}")
