"""`python -m bench.signed [--names N] [--seconds S]`: what signatures cost; it prints, and keeps nothing.

How many are made a second; the CPU of a signed hot answer beside an unsigned one; and what a zone of many flagged
names costs, to its start, in memory, and until a name that was never asked for is signed.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final

import dns.message
import dns.name
import dns.query
import dns.rdatatype
from attrs import define, field

from bench import load
from bench.comparison import once
from bench.many import TARGETS, Many, target
from bench.servers import HOST, WITH_NATIVE, WITHOUT_NATIVE, ZONE, Flatproxy, Nsd, Unbound, running
from flatproxy.signing import keys, rrsig
from flatproxy.wire import names
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

ALGORITHMS: Final = ("ECDSAP256SHA256", "ED25519", "ECDSAP384SHA384", "RSASHA256")
ROUNDS: Final = 9
_TTL_S: Final = 2
"""Of the zone's keys: ours signs when it has been there for so long."""


@define(eq=False, kw_only=True)
class SignedNsd(Nsd):
    """The nameserver with a signed zone; `count` names in it have placeholders. flatproxy signs with its own ZSK."""

    count: int = 0
    zsk: str = field(default="", init=False)

    def configure(self) -> list[str]:
        command = super().configure()
        path = self.folder / "zone"
        lines = [f"n{number} A 192.0.2.1\nn{number} AAAA 2001:db8::1\n" for number in range(self.count)]
        path.write_text(path.read_text().replace("$TTL 300", f"$TTL {_TTL_S}") + "".join(lines))
        made = [
            subprocess.run(
                ["ldns-keygen", "-a", "ECDSAP256SHA256", *kind, ZONE],
                cwd=self.folder, capture_output=True, text=True, check=True,
            ).stdout.strip()
            for kind in (["-k"], [])
        ]  # fmt: skip
        self.zsk = str(self.folder / made[1])
        signed = self.folder / "signed"
        subprocess.run(["ldns-signzone", "-o", ZONE, "-f", signed, path, *made], cwd=self.folder, check=True)
        signed.rename(path)
        return command

    @property
    def table(self) -> str:
        """The table of flatproxy's configuration that names the key."""
        return f'[dnssec."{ZONE}"]\nkey = "{self.zsk}"\n'


def signatures_a_second(algorithm: str, seconds: float) -> float:
    """Make signatures over an address RRset for so long."""
    zone = names.to_wire(dns.name.from_text(ZONE))
    key, rdatas, made, began = keys.generate(zone, algorithm), [bytes(4)], 0, perf_counter()
    while (taken := perf_counter() - began) < seconds:
        rrsig.sign((key,), zone, 1, 60, rdatas, now=1_800_000_000)
        made += 1
    return made / taken


def is_signed(server: Flatproxy, name: str = ZONE) -> bool:
    """Tell whether a flattened answer comes with a signature."""
    query = dns.message.make_query(name, "A", want_dnssec=True)
    reply = dns.query.udp(query, HOST, timeout=5, port=server.port)
    texts = {rdata.to_text() for rrset in reply.answer if rrset.rdtype == dns.rdatatype.A for rdata in rrset}
    return any(text.startswith("198.51.100.") for text in texts) and len(reply.answer) > 1


def hot(proxy: Flatproxy, queries: Path, seconds: float) -> None:
    """Print CPU per answer, unsigned and signed in turn: the median, and the least, which others disturb least."""
    found: dict[str, list[float]] = {"unsigned": [], "signed": []}
    for _ in range(ROUNDS):
        for kind, option in (("unsigned", "-e"), ("signed", "-D")):
            figures = once(proxy, partial(load.dnsperf, proxy, queries, seconds, [option]))
            found[kind].append(figures["cpu_us"])
    for name, of in (("median", median), ("least", min)):
        unsigned, signed = of(found["unsigned"]), of(found["signed"])
        print(
            f"{proxy.name}, {name}: {unsigned} µs unsigned, {signed} µs signed, {signed / unsigned:.2f} times",
            flush=True,
        )


def many(folder: Path, count: int) -> None:
    """Print what so many flagged names in a signed zone cost."""
    resolver = Unbound(name="Unbound", folder=folder / "u", targets=tuple(map(target, range(TARGETS))))
    nsd = SignedNsd(name="NSD", folder=folder / "n", count=count)
    with running(nsd, resolver):
        for table in ("", nsd.table):
            proxy = Many(
                name="many",
                folder=folder / ("with" if table else "without"),
                nsd=nsd,
                resolver=resolver,
                count=count,
                flatten=table,
            )
            _one_of_many(proxy, signed=bool(table))


def _one_of_many(proxy: Many, *, signed: bool) -> None:
    began = monotonic()
    first = proxy.start()
    try:
        proxy.wait_until_ready()
        ready = monotonic() - began
        what = f"{proxy.count} names, {'with' if signed else 'without'} a key: first answer after {first:.1f} s"
        print(f"{what}, ready after {ready:.1f} s, {proxy.rss_bytes >> 20} MiB", flush=True)
        if signed:
            log = proxy.folder / "log"
            until(lambda: '"new": "active"' in log.read_text(), log.read_text, 60)
            waits = []
            for number in range(1, proxy.count, proxy.count // 20):
                asked = monotonic()
                until(partial(is_signed, proxy, f"n{number}.{ZONE}"), f"n{number}", 60)
                waits.append(monotonic() - asked)
            print(
                f"first signed answer of a name: median {median(waits):.3f} s, at most {max(waits):.3f} s", flush=True
            )
        proxy.wait_until_quiet()
        print(f"quiet after {monotonic() - began:.0f} s, {proxy.rss_bytes >> 20} MiB", flush=True)
    finally:
        proxy.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.signed", description=__doc__)
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args(arguments)
    for algorithm in ALGORITHMS:
        print(f"{algorithm}: {signatures_a_second(algorithm, given.seconds):,.0f} signatures a second", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        nsd, resolver = SignedNsd(name="NSD", folder=folder / "nsd"), Unbound(name="Unbound", folder=folder / "unbound")
        queries = folder / "queries.txt"
        queries.write_text(f"{ZONE} A\n")
        with running(nsd, resolver):
            for kind, interpreter in (("in C", WITH_NATIVE), ("in Python", WITHOUT_NATIVE)):
                proxy = Flatproxy(
                    name=kind, folder=folder / kind.replace(" ", "-"), nsd=nsd, resolver=resolver,
                    interpreter=interpreter,
                )  # fmt: skip
                proxy.flatten = nsd.table + proxy.flatten
                with running(proxy):
                    until(partial(is_signed, proxy), kind, 60)
                    hot(proxy, queries, given.seconds)
        if given.names:
            many(folder, given.names)


if __name__ == "__main__":
    main()
