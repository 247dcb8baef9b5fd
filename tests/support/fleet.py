"""A fleet: flatproxies with one store, one resolver and one configuration, but for their names."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Self

import dns.message
from attrs import define, field

from .configuration import configuration
from .load import Asked, Load
from .proxy import Proxy
from .waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .internet import FakeInternet
    from .ports import Address

PREFIX = "flatproxy:test"
MOVE_S = 3.0


@define(eq=False)
class Fleet:
    """Its nodes, begun one after the other or all at once, and ended with it."""

    folder: Path
    store: str
    internet: FakeInternet
    upstream: Address
    flatten: Mapping[str, Mapping[str, object]]
    options: Mapping[str, object] = field(factory=dict)
    nodes: list[Proxy] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.secret.write_text("0123456789abcdef0123456789abcdef")
        self.secret.chmod(0o600)

    @property
    def secret(self) -> Path:
        return self.folder / "fleet.secret"

    def config(self, name: str, **more: object) -> str:
        fleet = {"store": self.store, "secret_file": str(self.secret), "prefix": PREFIX, "node": name, "timeout": "1s"}
        return configuration(
            upstream=[self.upstream],
            resolver=[self.internet.address],
            resolver_={"timeout": "1.8s"},
            flatten=self.flatten,
            fleet={**fleet, **self.options, **more},
        )

    def add(self, name: str = "", *, start: bool = True, **more: object) -> Proxy:
        name = name or f"ns{len(self.nodes) + 1}"
        folder = self.folder / name
        folder.mkdir()
        node = Proxy(folder, self.config(name, **more))
        self.nodes.append(node)
        if start:
            node.start()
        return node

    def begin(self, count: int, **more: object) -> Sequence[Proxy]:
        """Start so many at once; return when all have joined."""
        new = [self.add("", start=False, **more) for _ in range(count)]
        for node in new:
            node.launch()
        for node in new:
            node.attach()
            node.wait_event("fleet_joined", deadline_s=20)
        return new

    def addresses(self, name: str = "example.com", rdtype: str = "A") -> list[frozenset[str]]:
        """Return what each node that runs answers for a name."""
        return [addresses(node, name, rdtype) for node in self.nodes if node.alive]

    def all_answer(self, address: str, name: str = "example.com", deadline_s: float = 30) -> None:
        wanted = frozenset({address})
        until(
            lambda: set(self.addresses(name)) == {wanted}, lambda: f"{wanted}, not {self.addresses(name)}", deadline_s
        )

    def stop(self) -> None:
        """End all, also where one of them ends badly."""
        with ExitStack() as stack:
            for node in self.nodes:
                if node.alive:
                    stack.callback(node.stop)


@define(eq=False)
class Watch:
    """Asks every node without a pause, while the target moves every `MOVE_S` seconds; in a `with` block.

    Afterwards `lost` and `longest_s` say how clients fared, `oldest_s` for how long an address had been gone at the
    resolver when it was answered last, and `apart_s` for how long nodes answered differently.
    """

    fleet: Fleet
    name: str = "example.com"
    target: str = "lb.test"
    ttl_s: int = 2
    loads: list[Load] = field(factory=list, init=False)
    _moves: list[tuple[float, str]] = field(factory=list, init=False)
    _over: threading.Event = field(factory=threading.Event, init=False)
    _mover: threading.Thread | None = field(default=None, init=False)

    def move(self) -> str:
        """Let the target have another address, which it never had."""
        address = f"203.0.{113 + len(self._moves) // 250}.{len(self._moves) % 250 + 1}"
        self.fleet.internet.set(self.target, "A", [address], self.ttl_s)
        self._moves.append((monotonic(), address))
        return address

    def _keep_moving(self) -> None:
        while not self._over.wait(MOVE_S):
            self.move()

    def __enter__(self) -> Self:
        self.fleet.all_answer(self.move())
        self.loads = [Load(node.address, [(self.name, "A")]) for node in self.fleet.nodes if node.alive]
        for load in self.loads:
            load.__enter__()
        self._mover = threading.Thread(target=self._keep_moving)
        self._mover.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._mover is not None
        self._mover.join()
        for load in self.loads:
            load.__exit__(None, None, None)

    @property
    def asked(self) -> list[Asked]:
        """What was asked of the nodes that still run."""
        living = {node.address for node in self.fleet.nodes if node.alive}
        return [asked for load in self.loads if load.address in living for asked in load.asked]

    @property
    def lost(self) -> int:
        return sum(asked.reply is None for asked in self.asked)

    @property
    def longest_s(self) -> float:
        return max(asked.took_s for asked in self.asked)

    @property
    def oldest_s(self) -> float:
        gone = {
            address: until for (_, address), (until, _) in zip(self._moves, [*self._moves[1:], (inf, "")], strict=True)
        }
        oldest = 0.0
        for asked in self.asked:
            for rrset in asked.reply.answer if asked.reply is not None else ():
                oldest = max(oldest, *(asked.at - gone[rdata.to_text()] for rdata in rrset))
        return oldest

    def apart_s(self, since: float) -> float:
        """Return for how long, from then on, a node answered an address when another one had answered a later one."""
        order = {address: number for number, (_, address) in enumerate(self._moves)}
        told = [
            (asked, max(order[rdata.to_text()] for rrset in asked.reply.answer for rdata in rrset))
            for asked in self.asked
            if asked.reply is not None and asked.reply.answer
        ]
        first = [inf] * (len(order) + 1)
        """When an address or a later one was answered first, by its number."""
        for asked, number in told:
            first[number] = min(first[number], asked.at + asked.took_s)
        for number in reversed(range(len(order))):
            first[number] = min(first[number], first[number + 1])
        return max(0.0, *(asked.at - first[number + 1] for asked, number in told if asked.at >= since))


def addresses(node: Proxy, name: str = "example.com", rdtype: str = "A") -> frozenset[str]:
    reply = node.ask(dns.message.make_query(name, rdtype))
    return frozenset(rdata.to_text() for rrset in reply.answer for rdata in rrset)
