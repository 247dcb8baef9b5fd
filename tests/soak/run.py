"""A long mixed load with churn: `python -m tests.soak.run [--minutes N]`.

NSD behind, a resolver whose addresses move, clients over UDP and TCP; meanwhile the configuration is reloaded with
good and bad files, the nameserver is killed and started again, the resolver falls silent. At the end nothing may be
left over: memory, descriptors, pending queries and connections must be where they were after the warm-up.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import count
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import dns.rcode
from attrs import define, frozen

from tests.support.configuration import configuration
from tests.support.internet import FakeInternet, Mood
from tests.support.load import Load
from tests.support.nsd import Nsd
from tests.support.proxy import Proxy
from tests.support.waiting import until
from tests.support.zones import Zones

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUERIES = [("example.com", "A"), ("example.com", "AAAA"), ("example.com", "MX"), ("www.example.com", "A")]
MAX_GROWTH_KIB = 8 * 1024
STEP_S = 1.0


@frozen
class Left:
    """What the process holds."""

    rss_kib: int
    descriptors: int
    threads: int
    pending: float
    connections: float


@define
class Soak:
    """The pieces of one run."""

    proxy: Proxy
    nsd: Nsd
    internet: FakeInternet
    config: str

    def left(self) -> Left:
        process = Path(f"/proc/{self.proxy.pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        metrics = self.proxy.metrics()
        return Left(
            rss_kib=int(status["VmRSS"].split()[0]),
            descriptors=len(list((process / "fd").iterdir())),
            threads=int(status["Threads"]),
            pending=sum(value for _labels, value in metrics.samples("upstream_pending")),
            connections=metrics.value("tcp_connections"),
        )

    def settled(self) -> Left:
        """Wait until nothing is under way, and return what is left then."""

        def probe() -> Left | None:
            left = self.left()
            return left if not left.pending and not left.connections else None

        return until(probe, "nothing under way", 60)

    def load(self) -> Load:
        return Load(self.proxy.address, QUERIES, over_tcp=("example.com", "MX"))

    def churn(self, seconds: float) -> dict[str, int]:
        """Load it for this long with something breaking every second; return what the clients saw."""
        seen: dict[str, int] = {}
        began = monotonic()
        for turn in count():
            with self.load() as load:
                self._break_something(turn)
            for asked in load.asked:
                what = "nothing" if asked.reply is None else dns.rcode.to_text(asked.reply.rcode())
                seen[what] = seen.get(what, 0) + 1
            if monotonic() - began > seconds:
                break
        self.internet.mood = Mood.HONEST
        return seen

    def _break_something(self, turn: int) -> None:
        number = turn % 200 + 1
        self.internet.set("lb.test", "A", [f"198.51.100.{number}"], ttl=1)
        self.internet.set("lb.test", "AAAA", [f"2001:db8::{number:x}"], ttl=1)
        self.internet.mood = Mood.SILENT if turn % 7 == 3 else Mood.SERVFAIL if turn % 7 == 5 else Mood.HONEST
        if turn % 3 == 0:
            self.proxy.reload(self.config + f"# {turn}\n")
        elif turn % 3 == 1:
            self.proxy.reload(self.config + "[nonsense]\n", expect="reload_failed")
        if turn % 10 == 9:
            self.nsd.kill()
            self.nsd.start()
        until(_after(STEP_S), "a second", STEP_S + 5)


def _after(seconds: float) -> Callable[[], bool]:
    end = monotonic() + seconds
    return lambda: monotonic() > end


def _started(folder: Path) -> Iterator[Soak]:
    """Yield a running set-up, and end it."""
    (folder / "zones").mkdir()
    (folder / "nsd").mkdir()
    (folder / "proxy").mkdir()
    nsd = Nsd(folder=folder / "nsd", zones=Zones(folder / "zones"))
    internet = FakeInternet()
    nsd.start()
    internet.start()
    internet.set("lb.test", "A", ["198.51.100.1"], ttl=1)
    config = configuration(
        upstream=[nsd.address],
        resolver=[internet.address],
        flatten={"example.com": {"target": "lb.test"}},
        state={"path": str(folder / "answers.sqlite")},
    )
    proxy = Proxy(folder / "proxy", config)
    proxy.start()
    try:
        yield Soak(proxy, nsd, internet, config)
        proxy.stop()
    finally:
        if proxy.alive:
            proxy.kill()
        internet.stop()
        nsd.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    seconds = parser.parse_args().minutes * 60
    with tempfile.TemporaryDirectory() as folder:
        for soak in _started(Path(folder)):
            # What a process needs once (caches, the allocator's pools) it has after every kind of turn was taken.
            soak.churn(max(seconds * 0.25, 12))
            before = soak.settled()
            seen = soak.churn(seconds * 0.75)
            after = soak.settled()
            print(
                json.dumps({"seconds": seconds, "replies": seen, "before": str(before), "after": str(after)}, indent=1)
            )
            assert after.descriptors <= before.descriptors + 8, "descriptors were left over"
            assert after.threads <= before.threads + 2, "threads were left over"
            assert after.rss_kib <= before.rss_kib + MAX_GROWTH_KIB, "memory was left over"
            assert seen.get("nothing", 0) == 0, "a client was left without any reply"
    return 0


if __name__ == "__main__":
    sys.exit(main())
