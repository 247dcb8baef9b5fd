"""`python -m bench.growth`: what flagged names cost, from one to a million, with 1,000 targets at most."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from attrs import define

from bench import load, surroundings
from bench.servers import ZONE, Flatproxy, Nsd, Unbound, running
from tests.support.waiting import let_pass, until

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS: Final = Path(__file__).parent / "results" / "growth.json"
TARGETS: Final = 1000
ASKED: Final = 20_000
"""Distinct questions in the file of queries, at most: spread over all names."""
READY_WITHIN_S: Final = 180.0
RELOADED: Final = 100_000
"""Up to so many names, a reload under load is measured as well."""
STEADY_QPS: Final = 5_000
STEADY_S: Final = 8.0
_QUANTILES: Final = (("median", 0.5), ("p99", 0.99), ("p999", 0.999), ("most", 1.0))
_RELOADED: Final = '"event": "reloaded"'
_LOAD: Final = """
import sys, time
from pathlib import Path
from flatproxy.config.load import load
began = time.perf_counter()
load(Path(sys.argv[1]))
print(time.perf_counter() - began)
"""
QUIET_OVER_S: Final = 0.5
QUIET_SHARE: Final = 0.15


def target(number: int) -> str:
    return f"t{number % TARGETS}.cloud.test"


def flagged(count: int, first: int = 0) -> str:
    """Return lines for so many flagged names, the first of which has the `first` target."""
    return "".join(f"n{number}.{ZONE} {target(number + first)}\n" for number in range(count))


def queries(count: int, path: Path) -> Path:
    """Write the questions: names at equal distances through all that are flagged."""
    step = max(1, count // ASKED)
    path.write_text("".join(f"n{number}.{ZONE} A\n" for number in range(0, count, step)))
    return path


@define(eq=False, kw_only=True)
class Many(Flatproxy):
    """flatproxy with many flagged names, which it includes from a file of lines.

    None of them is the apex, so its first right answer is forwarded.
    """

    count: int

    def configure(self) -> list[str]:
        command = super().configure()
        self.list_names()
        path = self.folder / "flatproxy.toml"
        path.write_text('include = ["names.txt"]\n' + path.read_text())
        return command

    def list_names(self, first: int = 0) -> None:
        """Write the file of names, all with another target where `first` is another one."""
        (self.folder / "names.txt").write_text(flagged(self.count, first))

    def load_s(self) -> float:
        """Return how long the configuration takes to load, in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-c", _LOAD, self.folder / "flatproxy.toml"], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    def reload(self) -> float:
        """Give every name another target, have that read, and return how many seconds it took."""
        self.list_names(first=1)
        log = self.folder / "log"
        before = log.read_text().count(_RELOADED)
        began = monotonic()
        os.kill(self.group, signal.SIGHUP)
        until(lambda: log.read_text().count(_RELOADED) > before, "reloaded", READY_WITHIN_S)
        return monotonic() - began

    def wait_until_ready(self) -> None:
        """Wait for its word that every name has an answer, if only the nameserver's."""
        until(lambda: '"event": "ready"' in (self.folder / "log").read_text(), "ready", READY_WITHIN_S)

    def wait_until_flattened(self, asked: Path) -> None:
        """Wait until every question of the file has addresses; the nameserver says NXDOMAIN to all of them."""
        until(
            lambda: _all_noerror(load.dnsperf(self, asked, READY_WITHIN_S, ["-n", "1", "-Q", "20000"])),
            "every name flattened",
            READY_WITHIN_S,
        )

    def wait_until_quiet(self) -> None:
        """Wait until it uses little CPU: what is left then is the measured asking about zones, 2 % of a core."""
        used = sum(self.cpu_s)

        def quiet() -> bool:
            nonlocal used
            let_pass(QUIET_OVER_S)
            before, used = used, sum(self.cpu_s)
            return used - before < QUIET_SHARE * QUIET_OVER_S

        until(quiet, "little CPU used", READY_WITHIN_S)


def _all_noerror(made: load.Load) -> bool:
    return made.lost == 0 and made.rcodes == f"NOERROR {made.completed} (100.00%)"


@contextmanager
def grown(folder: Path, count: int, behind: tuple[Nsd, Unbound]) -> Iterator[tuple[Many, dict[str, Any]]]:
    """Run flatproxy with so many names, and give it with what its start cost."""
    nsd, resolver = behind
    proxy = Many(
        name=f"{count} names",
        folder=folder / f"names-{count}",
        nsd=nsd,
        resolver=resolver,
        flatten="",
        count=count,
        apex=nsd.apex,
    )
    try:
        began = monotonic()
        answers_after = proxy.start()
        proxy.wait_until_ready()
        ready_after = monotonic() - began
        proxy.wait_until_flattened(queries(count, folder / f"{count}.txt"))
        flattened_after = monotonic() - began
        rss_bytes = proxy.rss_bytes
        start_cpu_s = sum(proxy.cpu_s)
        proxy.wait_until_quiet()
        yield (
            proxy,
            {
                "load_s": round(proxy.load_s(), 2),
                "first_answer_s": round(answers_after, 2),
                "ready_s": round(ready_after, 2),
                "all_flattened_s": round(flattened_after, 2),
                "start_cpu_s": round(start_cpu_s, 2),
                "quiet_s": round(monotonic() - began, 1),
                "quiet_cpu_s": round(sum(proxy.cpu_s), 2),
                "rss_bytes": rss_bytes,
            },
        )
    finally:
        proxy.stop()


def measured(counts: list[int], rounds: int, seconds: float) -> dict[str, Any]:
    """Run each count once at the same time, and load them in interleaved rounds."""
    result: dict[str, Any] = {
        "machine": surroundings.machine(),
        "versions": surroundings.versions(),
        "start": surroundings.moment(),
        "targets": TARGETS,
        "names": {},
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        nsd = Nsd(name="nsd", folder=folder / "nsd")
        unbound = Unbound(name="unbound", folder=folder / "unbound", targets=tuple(map(target, range(TARGETS))))
        with running(nsd, unbound):
            _all_counts(result, counts, rounds, seconds, folder, (nsd, unbound))
    result["end"] = surroundings.moment()
    return result


def _all_counts(
    result: dict[str, Any], counts: list[int], rounds: int, seconds: float, folder: Path, behind: tuple[Nsd, Unbound]
) -> None:
    """Go through the counts in each round, the smallest first, so that noise falls on all alike."""
    with ExitStack() as stack:
        proxies = {}
        for count in counts:
            proxies[count], result["names"][str(count)] = stack.enter_context(grown(folder, count, behind))
            print(f"{count} names: {result['names'][str(count)]}", flush=True)
        for number in range(rounds):
            for count, proxy in proxies.items():
                before = sum(proxy.cpu_s)
                made = load.dnsperf(proxy, folder / f"{count}.txt", seconds)
                cpu_us = round((sum(proxy.cpu_s) - before) / made.completed * 1e6, 2)
                told = {"qps": round(made.qps), "cpu_us": cpu_us, "lost": made.lost, "rcodes": made.rcodes}
                result["names"][str(count)].setdefault("rounds", []).append(told)
                print(f"{count} names, round {number + 1}: {told}", flush=True)
        for count, proxy in proxies.items():
            result["names"][str(count)]["rss_after_bytes"] = proxy.rss_bytes
        for count, proxy in proxies.items():
            if count <= RELOADED:
                result["names"][str(count)]["reload"] = told = reloaded(proxy, folder / f"{count}.txt")
                print(f"{count} names, reload: {told}", flush=True)
    full = [count for count in counts if count >= TARGETS] or counts
    base = result["names"][str(full[0])]["rss_bytes"]
    for count in counts:
        names = result["names"][str(count)]
        # Beside a base that has all the targets: these cost the same however many names there are.
        names["bytes_a_name"] = round((names["rss_bytes"] - base) / (count - full[0])) if count > full[0] else 0
        names["qps"] = median(told["qps"] for told in names["rounds"])


def reloaded(proxy: Many, asked: Path) -> dict[str, Any]:
    """Load the proxy evenly, without and with a reload meanwhile, and say what clients saw of it."""
    extra = ["-v", "-Q", str(STEADY_QPS)]
    steady_s = STEADY_S if proxy.count >= TARGETS else STEADY_S / 4
    plain = load.dnsperf(proxy, asked, steady_s, extra)
    with ThreadPoolExecutor(1) as pool:
        under_load = pool.submit(load.dnsperf, proxy, asked, steady_s, extra)
        let_pass(steady_s / 4)
        took_s = proxy.reload()
        made = under_load.result()
    return {
        "took_s": round(took_s, 2),
        "qps": round(made.qps),
        "lost": made.lost,
        "rcodes": made.rcodes,
        **{f"{name}_ms": round(load.quantile(made.latencies_s, share) * 1e3, 2) for name, share in _QUANTILES},
        **{f"plain_{name}_ms": round(load.quantile(plain.latencies_s, share) * 1e3, 2) for name, share in _QUANTILES},
        "plain_lost": plain.lost,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.growth", description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 1_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    result = measured(arguments.counts, arguments.rounds, arguments.seconds)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"results: {arguments.output}")


if __name__ == "__main__":
    main()
