"""Runs the works in interleaved rounds (A B C A B C …) and gathers every round. It judges and prints nothing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from bench import comparison, servers, works
from bench.comparison import Figures, told
from bench.many import TARGETS, Many, shuffled, target
from bench.servers import Compiled, Dnsdist, Flatproxy, Nsd, Pdns, Server, Unbound, running
from bench.views import in_views
from bench.works import WORKS, Queries, Work, server_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

WARM_UP_S: Final = 0.5


@frozen(kw_only=True)
class Plan:
    """How much is measured."""

    name: str
    rounds: int
    seconds: float
    starts: int
    many: int
    """How many flagged names there are where there are many."""
    works: tuple[Work, ...] = WORKS
    before: tuple[str, ...] = ()
    """The interpreter of a flatproxy of before."""


PLANS: Final = {
    "full": Plan(name="full", rounds=5, seconds=2.5, starts=5, many=1_000_000),
    "quick": Plan(name="quick", rounds=3, seconds=1, starts=3, many=100_000),
    "tiny": Plan(name="tiny", rounds=1, seconds=0.5, starts=1, many=2000),
}


@frozen(kw_only=True)
class Field:
    """What runs: the two servers behind, and those that are measured, by name."""

    plan: Plan
    folder: Path
    nsd: Nsd
    resolver: Unbound
    measured: dict[str, Server]

    def make(self, name: str) -> Server:
        """Make the server of a name, in a fresh folder."""
        folder = self.folder / f"{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        nsd, resolver = self.nsd, self.resolver
        match name:
            case works.RELAY:
                return Compiled(name=name, folder=folder, program="relay", arguments=(str(nsd.port),))
            case works.ANSWERER:
                return Compiled(name=name, folder=folder, program="answerer", arguments=("0",), apex=servers.FLATTENED)
            case works.DNSDIST:
                return Dnsdist(name=name, folder=folder, nsd=nsd)
            case works.PIPELINED:
                return Dnsdist(name=name, folder=folder, nsd=nsd, listen="maxInFlight=64", server=", maxInFlight=64")
            case works.CACHED:
                return Dnsdist(name=name, folder=folder, nsd=nsd, lines=servers.CACHE)
            case works.SPLIT:
                return Dnsdist(name=name, folder=folder, nsd=nsd, lines=servers.SPLIT)
            case works.PDNS:
                return Pdns(name=name, folder=folder, resolver=resolver)
        return self._flatproxy(name, folder)

    def _flatproxy(self, name: str, folder: Path) -> Server:
        interpreter, suffix = servers.WITH_NATIVE, name.removeprefix(works.FLATPROXY)
        for which, other in ((works.PYTHON, servers.WITHOUT_NATIVE), (works.BEFORE, self.plan.before)):
            if name.startswith(which):
                interpreter, suffix = other, name.removeprefix(which)
        if suffix in {works.THOUSAND, works.MANY}:
            count = self.plan.many if suffix == works.MANY else 1000
            return Many(
                name=name, folder=folder, nsd=self.nsd, resolver=self.resolver, interpreter=interpreter, count=count
            )
        return Flatproxy(
            name=name,
            folder=folder,
            nsd=self.nsd,
            resolver=self.resolver,
            interpreter=interpreter,
            host="0.0.0.0" if suffix == works.EVERYWHERE else servers.HOST,
            threads=2 if suffix == works.THREADS else 1,
            more=in_views(10_000) if suffix == works.VIEWS else "",
        )


@contextmanager
def everything(plan: Plan, folder: Path) -> Iterator[Field]:
    """Run every server of the plan, those with many names aside: they would keep the machine busy all the time."""
    nsd = Nsd(name="nsd", folder=folder / "nsd")
    unbound = Unbound(name="unbound", folder=folder / "unbound", targets=tuple(map(target, range(TARGETS))))
    with running(nsd, unbound):
        (folder / "measured").mkdir()
        field = Field(plan=plan, folder=folder / "measured", nsd=nsd, resolver=unbound, measured={})
        for name in dict.fromkeys(server_of(name) for work in plan.works for name in work.servers):
            if servers.HAS_THREADS or not name.endswith(works.THREADS):
                field.measured[name] = field.make(name)
        with running(*(server for server in field.measured.values() if not isinstance(server, Many))):
            yield field


def measure(plan: Plan, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything that the plan holds; every round of every server is in what is returned."""
    queries = Queries(folder)
    for suffix, count in ((works.THOUSAND, 1000), (works.MANY, plan.many)):
        shuffled(count, queries.path(suffix))
    with everything(plan, folder) as field:
        idle, found = memory(field), {}
        for work in plan.works:
            names = [name for name in work.servers if server_of(name) in field.measured]
            with _awake(field, names):
                found[work.name] = _interleaved(work, names, field, queries, say)
        loaded = memory(field)
        starts = _starts(field, say)
    return {
        "plan": plan.name,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "many": plan.many,
        "works": found,
        "start_s": starts,
        "rss_idle_bytes": idle,
        "rss_after_bytes": loaded,
    }


def memory(field: Field) -> dict[str, int]:
    """Return the resident memory of each server that runs."""
    return {name: server.rss_bytes for name, server in field.measured.items() if server.child is not None}


@contextmanager
def _awake(field: Field, names: Sequence[str]) -> Iterator[None]:
    """Run those with many names, and wait until they are done with what a start brings."""
    many = [server for name in names if isinstance(server := field.measured[server_of(name)], Many)]
    with running(*many):
        for server in many:
            server.wait_until_ready()
            server.wait_until_flattened()
            server.wait_until_quiet()
        yield


def _interleaved(
    work: Work, names: Sequence[str], field: Field, queries: Queries, say: Callable[[str], None]
) -> dict[str, list[Figures]]:
    found: dict[str, list[Figures]] = {name: [] for name in names}
    plan = field.plan
    for name in names:
        _once(work, name, field, queries, min(WARM_UP_S, plan.seconds))
    for number in range(plan.rounds):
        for name in names:
            found[name].append(_once(work, name, field, queries, plan.seconds))
            say(f"{work.name}, round {number + 1}, {name}: {told(found[name][-1])}")
    return found


def _once(work: Work, name: str, field: Field, queries: Queries, seconds: float) -> Figures:
    server = field.measured[server_of(name)]
    path = queries.path(work.queries)
    if name.endswith(works.FRESH):
        path = queries.fresh(seconds)
    elif isinstance(server, Many):
        path = queries.path(works.MANY if name.endswith(works.MANY) else works.THOUSAND)
    return comparison.once(server, lambda: work.load(path, server, seconds))


def _starts(field: Field, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Start further ones of each kind in turn, each in a fresh folder, and time their first right answers."""
    kinds = (works.PYTHON, works.BEFORE) if field.plan.before else (works.FLATPROXY, works.DNSDIST, works.PDNS)
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(field.plan.starts):
        for name in kinds:
            server = field.make(name)
            try:
                found[name].append(round(server.start(), 3))
            finally:
                server.stop()
            say(f"start {number + 1}, {name}: {found[name][-1]} s to the first answer")
    return found
