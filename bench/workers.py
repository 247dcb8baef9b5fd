"""`python -m bench.workers`: one packet process beside two, on the same work, in interleaved rounds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from attrs import define

from bench import load
from bench.comparison import add_medians, command
from bench.servers import Flatproxy, Nsd, Unbound, running
from bench.works import write_queries

WORKERS: Final = (1, 2)
STEADY_QPS: Final = 5_000
WORKS: Final = {
    "forwarded": ("forwarded", ()),
    "flattened": ("flattened", ()),
    f"forwarded, {STEADY_QPS:,} q/s": ("forwarded", ("-Q", str(STEADY_QPS))),
}
"""What is asked, with which further options of dnsperf. At a fixed rate no batch forms, whoever reads."""


@define(eq=False, kw_only=True)
class Workers(Flatproxy):
    """flatproxy with so many packet processes."""

    workers: int

    def configure(self) -> list[str]:
        command = super().configure()
        path = self.folder / "flatproxy.toml"
        path.write_text(path.read_text().replace("[listen]\n", f"[listen]\nworkers = {self.workers}\n"))
        return command


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Return queries a second and CPU a query (all processes) by work and number of workers, with every round."""
    found: dict[str, Any] = {work: {str(count): {"rounds": []} for count in WORKERS} for work in WORKS}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        queries = write_queries(folder)
        nsd, resolver = Nsd(name="nsd", folder=folder / "nsd"), Unbound(name="unbound", folder=folder / "unbound")
        servers = {
            count: Workers(
                name=f"{count} workers", folder=folder / f"w{count}", nsd=nsd, resolver=resolver, workers=count
            )
            for count in WORKERS
        }
        with running(nsd, resolver, *servers.values()):
            for work, (asked, options) in WORKS.items():
                for server in servers.values():
                    load.dnsperf(server, queries[asked], 0.5, options)
                for number in range(rounds):
                    for count, server in servers.items():
                        before = sum(server.cpu_s)
                        made = load.dnsperf(server, queries[asked], seconds, options)
                        used = sum(server.cpu_s) - before
                        figures = {
                            "qps": round(made.qps),
                            "cpu_us": round(used / made.completed * 1e6, 2),
                            "lost": made.lost,
                            "load_cpu_s": round(made.own_cpu_s, 2),
                        }
                        found[work][str(count)]["rounds"].append(figures)
                        print(f"{work}, round {number + 1}, {count} workers: {figures}", flush=True)
    add_medians(one for work in found.values() for one in work.values())
    return found


if __name__ == "__main__":
    command("workers", __doc__, "works", measure)
