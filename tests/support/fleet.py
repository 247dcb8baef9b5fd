"""A fleet: flatproxies with one store, one resolver and one configuration, but for their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.message
from attrs import define, field

from .configuration import configuration
from .proxy import Proxy
from .waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .internet import FakeInternet
    from .ports import Address

PREFIX = "flatproxy:test"


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
        fleet = {"store": self.store, "secret_file": str(self.secret), "prefix": PREFIX, "node": name}
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

    def begin(self, count: int) -> Sequence[Proxy]:
        """Start so many at once; return when all have joined."""
        new = [self.add(start=False) for _ in range(count)]
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
        for node in self.nodes:
            if node.alive:
                node.stop()


def addresses(node: Proxy, name: str = "example.com", rdtype: str = "A") -> frozenset[str]:
    reply = node.ask(dns.message.make_query(name, rdtype))
    return frozenset(rdata.to_text() for rrset in reply.answer for rdata in rrset)
