"""`python -m bench.checks`: what checking the addresses of many targets costs, and how evenly the probes are spread."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import mean, pstdev
from time import monotonic
from typing import TYPE_CHECKING, Any

from attrs import define, field

from bench import checked_servers
from bench.checked_servers import RECORD
from bench.comparison import RESULTS, record
from bench.servers import HOST, PLACEHOLDERS, ZONE, Flatproxy, Nsd, Server, running
from tests.support.certificates import Issuer
from tests.support.ports import free_port
from tests.support.waiting import let_pass, until

if TYPE_CHECKING:
    from collections.abc import Sequence

ADDRESSES: int = 2
"""Of each target."""
PIECE_S = 0.1
KINDS = ["none", "tcp", "http", "https"]
START_S = 300
"""For the first probe of each address, on a machine that is slow or busy."""
CHECKED_HOST = "www.example.com"


@define(eq=False, kw_only=True)
class CheckedServers(Server):
    """The resolver, and the web servers."""

    web_port: int = field(factory=lambda: free_port(HOST))
    tls_port: int = field(factory=lambda: free_port(HOST))
    _read: int = 0
    _requests: list[tuple[float, int]] = field(factory=list)

    def configure(self) -> list[str]:
        issuer = Issuer.new()
        issuer.save(self.authorities)
        issuer.server(self.folder, CHECKED_HOST)
        ports = [str(port) for port in (self.port, self.web_port, self.tls_port)]
        return [sys.executable, str(checked_servers.__file__), *ports, str(self.folder / "server.pem"), str(self.log)]

    @property
    def authorities(self) -> Path:
        return self.folder / "ca.pem"

    def right(self) -> bool:
        """Say so at once: who asks it waits for it."""
        return True

    @property
    def log(self) -> Path:
        return self.folder / "requests"

    def requests(self) -> list[tuple[float, int]]:
        """Return when each address was asked, or connected to. What was read before is not read again."""
        if self.log.exists():
            with self.log.open("rb") as log:
                log.seek(self._read)
                octets = log.read()
            octets = octets[: len(octets) - len(octets) % RECORD.size]
            self._read += len(octets)
            self._requests += RECORD.iter_unpack(octets)
        return self._requests


@define(eq=False, kw_only=True)
class Checked(Flatproxy):
    """flatproxy with many flagged names, each with a target of its own; `kind` of check, or none."""

    resolver: CheckedServers
    count: int
    interval_s: int
    check: str
    flatten: str = ""
    apex: frozenset[str] = PLACEHOLDERS

    def configure(self) -> list[str]:
        command = super().configure()
        port = self.resolver.tls_port if self.check == "https" else self.resolver.web_port
        more = f', host = "{CHECKED_HOST}"' if self.check != "tcp" else ""
        more += f', ca_file = "{self.resolver.authorities}"' if self.check == "https" else ""
        health = f'health = {{check = "{self.check}", port = {port}, interval = "{self.interval_s}s"{more}}}'
        names = (
            f'[flatten."n{number}.{ZONE}"]\ntarget = "t{number}.cloud.test"\ntypes = ["A"]\n'
            + (f"{health}\n" if self.check else "")
            for number in range(self.count)
        )
        (self.folder / "names.toml").write_text("".join(names))
        path = self.folder / "flatproxy.toml"
        path.write_text('include = ["names.toml"]\n' + path.read_text())
        return command


def spread(requests: Sequence[tuple[float, int]], began: float, ended: float) -> dict[str, float]:
    """Return how many requests came in each tenth of a second, and how far apart those to one address were."""
    pieces: Counter[int] = Counter()
    times: defaultdict[int, list[float]] = defaultdict(list)
    for at, number in requests:
        times[number].append(at)
        if began <= at < ended:
            pieces[int((at - began) / PIECE_S)] += 1
    counts = [pieces[piece] for piece in range(int((ended - began) / PIECE_S))]
    gaps = [after - before for each in times.values() for before, after in pairwise(each)]
    return {
        "addresses": len(times),
        "a_second": round(sum(counts) / (ended - began), 1),
        "most_in_a_tenth": max(counts),
        "least_in_a_tenth": min(counts),
        "deviation_in_a_tenth": round(pstdev(counts), 1),
        "gap_mean_s": round(mean(gaps), 2) if gaps else 0.0,
        "gap_most_s": round(max(gaps), 2) if gaps else 0.0,
        "gap_least_s": round(min(gaps), 2) if gaps else 0.0,
    }


def one_run(folder: Path, nsd: Nsd, count: int, check: str, interval_s: int, seconds: float) -> dict[str, Any]:
    """Start servers and a proxy, let every address be asked once, and measure."""
    folder.mkdir()
    servers = CheckedServers(name="servers", folder=folder / "servers")
    proxy = Checked(
        name="proxy",
        folder=folder / "proxy",
        nsd=nsd,
        resolver=servers,
        count=count,
        interval_s=interval_s,
        check=check,
    )
    with running(servers, proxy):
        expected = count * ADDRESSES if check else 0

        def asked() -> bool:
            let_pass(1.0)  # what is measured needs the processor more
            return len({number for _at, number in servers.requests()}) >= expected

        until(asked, "each was asked", START_S)
        let_pass(interval_s)
        began, cpu_s = monotonic(), sum(proxy.cpu_s)
        let_pass(seconds)
        ended = monotonic()
        figures: dict[str, Any] = {
            "cpu": round((sum(proxy.cpu_s) - cpu_s) / (ended - began), 3),
            "rss_mib": round(proxy.rss_bytes / 2**20),
        }
        return figures | (spread(servers.requests(), began, ended) if expected else {})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=10_000)
    parser.add_argument("--interval", type=int, default=10, help="seconds between two probes of an address")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--out", type=Path, default=RESULTS / "checks.json")
    given = parser.parse_args(arguments)

    def measure() -> dict[str, Any]:
        found: dict[str, Any] = {
            "names": given.names,
            "addresses": given.names * ADDRESSES,
            "interval_s": given.interval,
        }
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            nsd = Nsd(name="nsd", folder=folder / "nsd")
            with running(nsd):
                for kind in given.kinds:
                    check = "" if kind == "none" else kind
                    found[kind] = one_run(folder / kind, nsd, given.names, check, given.interval, given.seconds)
                    print(kind, found[kind], flush=True)
        return found

    record(given.out, measure)


if __name__ == "__main__":
    main()
