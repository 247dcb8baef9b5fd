"""`python -m bench.safety`: what it costs to be safe. Each case beside the plain one, in interleaved rounds."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import dns.message
from attrs import define

from bench import crowd, load
from bench.comparison import add_medians, command
from bench.servers import HOST, HOSTS, ZONE, Flatproxy, Nsd, Unbound, running
from bench.works import write_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NETWORKS: Final = 10_000
ZONES: Final = 1_000
SOURCES: Final = 100_000
LOSS: Final = 0.3
LOSSY_QPS: Final = 5_000
"""Fixed, with room for all that wait: of a few under way, the lost ones would soon be all."""

Run = dict[str, Any]


@define(eq=False, kw_only=True)
class Safe(Flatproxy):
    """flatproxy with other nameservers, or with more in its access list."""

    servers: tuple[int, ...] = ()
    networks: int = 0
    zones: int = 1

    def configure(self) -> list[str]:
        command = super().configure()
        path = self.folder / "flatproxy.toml"
        servers = ", ".join(f'"{HOST}:{port}"' for port in self.servers or (self.nsd.port,))
        zones = ", ".join(f'"{name}"' for name in [ZONE, *(f"zone{number}.test" for number in range(1, self.zones))])
        text = path.read_text().replace(f'servers = ["{HOST}:{self.nsd.port}"]', f"servers = [{servers}]")
        text = text.replace(f'zones = ["{ZONE}"]', f"zones = [{zones}]\n{self._query()}")
        path.write_text(text)
        return command

    def _query(self) -> str:
        if not self.networks:
            return ""
        others = (f"10.{number >> 8}.{number & 255}.0/{24 + number % 9}" for number in range(self.networks - 1))
        return "query = [" + ", ".join(f'"{network}"' for network in ["127.0.0.0/8", *others]) + "]"


@contextmanager
def silent() -> Iterator[int]:
    """Give the port of a nameserver that takes what comes and says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        yield sock.getsockname()[1]


@contextmanager
def stub(loss: float) -> Iterator[int]:
    """Give the port of a nameserver that loses this share of its replies."""
    process = subprocess.Popen([sys.executable, "-m", "bench.stub", str(loss)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def saturated(queries: Path, *options: str) -> Callable[[Safe, float], Run]:
    """Return what loads a server with dnsperf."""

    def run(server: Safe, seconds: float) -> Run:
        made = load.dnsperf(server, queries, seconds, options)
        return {"qps": round(made.qps), "completed": made.completed, "lost": made.lost}

    return run


def crowded(count: int) -> Callable[[Safe, float], Run]:
    """Return what loads a server from so many addresses."""
    messages = [dns.message.make_query(f"h{number}.{ZONE}", "A").to_wire() for number in range(HOSTS)]
    addresses = crowd.sources(count)

    def run(server: Safe, seconds: float) -> Run:
        made = crowd.ask(server.port, messages, addresses, seconds)
        return {"qps": round(made.completed / made.seconds), "completed": made.completed, "lost": made.lost}

    return run


def cases(folder: Path, stack: ExitStack) -> list[tuple[str, Safe, Callable[[Safe, float], Run]]]:
    """Start everything, and return what is measured: its name, the server, and the load. A plain one begins a group."""
    nsd, resolver = Nsd(name="nsd", folder=folder / "nsd"), Unbound(name="unbound", folder=folder / "unbound")
    stack.enter_context(running(nsd, resolver))
    queries = write_queries(folder)["forwarded"]
    dead, sound, lossy = (stack.enter_context(each) for each in (silent(), stub(0), stub(LOSS)))

    def proxy(name: str, **more: Any) -> Safe:  # noqa: ANN401 - whatever Safe takes
        made = Safe(name=name, folder=folder / name.replace(" ", "-"), nsd=nsd, resolver=resolver, **more)
        stack.enter_context(running(made))
        return made

    plain, everybody, steady = (
        proxy("plain"),
        saturated(queries),
        saturated(queries, "-Q", str(LOSSY_QPS), "-q", str(8 * LOSSY_QPS), "-t", "5"),
    )
    return [
        ("plain", plain, everybody),
        (f"{NETWORKS:,} access networks", proxy("networks", networks=NETWORKS), everybody),
        (f"{ZONES:,} served zones", proxy("zones", zones=ZONES), everybody),
        ("the second of two nameservers dead", proxy("second dead", servers=(nsd.port, dead)), everybody),
        ("the first of two nameservers dead", proxy("first dead", servers=(dead, nsd.port)), everybody),
        ("plain, one source address", plain, crowded(1)),
        (f"{SOURCES:,} source addresses", proxy("crowd", networks=3), crowded(SOURCES)),
        (f"plain, {LOSSY_QPS:,} q/s", proxy("sound", servers=(sound,)), steady),
        (f"{LOSS:.0%} of the replies lost, {LOSSY_QPS:,} q/s", proxy("lossy", servers=(lossy,)), steady),
    ]


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Measure everything and return it, each case with its rounds and its memory before and after."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        measured = cases(Path(folder), stack)
        for name, server, run in measured:
            run(server, 0.5)
            found[name] = {"rss_before": server.rss_bytes, "rounds": []}
        for number in range(rounds):
            for name, server, run in measured:
                before = sum(server.cpu_s)
                figures = run(server, seconds)
                figures["cpu_us"] = round(
                    (sum(server.cpu_s) - before) / (figures["completed"] + figures["lost"]) * 1e6, 2
                )
                found[name]["rounds"].append(figures)
                print(f"round {number + 1}, {name}: {figures}", flush=True)
        for name, server, _run in measured:
            found[name]["rss_after"] = server.rss_bytes
    add_medians(found.values())
    return found


if __name__ == "__main__":
    command("safety", __doc__, "cases", measure)
