"""`python -m bench.safety`: what it costs to be safe. Each case beside the plain one, in interleaved rounds."""

from __future__ import annotations

import argparse
import socket
import tempfile
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import define

from bench import load
from bench.comparison import RESULTS, add_medians, once, record, told
from bench.servers import FLATTENED, HOST, ZONE, Compiled, Flatproxy, Nsd, Unbound, running
from bench.works import Queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NETWORKS: Final = 10_000
ZONES: Final = 1_000
SOURCES: Final = 100_000
LOSS: Final = 30
LOSSY_QPS: Final = 5_000
"""Fixed, with room for all that wait: of a few under way, the lost ones would soon be all."""


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


def _answerer(folder: Path, loss: int) -> Compiled:
    """Return a nameserver that loses so many of a hundred replies."""
    return Compiled(name=folder.name, folder=folder, program="answerer", arguments=(str(loss),), apex=FLATTENED)


def cases(folder: Path, stack: ExitStack) -> list[tuple[str, Safe, Callable[[Safe, float], load.Load]]]:
    """Start everything, and return what is measured: its name, the server, and the load. A plain one begins a group."""
    nsd, resolver = Nsd(name="nsd", folder=folder / "nsd"), Unbound(name="unbound", folder=folder / "unbound")
    stack.enter_context(running(nsd, resolver))
    queries = Queries(folder).path("forwarded")
    dead = stack.enter_context(silent())
    sound, lossy = (_answerer(folder / f"loss-{loss}", loss) for loss in (0, LOSS))
    stack.enter_context(running(sound, lossy))

    def proxy(name: str, **more: Any) -> Safe:  # noqa: ANN401 - whatever Safe takes
        made = Safe(name=name, folder=folder / name.replace(" ", "-"), nsd=nsd, resolver=resolver, **more)
        stack.enter_context(running(made))
        return made

    def saturated(*options: str) -> Callable[[Safe, float], load.Load]:
        return lambda server, seconds: load.dnsperf(server, queries, seconds, options)

    def crowded(sources: int) -> Callable[[Safe, float], load.Load]:
        return lambda server, seconds: load.crowd(server, queries, seconds, "udp", sources)

    plain, everybody = proxy("plain"), saturated()
    steady = saturated("-Q", str(LOSSY_QPS), "-q", str(8 * LOSSY_QPS), "-t", "5")
    return [
        ("plain", plain, everybody),
        (f"{NETWORKS:,} access networks", proxy("networks", networks=NETWORKS), everybody),
        (f"{ZONES:,} served zones", proxy("zones", zones=ZONES), everybody),
        ("the second of two nameservers dead", proxy("second dead", servers=(nsd.port, dead)), everybody),
        ("the first of two nameservers dead", proxy("first dead", servers=(dead, nsd.port)), everybody),
        ("plain, one source address", plain, crowded(1)),
        (f"{SOURCES:,} source addresses", proxy("crowd", networks=3), crowded(SOURCES)),
        (f"plain, {LOSSY_QPS:,} q/s", proxy("sound", servers=(sound.port,)), steady),
        (f"{LOSS}% of the replies lost, {LOSSY_QPS:,} q/s", proxy("lossy", servers=(lossy.port,)), steady),
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
                figures = once(server, partial(run, server, seconds))
                found[name]["rounds"].append(figures)
                print(f"round {number + 1}, {name}: {told(figures)}", flush=True)
        for name, server, _run in measured:
            found[name]["rss_after"] = server.rss_bytes
    add_medians(found.values())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.safety", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--output", type=Path, default=RESULTS / "safety.json")
    arguments = parser.parse_args()
    record(arguments.output, lambda: {"cases": measure(arguments.rounds, arguments.seconds)})


if __name__ == "__main__":
    main()
