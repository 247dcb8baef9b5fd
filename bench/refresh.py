"""`python -m bench.refresh`: how many targets one process keeps fresh, and what it does about a resolver's outage.

Each flagged name has a target of its own, of two types. In turn: a cold start, a time in which all is well, an outage
of the resolver, and its return; forwarded names and the hot among the flagged ones are asked for all the while.
"""

from __future__ import annotations

import argparse
import random
import signal
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from threading import Event
from time import monotonic
from typing import Any, Final

import dns.exception
import dns.message
import dns.rdatatype
from attrs import define, field, frozen

from bench import load
from bench.comparison import RESULTS, latencies, record
from bench.many import Many
from bench.servers import HOST, ZONE, Compiled, Nsd, ask_a, running
from bench.works import Queries

HOT: Final = 100
"""The first names; half of the load is about them."""
LOAD_QPS: Final = 500
STAMPED: Final = 20
"""Every so manieth target says in its AAAA record when it was asked for, see resolver.c."""
SAMPLES: Final = 50
"""Names of such targets asked a second: few, so that asking does not make them hot."""
WELL: Final = 0.99
KINDS: Final = ("fresh", "stale", "cold")


@frozen(kw_only=True)
class Size:
    """How many targets there are, how long they live, and how many seconds each phase takes."""

    targets: int = 100_000
    ttl: int = 60
    start: int = 120
    steady: int = 120
    outage: int = 300
    after: int = 120


@define(eq=False, kw_only=True)
class Resolver(Compiled):
    """The scripted resolver: it knows every target, and turns deaf when told to."""

    def right(self) -> bool:
        return bool(ask_a(self.port, "t1.cloud.test"))

    def turn(self) -> None:
        """Make it deaf, or hear again."""
        assert self.child is not None
        self.child.send(signal.SIGUSR1)

    def seconds(self) -> dict[int, tuple[int, int, int]]:
        """Return what it counted in each second: asked, asked about hot targets, answered."""
        lines = (line.split() for line in (self.folder / "log").read_text().splitlines())
        return {int(second): (int(asked), int(hot), int(answered)) for second, asked, hot, answered in lines}


@define(eq=False, kw_only=True)
class Watch:
    """Looks once a second at how old the answers are that clients get, and at the CPU that the proxy used."""

    proxy: Many
    ttl_s: int
    seen: dict[int, dict[str, float]] = field(factory=dict)
    """By second: how many of the samples are of each of `KINDS`, and the share of a core used."""
    over: Event = field(factory=Event)

    def run(self) -> None:
        names = list(range(0, self.proxy.count, STAMPED))
        random.Random(0).shuffle(names)
        asked, used, since = 0, sum(self.proxy.cpu_s), monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((HOST, self.proxy.port))
            while not self.over.is_set():
                count = min(SAMPLES, len(names))
                for number in range(asked, asked + count):
                    name = f"n{names[number % len(names)]}.{ZONE}"
                    sock.send(dns.message.make_query(name, "AAAA", id=number % 65536).to_wire())
                kinds = self._sampled(sock, {number % 65536 for number in range(asked, asked + count)}, since + 1)
                asked += count
                used, before, now = sum(self.proxy.cpu_s), used, monotonic()
                self.seen[int(since)] = {**kinds, "cpu": (used - before) / (now - since)}
                since = now

    def _sampled(self, sock: socket.socket, ids: set[int], end: float) -> dict[str, float]:
        """Read the replies to these IDs until a moment; who has none by then has no address yet."""
        kinds = dict.fromkeys(KINDS, 0.0)
        while (left := end - monotonic()) > 0:
            sock.settimeout(left)
            try:
                reply = dns.message.from_wire(sock.recv(4096))
            except (TimeoutError, dns.exception.DNSException):
                continue
            if reply.id in ids:
                ids.remove(reply.id)
                kinds[self._kind(reply)] += 1
        kinds["cold"] += len(ids)
        return kinds

    def _kind(self, reply: dns.message.Message) -> str:
        stamps = [
            rdata.to_digestable()[12:]
            for rrset in reply.answer
            if rrset.rdtype == dns.rdatatype.AAAA
            for rdata in rrset
        ]
        if not stamps:
            return "cold"
        return "fresh" if monotonic() - int.from_bytes(stamps[0]) <= self.ttl_s + 1 else "stale"


def phase(proxy: Many, queries: Path, hot: Path, seconds: int) -> dict[str, Any]:
    """Let so many seconds pass under both loads; return when that was, and what clients saw."""
    began = monotonic()
    extra = ("-v", "-Q", str(LOAD_QPS))
    with ThreadPoolExecutor(2) as pool:
        forwarded, flattened = (pool.submit(load.dnsperf, proxy, path, seconds, extra) for path in (queries, hot))
    found = {
        name: latencies(made) | {"lost": made.lost}
        for name, made in (("forwarded", forwarded.result()), ("hot", flattened.result()))
    }
    return {"began": began, "ended": monotonic(), **found}


def measure(size: Size) -> dict[str, Any]:
    """Go through all phases and return what was seen in each."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        nsd = Nsd(name="nsd", folder=folder / "nsd")
        resolver = Resolver(
            name="resolver", folder=folder / "resolver", program="resolver", arguments=(str(HOT), str(size.ttl))
        )
        proxy = Many(
            name="flatproxy",
            folder=folder / "proxy",
            nsd=nsd,
            resolver=resolver,
            count=size.targets,
            targets=size.targets,
        )
        queries, hot = Queries(folder).path("forwarded"), folder / "hot.txt"
        hot.write_text(
            "".join(f"n{n}.{ZONE} {kind}\n" for n in range(min(HOT, size.targets)) for kind in ("A", "AAAA"))
        )
        began = monotonic()
        with running(nsd, resolver, proxy), ThreadPoolExecutor(1) as pool:
            watch = Watch(proxy=proxy, ttl_s=size.ttl)
            watching = pool.submit(watch.run)
            try:
                phases = {"start": phase(proxy, queries, hot, size.start) | {"began": began}}
                phases["steady"] = phase(proxy, queries, hot, size.steady)
                rss_bytes = proxy.rss_bytes
                resolver.turn()
                phases["outage"] = phase(proxy, queries, hot, size.outage)
                resolver.turn()
                phases["return"] = phase(proxy, queries, hot, size.after)
            finally:
                watch.over.set()
            watching.result()
            return {
                "targets": size.targets,
                "ttl_s": size.ttl,
                "rss_bytes": rss_bytes,
                **judged(size, phases, watch.seen, resolver.seconds()),
            }


def judged(
    size: Size,
    phases: dict[str, dict[str, Any]],
    seen: dict[int, dict[str, float]],
    counted: dict[int, tuple[int, int, int]],
) -> dict[str, Any]:
    """Return each phase's figures, and those that need several."""
    for each in phases.values():
        inside = range(int(each["began"]) + 1, int(each["ended"]))
        asked = [counted.get(second, (0, 0, 0))[0] for second in inside]
        samples = [seen[second] for second in inside if second in seen]
        total = sum(one[kind] for one in samples for kind in KINDS)
        each["asked"] = median(asked or [0])
        each["asked_most"] = max(asked, default=0)
        each["cpu_share"] = round(median([one["cpu"] for one in samples] or [0.0]), 3)
        each["samples"] = {kind: round(sum(one[kind] for one in samples) / max(total, 1), 4) for kind in KINDS}
    start, back = phases["start"], phases["return"]
    hot = 2 * min(HOT, size.targets)
    found = {
        "all_asked_s": _until(counted, start["began"], phases["outage"]["began"], 2, 2 * size.targets),
        "converged_s": _converged(seen, start["began"], phases["outage"]["began"]),
        "hot_again_s": _until(counted, back["began"], back["ended"], 1, hot),
        "all_again_s": _until(counted, back["began"], back["ended"], 2, 2 * size.targets),
        "fresh_again_s": _converged(seen, back["began"], back["ended"]),
        "herd": round(back["asked_most"] / max(phases["steady"]["asked"], 1), 2),
    }
    moments = {
        name: {"seconds": round(each.pop("ended") - each.pop("began"), 1), **each} for name, each in phases.items()
    }
    return {"phases": moments, **found}


def _until(counted: dict[int, tuple[int, int, int]], began: float, end: float, which: int, enough: int) -> float | None:
    """Return after how many seconds a count had come to so much; None where it never did."""
    total = 0
    for second in range(int(began), int(end)):
        total += counted.get(second, (0, 0, 0))[which]
        if total >= enough:
            return round(second + 1 - began, 1)
    return None


def _converged(seen: dict[int, dict[str, float]], began: float, end: float) -> float | None:
    """Return after how many seconds nearly all samples of three seconds were fresh; None where they never were."""
    seconds = [second for second in sorted(seen) if began - 1 < second < end]
    for first in range(len(seconds) - 2):
        three = [seen[second] for second in seconds[first : first + 3]]
        total = sum(one[kind] for one in three for kind in KINDS)
        if sum(one["fresh"] for one in three) >= WELL * total > 0:
            return round(max(seconds[first] - began, 0.0), 1)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.refresh", description="How many targets one process keeps fresh.")
    for name in ("targets", "ttl", "start", "steady", "outage", "after"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Size(), name))
    parser.add_argument("--output", type=Path, default=RESULTS / "refresh.json")
    arguments = vars(parser.parse_args())
    output = arguments.pop("output")
    record(output, lambda: measure(Size(**arguments)))


if __name__ == "__main__":
    main()
