"""`python -m bench.growth`: what flagged names cost: 1, 1,000 and 100,000 of them, with 1,000 targets at most."""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from bench import load, surroundings
from bench.servers import ZONE, Flatproxy, Nsd, Unbound, running
from tests.integration.harness.waiting import let_pass, until

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS: Final = Path(__file__).parent / "results" / "growth.json"
TARGETS: Final = 1000
ASKED: Final = 20_000
"""Distinct questions in the file of queries, at most: spread over all names."""
READY_WITHIN_S: Final = 180.0
QUIET_OVER_S: Final = 0.5
QUIET_SHARE: Final = 0.15


def target(number: int) -> str:
    return f"t{number % TARGETS}.cloud.test"


def flagged(count: int) -> str:
    """Return the tables of so many flagged names."""
    return "".join(f'[flatten."n{number}.{ZONE}"]\ntarget = "{target(number)}"\n' for number in range(count))


def queries(count: int, path: Path) -> Path:
    """Write the questions: names at equal distances through all that are flagged."""
    step = max(1, count // ASKED)
    path.write_text("".join(f"n{number}.{ZONE} A\n" for number in range(0, count, step)))
    return path


class Many(Flatproxy):
    """flatproxy with many flagged names; none of them is the apex, so its first right answer is forwarded."""

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
        """Wait until it uses little CPU: after a start it asks the nameserver about the zone of every name."""
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
        flatten=flagged(count),
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
    base = result["names"][str(counts[0])]["rss_bytes"]
    for count in counts:
        names = result["names"][str(count)]
        names["bytes_a_name"] = round((names["rss_bytes"] - base) / (count - counts[0])) if count > counts[0] else 0
        names["qps"] = median(told["qps"] for told in names["rounds"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.growth", description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 1_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    result = measured(arguments.counts, arguments.rounds, arguments.seconds)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"results: {arguments.output}")


if __name__ == "__main__":
    main()
