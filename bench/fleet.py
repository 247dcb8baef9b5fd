"""A fleet in simulated time: many nodes, the rules that flatproxy goes by, a store that counts. No socket, no sleep.

`python -m bench.fleet` simulates all nodes and a sample of the targets, which do not hang on each other, and scales
what the store has to do up to all of them. Rules, ranks, operations and entries are those of flatproxy/flatten/fleet/.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from flatproxy.flatten.fleet import rules
from flatproxy.flatten.fleet.entry import Seal, TargetEntry
from flatproxy.flatten.fleet.operations import BUCKETS, Claim, Publish, Read, ReadChanges, StoreKeys
from flatproxy.flatten.fleet.publishing import FIRST_S, OTHERS_S
from flatproxy.flatten.fleet.ranks import SLOTS, Ranks, slot_of
from flatproxy.flatten.fleet.rules import EntryJudgement, NextStep, Shared
from flatproxy.flatten.timing import refresh_at

if TYPE_CHECKING:
    from collections.abc import Callable

RTT_S: Final = (0.0005, 0.002)
HINT_S: Final = (0.001, 0.01)
RESOLVE_S: Final = (0.005, 0.05)
TIMEOUT_S: Final = 0.25
RESOLVER_TIMEOUT_S: Final = 1.8
SYNC_S: Final = 15.0
RESULTS: Final = Path(__file__).parent / "results" / "fleet.json"


def octets(words: tuple[Any, ...]) -> int:
    """Return how many octets a command takes on the wire (RESP)."""
    texts = [str(word).encode() if not isinstance(word, bytes) else word for word in words]
    return sum(len(text) + len(str(len(text))) + 5 for text in texts) + len(str(len(texts))) + 3


@define(eq=False)
class Local:
    """One target at one node."""

    shared: Shared
    resolved_at: float = -1e9
    content: int = -1
    due_event: int = 0
    is_pending: bool = False
    is_unpublished: bool = False


@define(eq=False)
class Node:
    number: int
    ranks: list[bool]
    """Whether it is first, by slot."""
    targets: list[Local] = field(factory=list)
    is_joined: bool = True
    known_changes: int = 0


@define(eq=False)
class Entry:
    version: int = 0
    content: int = -1
    resolved_at: float = -1e9


@define(eq=False)
class Simulation:
    """`targets` are simulated, each with a TTL of `ttl_s`; its address changes every `change_s` seconds on average."""

    node_count: int
    targets: int
    ttl_s: float
    change_s: float
    lost: float
    outage: tuple[float, float]
    length_s: float
    chance: random.Random
    now: float = 0.0
    events: list[tuple[float, int, Callable[[], None]]] = field(factory=list)
    number: int = 0
    commands: Counter[str] = field(factory=Counter)
    octets_in: int = 0
    octets_out: int = 0
    alone: int = 0
    per_second: Counter[int] = field(factory=Counter)
    resolved: Counter[int] = field(factory=Counter)
    """By second."""
    entries: list[Entry] = field(factory=list)
    leases: dict[int, tuple[float, int]] = field(factory=dict)
    changes: list[int] = field(factory=list)
    world: list[int] = field(factory=list)
    nodes: list[Node] = field(factory=list)
    published_at: dict[tuple[int, int], float] = field(factory=dict)
    """When a content of a target was published first."""
    learned: dict[tuple[int, int], list[float]] = field(factory=lambda: defaultdict(list))
    stale_s: float = 0.0
    """The time that any node answered stale, at most."""
    sizes: dict[str, int] = field(factory=dict)

    def at(self, when: float, what: Callable[[], None]) -> int:
        self.number += 1
        heapq.heappush(self.events, (when, self.number, what))
        return self.number

    @property
    def is_up(self) -> bool:
        return not self.outage[0] <= self.now < self.outage[1]

    def count(self, kind: str, answer: int) -> None:
        self.commands[kind] += 1
        if kind != "changes":
            self.per_second[int(self.now)] += 1
        self.octets_in += self.sizes[kind]
        self.octets_out += answer

    def prepare(self) -> None:
        keys, place = StoreKeys("flatproxy:example"), "my-load-balancer-1234567890.eu-west-1.elb.amazonaws.com/A"
        names = ("my-load-balancer-1234567890.eu-west-1.elb.amazonaws.com",)
        entry = TargetEntry(
            rdatas=(bytes(4),) * 3, ttl_s=60, names=names, outcome="addresses", resolved_at=1_800_000_000.123
        )
        raw = Seal(b"0123456789abcdef", "flatproxy:example").seal(place, 1_800_000_000_123, entry.content())
        token = b"ns123/0123456789abcdef"
        for kind, operation in (
            ("claim", Claim(place, 1_800_000_000_123, token, 2300)),
            ("publish", Publish(place, raw, 90_000_000, token, 0)),
        ):
            _, named, arguments = operation.script(keys)
            self.sizes[kind] = octets(("EVALSHA", "0" * 40, len(named), *named, *arguments))
        self.sizes["read"] = octets(("MGET", keys.entry(place)))
        self.sizes["changes"] = octets(ReadChanges(3, 1_800_000_000_123).command(keys))
        self.sizes["entry"] = len(raw)
        assert Read((place,)).command(keys)
        self.entries = [Entry() for _ in range(self.targets)]
        self.world = [0] * self.targets
        for target in range(self.targets):
            self.at(self.chance.expovariate(1 / self.change_s), partial(self.change, target))
        self.make_nodes()

    def make_nodes(self) -> None:
        names = [f"ns{number}" for number in range(self.node_count)]
        first: list[int] = [0] * SLOTS
        weights = {name: Ranks(name) for name in names[:1]}
        weights[names[0]].see(names)
        every = weights[names[0]]._known  # noqa: SLF001 - all weights at once, not once for each node
        for slot in range(SLOTS):
            first[slot] = max(range(self.node_count), key=lambda number: every[names[number]][slot])
        self.slots = [slot_of(f"target-{target}.example.net/A") for target in range(self.targets)]
        for number in range(self.node_count):
            node = Node(number, [first[slot] == number for slot in range(SLOTS)])
            node.targets = [Local(Shared()) for _ in range(self.targets)]
            self.nodes.append(node)
            for target in range(self.targets):
                self.set_due(node, target, self.chance.random() * 5)
            self.at(self.chance.random() * SYNC_S, partial(self.sync, node))

    slots: list[int] = field(factory=list)

    def change(self, target: int) -> None:
        self.world[target] += 1
        self.at(self.now + self.chance.expovariate(1 / self.change_s), lambda: self.change(target))

    def set_due(self, node: Node, target: int, when: float) -> None:
        local = node.targets[target]
        local.due_event = self.at(max(when, self.now), lambda: self.due(node, target, number[0]))
        number = [local.due_event]

    def due(self, node: Node, target: int, event: int) -> None:
        local = node.targets[target]
        if event != local.due_event:
            return
        if not node.is_joined:
            self.resolve(node, target)
            return
        fresh_until = local.resolved_at + self.ttl_s if local.content >= 0 else None
        step, again = rules.next_step(
            local.shared,
            now=self.now,
            first=node.ranks[self.slots[target]],
            fresh_until=fresh_until,
            chance=self.chance.random(),
        )
        if step is NextStep.RESOLVE:
            self.alone += self.now >= local.shared.granted_until
            self.resolve(node, target)
            return
        local.is_pending = True
        self.set_due(node, target, again)
        if step is NextStep.CLAIM:
            self.send(node, lambda: self.claim(node, target, again))
        elif step is NextStep.READ:
            self.send(node, lambda: self.read(node, target))

    def send(self, node: Node, what: Callable[[], None]) -> None:
        """Carry something to the store, or find out that it is lost."""
        arrival = self.now + self.chance.uniform(*RTT_S) / 2

        def arrive() -> None:
            if self.is_up:
                what()
            else:
                self.at(self.now + TIMEOUT_S, lambda: self.lose(node))

        self.at(arrival, arrive)

    def back(self, what: Callable[[], None]) -> None:
        self.at(self.now + self.chance.uniform(*RTT_S) / 2, what)

    def claim(self, node: Node, target: int, alone_at: float) -> None:
        entry, local = self.entries[target], node.targets[target]
        if entry.version > local.shared.version:
            self.count("claim", self.sizes["entry"] + 20)
            self.hear_later(node, target)
            return
        self.count("claim", 30)
        until, _ = self.leases.get(target, (0.0, -1))
        if until > self.now:
            left = until - self.now
            self.back(lambda: self.held(node, target, left, alone_at))
            return
        until = self.now + rules.lease_s(RESOLVER_TIMEOUT_S)
        self.leases[target] = until, node.number

        def granted() -> None:
            if local.is_pending and node.is_joined:
                local.shared.granted_until = until
                self.set_due(node, target, self.now)
            elif self.leases.get(target) == (until, node.number):
                del self.leases[target]

        self.back(granted)

    def held(self, node: Node, target: int, left: float, alone_at: float) -> None:
        if node.targets[target].is_pending:
            again = rules.claim_again_at(self.now, left, alone_at, self.chance.random())
            node.targets[target].shared.wait_until = again
            self.set_due(node, target, again)

    def read(self, node: Node, target: int) -> None:
        self.count("read", self.sizes["entry"] + 10)
        if self.entries[target].version:
            self.hear_later(node, target)

    def hear_later(self, node: Node, target: int) -> None:
        entry = self.entries[target]
        seen = entry.version, entry.content, entry.resolved_at
        self.back(lambda: self.hear(node, target, *seen))

    def hear(self, node: Node, target: int, version: int, content: int, resolved_at: float) -> None:
        local = node.targets[target]
        own = (local.resolved_at, frozenset({bytes([local.content % 256])})) if local.content >= 0 else None
        judged = rules.judge(local.shared, version, resolved_at, frozenset({bytes([content % 256])}), own)
        if judged is EntryJudgement.TAKE:
            self.settle(node, target, content, resolved_at)
            local.is_unpublished = False
        elif judged is EntryJudgement.PUBLISH:
            local.is_unpublished = True
            self.publish_later(node, target)

    def settle(self, node: Node, target: int, content: int, resolved_at: float) -> None:
        local = node.targets[target]
        if local.content >= 0:
            self.stale_s = max(self.stale_s, self.now - local.resolved_at - self.ttl_s)
        if content != local.content and (target, content) in self.published_at:
            self.learned[target, content].append(self.now)
        local.content, local.resolved_at, local.is_pending = content, resolved_at, False
        local.shared.settle()
        self.set_due(node, target, refresh_at(resolved_at, self.ttl_s, self.chance.random()))

    def resolve(self, node: Node, target: int) -> None:
        self.resolved[int(self.now)] += 1
        local, content = node.targets[target], self.world[target]
        local.due_event = 0

        def resolved() -> None:
            self.settle(node, target, content, self.now)
            local.is_unpublished = True
            if node.is_joined:
                self.send(node, lambda: self.publish(node, target))

        self.at(self.now + self.chance.uniform(*RESOLVE_S), resolved)

    def publish(self, node: Node, target: int) -> None:
        local, entry = node.targets[target], self.entries[target]
        version = local.shared.next_version(self.now)
        if entry.version >= version:
            self.count("publish", self.sizes["entry"] + 20)
            self.hear_later(node, target)
            return
        self.count("publish", 20)
        changed = local.content != entry.content
        self.entries[target] = Entry(version, local.content, local.resolved_at)
        self.leases.pop(target, None)
        local.shared.version, local.is_unpublished = version, False
        local.shared.content = frozenset({bytes([local.content % 256])})
        if changed:
            self.changes.append(target)
            key = target, local.content
            self.published_at.setdefault(key, self.now)
            self.learned[key].append(self.now)
            for other in self.nodes:
                if other.is_joined:
                    self.commands["message"] += 1
                    self.octets_out += 140
                    if other is not node and self.chance.random() >= self.lost:
                        self.at(
                            self.now + self.chance.uniform(*HINT_S),
                            partial(self.hint, other, target, version),
                        )

    def hint(self, node: Node, target: int, version: int) -> None:
        if node.is_joined and version > node.targets[target].shared.version:
            self.send(node, lambda: self.read(node, target))

    def sync(self, node: Node) -> None:
        self.at(self.now + SYNC_S * self.chance.uniform(0.9, 1.0), lambda: self.sync(node))
        if node.is_joined:
            self.send(node, lambda: self.find_changes(node))

    def find_changes(self, node: Node) -> None:
        for _ in range(BUCKETS):
            self.count("changes", 4)
        missed = set(self.changes[node.known_changes :])
        node.known_changes = len(self.changes)
        self.octets_out += 80 * len(missed)
        for target in missed:
            self.back(partial(self.send, node, partial(self.read, node, target)))

    def lose(self, node: Node) -> None:
        if not node.is_joined:
            return
        node.is_joined = False
        for target, local in enumerate(node.targets):
            local.shared.settle()
            if local.is_pending:
                local.is_pending = False
                self.set_due(node, target, self.now)
        self.at(self.now + self.chance.uniform(0.25, 4.0), lambda: self.join(node))

    def join(self, node: Node) -> None:
        if not self.is_up:
            self.at(self.now + self.chance.uniform(2.0, 4.0), lambda: self.join(node))
            return
        node.is_joined = True
        self.find_changes(node)
        for target, local in enumerate(node.targets):
            if local.is_unpublished:
                self.publish_later(node, target)

    def publish_later(self, node: Node, target: int) -> None:
        is_first = node.ranks[self.slots[target]]
        turn = self.chance.random() * FIRST_S if is_first else FIRST_S + self.chance.random() * OTHERS_S
        self.at(self.now + turn, lambda: self.publish_late(node, target))

    def publish_late(self, node: Node, target: int) -> None:
        local = node.targets[target]
        if not local.is_unpublished or not node.is_joined:
            return
        if node.ranks[self.slots[target]] or frozenset({bytes([local.content % 256])}) != local.shared.content:
            self.send(node, lambda: self.publish(node, target))
        else:
            local.is_unpublished = False

    def run(self) -> None:
        self.prepare()
        while self.events and self.events[0][0] < self.length_s:
            self.now, _, what = heapq.heappop(self.events)
            what()


def share(values: list[float], part: float) -> float:
    return sorted(values)[min(int(part * len(values)), len(values) - 1)] if values else 0.0


def mean(counts: Counter[int], seconds: range, scale: float) -> float:
    return round(sum(counts[second] for second in seconds) / max(len(seconds), 1) * scale, 1)


def report(simulation: Simulation, all_targets: int) -> dict[str, Any]:
    """Return the figures, those of the store scaled up to all targets."""
    scale, length = all_targets / simulation.targets, simulation.length_s
    start, end = simulation.outage
    quiet: list[float] = []
    after: list[float] = []
    for key, times in simulation.learned.items():
        began = simulation.published_at.get(key)
        if began is None or began > length - 30:
            continue
        is_of_outage = start - 30 <= began < end + 30
        (after if is_of_outage else quiet).extend(max(at - max(began, end if is_of_outage else 0), 0) for at in times)
    steady = range(int(simulation.ttl_s) + 10, int(start) - 1)
    outage = range(int(start) + 1, int(end))
    after_it = range(int(end), int(end) + 10)
    per_second, resolved = simulation.per_second, simulation.resolved
    return {
        "nodes": simulation.node_count,
        "targets": all_targets,
        "simulated_targets": simulation.targets,
        "ttl_s": simulation.ttl_s,
        "change_s": simulation.change_s,
        "simulated_s": length,
        "lost_messages": simulation.lost,
        "resolutions_a_second": mean(resolved, steady, scale),
        "resolutions_a_second_in_outage_for_each_node": mean(resolved, outage, scale / simulation.node_count),
        "commands_a_second": {
            kind: round(number / length * (scale if kind != "changes" else 1))
            for kind, number in simulation.commands.items()
        },
        "commands_a_second_steady": mean(per_second, steady, scale),
        "commands_a_second_at_most_after_outage": round(max(per_second[second] for second in after_it) * scale),
        "octets_in_a_second": round(simulation.octets_in / length * scale),
        "octets_out_a_second": round(simulation.octets_out / length * scale),
        "entry_octets": simulation.sizes["entry"],
        "convergence_s": {str(part): round(share(quiet, part), 3) for part in (0.5, 0.99, 1.0)},
        "convergence_after_outage_s": {str(part): round(share(after, part), 3) for part in (0.5, 0.99, 1.0)},
        "longest_stale_s": round(simulation.stale_s, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--targets", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=100)
    parser.add_argument("--ttl", type=float, default=60.0)
    parser.add_argument("--change", type=float, default=600.0)
    parser.add_argument("--outage", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=360.0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    simulation = Simulation(
        node_count=options.nodes,
        targets=options.sample,
        ttl_s=options.ttl,
        change_s=options.change,
        lost=0.01,
        outage=(options.seconds / 2, options.seconds / 2 + options.outage),
        length_s=options.seconds,
        chance=random.Random(12),
    )
    simulation.run()
    found = report(simulation, options.targets)
    print(json.dumps(found, indent=2))
    if options.write:
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        RESULTS.write_text(json.dumps([*known, found], indent=2) + "\n")


if __name__ == "__main__":
    main()
