"""`python -m bench.convergence`: real flatproxies on one Redis, before a resolver whose targets move.

How soon do all nodes answer a new address after it was published, and how often is the resolver asked, against a single
node without a fleet? A change is published when the store's message about it arrives here; a node has it when its reply
arrives here. Nodes are asked from the message on, every 2 ms, until all have answered the new address. Then the target
moves again, after up to a second.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue
from statistics import median
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import dns.message
from attrs import define, field

from flatproxy.flatten.fleet.entry import Seal
from flatproxy.flatten.fleet.operations import StoreKeys
from tests.support.configuration import configuration
from tests.support.fleet import PREFIX, Fleet
from tests.support.internet import FakeInternet
from tests.support.proxy import Proxy
from tests.support.redis import Redis
from tests.support.scripted import Scripted
from tests.support.waiting import let_pass

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS: Final = Path(__file__).parent / "results" / "convergence.json"
TTL_S: Final = 2
TARGETS: Final = 20
ROUND_S: Final = 0.002
LATE_S: Final = 60.0
"""A target that has not arrived everywhere after so long ends the run."""


Hint = tuple[float, str, list[str]]
"""When it came, of which field, and the records that stand there (hex)."""


@define(eq=False)
class Moving:
    """One target; times are monotonic."""

    number: int
    move_at: float
    address: bytes = b""
    moved_at: float = 0.0
    published_at: float | None = None
    behind: set[int] = field(factory=set)
    """Nodes that have not answered the new address yet; empty: it waits for its next move."""
    moves: int = 0

    @property
    def name(self) -> str:
        return f"n{self.number}.example.com"

    @property
    def target(self) -> str:
        return f"lb{self.number}.test"


@define(eq=False)
class Observer:
    """Moves targets, asks nodes. With `hints`, a move counts as published when it is told there, else at once."""

    nodes: Sequence[Proxy]
    internet: FakeInternet
    hints: SimpleQueue[Hint] | None
    targets: list[Moving] = field(init=False)
    since_published: list[float] = field(factory=list)
    since_moved: list[float] = field(factory=list)
    _sockets: list[socket.socket] = field(factory=list)
    _queries: list[bytes] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        now = monotonic()
        self.targets = [Moving(number, now + random.random()) for number in range(TARGETS)]
        for target in self.targets:
            self._queries.append(dns.message.make_query(target.name, "A", id=target.number).to_wire())
        for node in self.nodes:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.connect(node.address)
            sock.setblocking(False)  # noqa: FBT003 - as it is spelled
            self._sockets.append(sock)

    def watch(self, changes: int, seconds: float) -> dict[str, Any]:
        """Go on for so many changes and so long; return the figures."""
        before, began = self.internet.asked.total(), monotonic()
        while len(self.since_moved) < changes or monotonic() - began < seconds:
            self._turn()
            let_pass(ROUND_S)
        took_s = monotonic() - began
        asked = self.internet.asked.total() - before
        for sock in self._sockets:
            sock.close()
        return {
            "nodes": len(self.nodes),
            "changes": len(self.since_moved),
            "seconds": round(took_s, 1),
            "resolver_queries": asked,
            "resolver_queries_a_second": round(asked / took_s, 2),
            "since_published_ms": _spread(self.since_published) if self.hints is not None else None,
            "since_moved_ms": _spread(self.since_moved),
        }

    def _turn(self) -> None:
        now = monotonic()
        for target in self.targets:
            if not target.behind and now >= target.move_at:
                self._move(target)
        self._note_published()
        for target in self.targets:
            if target.published_at is not None:
                for number in target.behind:
                    self._sockets[number].send(self._queries[target.number])
        for number, sock in enumerate(self._sockets):
            self._hear(number, sock)
        if late := [each.name for each in self.targets if each.behind and now - each.moved_at > LATE_S]:
            raise SystemExit(f"after {LATE_S} s not all nodes have the addresses of {late}")

    def _move(self, target: Moving) -> None:
        target.moves += 1
        target.address = bytes((198, 18 + target.number // 128, target.moves >> 8, target.moves & 255))
        target.behind = set(range(len(self.nodes)))
        self.internet.set(target.target, "A", [socket.inet_ntoa(target.address)], TTL_S)
        target.moved_at = monotonic()
        target.published_at = target.moved_at if self.hints is None else None

    def _note_published(self) -> None:
        while self.hints is not None:
            try:
                at, place, rdatas = self.hints.get_nowait()
            except Empty:
                return
            for target in self.targets:
                is_news = place == f"{target.target}/A" and rdatas == [target.address.hex()]
                if is_news and target.published_at is None:
                    target.published_at = at

    def _hear(self, number: int, sock: socket.socket) -> None:
        while True:
            try:
                reply = sock.recv(4096)
            except (BlockingIOError, ConnectionRefusedError):
                return
            target, now = self.targets[int.from_bytes(reply[:2], "big")], monotonic()
            if number in target.behind and target.address in reply[12:]:
                target.behind.discard(number)
                if not target.behind:
                    self._arrived(target, now)

    def _arrived(self, target: Moving, now: float) -> None:
        assert target.published_at is not None
        self.since_published.append(now - target.published_at)
        self.since_moved.append(now - target.moved_at)
        target.published_at = None
        target.move_at = now + random.random()


def _spread(values: list[float]) -> dict[str, float]:
    ranked = sorted(values)
    parts = {"median": median(ranked), "p99": ranked[int(len(ranked) * 0.99)], "max": ranked[-1]}
    return {name: round(value * 1000, 1) for name, value in parts.items()}


def listen(store: Redis, seal: Seal) -> SimpleQueue[Hint]:
    """Return what the store told of, as it comes, with the addresses that stand there."""
    hints: SimpleQueue[Hint] = SimpleQueue()
    client, keys = store.client(), StoreKeys(PREFIX)
    subscription = client.pubsub()  # type: ignore[no-untyped-call]
    subscription.subscribe(keys.channel)

    def read() -> None:
        for message in subscription.listen():
            now = monotonic()
            place = message["data"].decode().partition(" ")[2] if message["type"] == "message" else ""
            if (raw := client.get(keys.entry(place))) is not None:
                hints.put((now, place, seal.open(place, raw)[1].get("rdatas", [])))

    Thread(target=read, daemon=True).start()
    return hints


def internet() -> FakeInternet:
    made = FakeInternet()
    for number in range(TARGETS):
        made.set(f"lb{number}.test", "A", ["198.51.100.1"], TTL_S)
    return made


FLATTEN: Final = {f"n{number}.example.com": {"target": f"lb{number}.test", "types": ["A"]} for number in range(TARGETS)}


def single(folder: Path, seconds: float) -> dict[str, Any]:
    """Return the figures of one node without a fleet."""
    with Scripted() as nameserver, internet() as resolver:
        folder.mkdir()
        config = configuration(upstream=[nameserver.address], resolver=[resolver.address], flatten=FLATTEN)
        with Proxy(folder, config) as node:
            return Observer([node], resolver, None).watch(0, seconds)


def fleet(folder: Path, processes: int, changes: int, seconds: float) -> dict[str, Any]:
    """Return the figures of a fleet of so many."""
    folder.mkdir()
    with ExitStack() as stack:
        store = stack.enter_context(Redis(folder))
        nameserver, resolver = stack.enter_context(Scripted()), stack.enter_context(internet())
        nodes = Fleet(folder, store.url, resolver, nameserver.address, FLATTEN, {"timeout": "250ms"})
        stack.callback(nodes.stop)
        nodes.begin(processes)
        hints = listen(store, Seal(nodes.secret.read_bytes(), PREFIX))
        found = Observer(nodes.nodes, resolver, hints).watch(changes, seconds)
        totals = [node.metrics() for node in nodes.nodes]
        for kind in ("own", "fleet"):
            found[f"resolutions_{kind}"] = sum(each.value("fleet_resolutions_total", by=kind) for each in totals)
        found["store_lost"] = sum(event["event"] == "fleet_alone" for node in nodes.nodes for event in node.events)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--changes", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="each part lasts for so long at least")
    parser.add_argument("--write", action="store_true", help=f"to {RESULTS.name}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one = single(Path(folder) / "single", options.seconds)
        many = fleet(Path(folder) / "fleet", options.processes, options.changes, options.seconds)
    ratio = many["resolver_queries_a_second"] / one["resolver_queries_a_second"]
    found = {"ttl_s": TTL_S, "targets": TARGETS, "single": one, "fleet": many, "queries_to_single": round(ratio, 3)}
    print(json.dumps(found, indent=2))
    if options.write:
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
