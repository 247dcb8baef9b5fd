"""`python -m bench.growth`: what flagged names cost, from one to a million, with 1,000 targets at most."""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from bench import load
from bench.comparison import RESULTS, latencies, once, record, told
from bench.many import TARGETS, Many, shuffled, target
from bench.servers import Nsd, Unbound, running
from tests.support.waiting import let_pass

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG_RELOADED: Final = 100_000
"""With more names, a reload takes some seconds."""
STEADY_QPS: Final = 5_000
STEADY_S: Final = 8.0


@contextmanager
def grown(folder: Path, count: int, behind: tuple[Nsd, Unbound]) -> Iterator[tuple[Many, dict[str, Any]]]:
    """Run flatproxy with so many names, and give it with what its start cost."""
    nsd, resolver = behind
    proxy = Many(
        name=f"{count} names",
        folder=folder / f"names-{count}",
        nsd=nsd,
        resolver=resolver,
        count=count,
    )
    try:
        began = monotonic()
        answers_after = proxy.start()
        proxy.wait_until_ready()
        ready_after = monotonic() - began
        proxy.wait_until_flattened()
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
    result: dict[str, Any] = {"targets": TARGETS, "names": {}}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        nsd = Nsd(name="nsd", folder=folder / "nsd")
        unbound = Unbound(name="unbound", folder=folder / "unbound", targets=tuple(map(target, range(TARGETS))))
        with running(nsd, unbound):
            _all_counts(result, counts, rounds, seconds, folder, (nsd, unbound))
    return result


def _all_counts(
    result: dict[str, Any], counts: list[int], rounds: int, seconds: float, folder: Path, behind: tuple[Nsd, Unbound]
) -> None:
    """Go through the counts in each round, the smallest first, so that noise falls on all alike."""
    with ExitStack() as stack:
        proxies = {}
        for count in counts:
            shuffled(count, folder / f"{count}.txt")
            proxies[count], result["names"][str(count)] = stack.enter_context(grown(folder, count, behind))
            print(f"{count} names: {result['names'][str(count)]}", flush=True)
        for number in range(rounds):
            for count, proxy in proxies.items():
                figures = once(proxy, partial(load.dnsperf, proxy, folder / f"{count}.txt", seconds))
                result["names"][str(count)].setdefault("rounds", []).append(figures)
                print(f"{count} names, round {number + 1}: {told(figures)}", flush=True)
        for count, proxy in proxies.items():
            result["names"][str(count)]["rss_after_bytes"] = proxy.rss_bytes
        for count, proxy in proxies.items():
            result["names"][str(count)]["reload"] = seen = reloaded(proxy, folder / f"{count}.txt")
            print(f"{count} names, reload: {seen}", flush=True)
    full = [count for count in counts if count >= TARGETS] or counts
    base = result["names"][str(full[0])]["rss_bytes"]
    for count in counts:
        names = result["names"][str(count)]
        # Beside a base that has all the targets: these cost the same however many names there are.
        names["bytes_a_name"] = round((names["rss_bytes"] - base) / (count - full[0])) if count > full[0] else 0
        names["qps"] = median(figures["qps"] for figures in names["rounds"])


def reloaded(proxy: Many, asked: Path) -> dict[str, Any]:
    """Load the proxy evenly, without and with a reload meanwhile, and say what clients saw of it."""
    extra = ["-v", "-Q", str(STEADY_QPS)]
    steady_s = STEADY_S * (3 if proxy.count > LONG_RELOADED else 1) if proxy.count >= TARGETS else STEADY_S / 4
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
        **latencies(made),
        **{f"plain_{name}": value for name, value in latencies(plain).items()},
        "plain_lost": plain.lost,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.growth", description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 1_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--output", type=Path, default=RESULTS / "growth.json")
    arguments = parser.parse_args()
    record(arguments.output, lambda: measured(arguments.counts, arguments.rounds, arguments.seconds))


if __name__ == "__main__":
    main()
