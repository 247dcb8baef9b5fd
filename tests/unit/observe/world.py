"""A service that runs in nobody's process: a real table, servers of plain values, a clock that is moved by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from flatproxy.config.rules import Rule
from flatproxy.config.settings import Access, Endpoint, Listen, Settings, Upstream
from flatproxy.counts import Replies
from flatproxy.observe.running import Running
from flatproxy.observe.watch import Watch
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table
from flatproxy.wire.types import TYPE_A, TYPE_AAAA

from .fakes import FakeReload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.table.target import Target

NOON = 1_700_049_600.0  # 2023-11-15T12:00:00Z
ONE, TWO, SIX = b"\xc6\x33\x64\1", b"\xc6\x33\x64\2", b"\x20\1\x0d\xb8" + bytes(11) + b"\6"


def wire(text: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in text.split(".")) + b"\0"


@define(kw_only=True)
class FakeCounted:
    endpoint: str = "192.0.2.53:53"
    state: str = "up"
    has_answered: bool = True
    sent: int = 0
    timeouts: int = 0
    replies: Replies = field(factory=Replies)


@define
class FakeAddress:
    name: bytes
    address: bytes
    is_well: bool
    flaps: int = 0
    target: bytes = b"\2lb\7example\3com\0"


@define
class FakeExplanation:
    said: tuple[str, ...] = ("why <b>it</b> is so",)

    def lines(self) -> Iterable[str]:
        return self.said

    def as_json(self) -> dict[str, Any]:
        return {"name": "example.com"}


@define(eq=False)
class World:
    """`names` are flagged, each with a target `lb.NAME` of its own."""

    names: tuple[str, ...] = ("example.com",)
    types: tuple[str, ...] = ("A", "AAAA")
    fallback: tuple[Any, ...] = ()
    pin: tuple[Any, ...] = ()
    now: float = 1000.0
    listening: bool = True
    servers: list[FakeCounted] = field(factory=lambda: [FakeCounted()])
    resolvers: list[FakeCounted] = field(factory=lambda: [FakeCounted(endpoint="192.0.2.1:53")])
    reload: FakeReload = field(factory=FakeReload)
    state_fails: bool = False
    checked: list[FakeAddress] = field(factory=list)
    failing_open: list[tuple[bytes, bool]] = field(factory=list)
    conflicts: list[str] = field(factory=list)
    explained: list[bytes] = field(factory=list)
    table: Table = field(factory=Table)
    settings: Settings = field(init=False)
    watch: Watch = field(init=False)

    def __attrs_post_init__(self) -> None:
        rules = {
            wire(name): Rule(
                target=wire(f"lb.{name}"),
                types=frozenset(self.types),
                stale_for_s=100,
                fallback=self.fallback,
                pin=self.pin,
            )
            for name in self.names
        }
        self.settings = Settings(
            listen=Listen(dns=(Endpoint("127.0.0.1", 53),)),
            upstream=Upstream(servers=()),
            access=Access(zones=(b"\0",)),
            flatten=rules,
        )
        self.table.adopt(self.settings.flatten, self.now, 1.0)
        self.watch = Watch(self.running())
        self.watch.begin()

    def running(self) -> Running:
        return Running(
            table=self.table,
            settings=lambda: self.settings,
            listening=lambda: self.listening,
            servers=lambda: self.servers,
            resolvers=lambda: self.resolvers,
            reload=lambda: self.reload,
            state_fails=lambda: self.state_fails,
            next_resolution=lambda _target: self.now + 20,
            sync_state=lambda _name: None,
            checked_addresses=lambda: self.checked,
            failing_open=lambda: self.failing_open,
            sync_conflicts=lambda: self.conflicts,
            packet_path=lambda: "C",
            explain=self.explain,
            now=lambda: self.now,
            wall=lambda: NOON + self.now - 1000,
            started=NOON,
        )

    async def explain(self, name: bytes) -> FakeExplanation:
        self.explained.append(name)
        return FakeExplanation()

    def target(self, name: str = "example.com", rdtype: int = TYPE_A) -> Target:
        return self.table.targets[wire(f"lb.{name}"), rdtype, Rule(target=b"").guarding]

    def settle(self, name: str = "example.com", *rdatas: bytes, rdtype: int = TYPE_A, ttl_s: int = 60) -> None:
        known = Resolution(rdatas=rdatas, ttl_s=ttl_s, names=(f"lb.{name}", "end.test"), resolved_at=self.now)
        self.target(name, rdtype).settle(known, "addresses", NOON + self.now - 1000)

    def settle_all(self) -> None:
        for name in self.names:
            self.settle(name, ONE)
            if "AAAA" in self.types:
                self.settle(name, SIX, rdtype=TYPE_AAAA)

    def pass_to(self, now: float) -> None:
        self.now = now
        while self.table.advance(now):
            pass
        self.watch.tick(now)

    def said(self) -> list[str]:
        return [trouble.what for trouble in self.watch.troubles.look()]
