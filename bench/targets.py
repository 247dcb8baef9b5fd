"""`python -m bench.targets`: what many distinct targets cost the queries that are forwarded, in each state of theirs.

Each state has a process of its own, which runs alone; one with a single target comes before it, for comparison.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from attrs import define

from bench import load, surroundings
from bench.servers import HOST, HOSTS, PLACEHOLDERS, ZONE, Flatproxy, Nsd, Server, running
from flatproxy.flatten.stores.sqlite import write
from flatproxy.flatten.stores.store import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS: Final = Path(__file__).parent / "results" / "targets.json"
QPS: Final = 1_000
WARM_UP_S: Final = 5.0
SEEN: Final = (0.5, 0.99, 0.999)
STATES: Final = {
    "cold": ("answers", None),
    "failing": ("fails", None),
    "silent": ("silent", None),
    "stale": ("fails", 3_600),
    "fresh": ("answers", 0),
}
"""For each state what the resolver does, and how old (seconds) the answers of the state file are, None without one."""


@define(eq=False, kw_only=True)
class Scripted(Server):
    """The resolver."""

    word: str

    def configure(self) -> list[str]:
        return [sys.executable, "-m", "bench.scripted_resolver", str(self.port), self.word]

    def right(self) -> bool:
        """Say so at once: who asks it waits for it."""
        return True


@define(eq=False, kw_only=True)
class Distinct(Flatproxy):
    """flatproxy with many flagged names, each with a target of its own. None of them is the apex."""

    resolver: Any
    count: int
    age_s: int | None
    flatten: str = '[defaults]\ntypes = ["A"]\n'
    apex: frozenset[str] = PLACEHOLDERS
    rows_ttl_s: ClassVar[int] = 60

    def configure(self) -> list[str]:
        command = super().configure()
        lines = "".join(f"n{number}.{ZONE} t{number}.cloud.test\n" for number in range(self.count))
        (self.folder / "names.txt").write_text(lines)
        path = self.folder / "flatproxy.toml"
        path.write_text('include = ["names.txt"]\n' + path.read_text())
        if self.age_s is not None:
            write(self.folder / "answers.sqlite", [self._row(number, self.age_s) for number in range(self.count)])
        return command

    def _row(self, number: int, age_s: int) -> Row:
        host = f"t{number}"
        wire = bytes((len(host),)) + host.encode() + b"\5cloud\4test\0"
        return Row(wire, 1, (b"\xcb\0\x71\1",), self.rows_ttl_s, (f"{host}.cloud.test",), time() - age_s)


def measured(proxy: Server, asked: Path, seconds: float) -> dict[str, float]:
    """Load one that is just started, and return its latencies in milliseconds, what it lost, and its CPU."""
    load.dnsperf(proxy, asked, WARM_UP_S, ["-Q", str(QPS)])
    before = sum(proxy.cpu_s)
    made = load.dnsperf(proxy, asked, seconds, ["-v", "-Q", str(QPS)])
    found = {f"p{share * 100:g}": round(load.quantile(made.latencies_s, share) * 1000, 3) for share in SEEN}
    return found | {
        "most": round(made.latencies_s[-1] * 1000, 3),
        "lost": made.lost,
        "cpu": round((sum(proxy.cpu_s) - before) / seconds, 2),
    }


def one_run(folder: Path, nsd: Nsd, state: str, count: int, seconds: float) -> dict[str, float]:
    """Start a resolver and a proxy for this state, and measure."""
    word, age_s = STATES[state]
    folder.mkdir()
    asked = folder / "asked.txt"
    asked.write_text("".join(f"h{number}.{ZONE} A\n" for number in range(HOSTS)))
    resolver = Scripted(name="resolver", folder=folder / "resolver", word=word)
    proxy = Distinct(name="proxy", folder=folder / "proxy", nsd=nsd, resolver=resolver, count=count, age_s=age_s)
    with running(resolver, proxy):
        return measured(proxy, asked, seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--states", nargs="+", choices=STATES, default=list(STATES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    result: dict[str, Any] = {"machine": surroundings.machine(), "start": surroundings.moment(), "qps": QPS}
    runs: dict[str, list[dict[str, Any]]] = {state: [] for state in given.states}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        nsd = Nsd(name="nsd", folder=folder / "nsd")
        with running(nsd):
            for number in range(given.rounds):
                for state in given.states:
                    one = one_run(folder / f"{state}-{number}-one", nsd, "cold", 1, given.seconds)
                    many = one_run(folder / f"{state}-{number}-many", nsd, state, given.targets, given.seconds)
                    runs[state].append({"one": one, "many": many})
                    print(state, number, {"one": one, "many": many}, flush=True)
    for state, each in runs.items():
        ratio = median(run["many"]["p99"] / run["one"]["p99"] for run in each)
        result[state] = {"p99_ratio": round(ratio, 2), "runs": each}
        print(f"{state}: forwarded p99 with {given.targets} targets is {ratio:.2f} times that with one ({HOST})")
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
