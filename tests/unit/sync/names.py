"""A table with one name that is kept in step, and a zone in memory that stands in for the nameserver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.name
from attrs import define, field

from flatproxy.config.rules import Rule
from flatproxy.config.settings import Endpoint
from flatproxy.sync.primary import PrerequisiteFailed, Primary, ReplyLost, UpdateZone
from flatproxy.sync.signers import GssSigner, SyncFailed
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table
from flatproxy.wire.types import TYPE_A, TYPE_AAAA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.sync.sets import Sets

NAME = b"\7example\3com\0"
LB = b"\2lb\4test\0"
RULE = Rule(target=LB, sync=True, stale_for_s=100, special="allow")
FOUR, OTHER_FOUR, FOREIGN = b"\xcb\0\x71\1", b"\xcb\0\x71\2", b"\xc0\0\2\x63"
SIX = bytes(15) + b"\7"
PLACEHOLDER: Sets = {TYPE_A: frozenset({b"\xc0\0\2\1"}), TYPE_AAAA: frozenset()}


def sets(four: Iterable[bytes] = (), six: Iterable[bytes] = ()) -> Sets:
    return {TYPE_A: frozenset(four), TYPE_AAAA: frozenset(six)}


def table_of(rule: Rule = RULE, now: float = 1000.0) -> Table:
    table = Table()
    table.adopt({NAME: rule}, now, 1.8)
    return table


def settle(table: Table, rdtype: int, *rdatas: bytes, at: float = 1000.0) -> None:
    (target,) = (each for each in table.targets.values() if each.rdtype == rdtype)
    resolution = Resolution(rdatas=rdatas, ttl_s=60, names=("lb.test",), resolved_at=at)
    target.settle(resolution, "addresses", at)


@define(eq=False)
class Memo:
    """What a fake zone has, and what happens to updates of it."""

    has: Sets = field(factory=lambda: dict(PLACEHOLDER))
    updates: list[Sets] = field(factory=list)
    loses: bool = False
    """Updates are done, and their replies lost."""
    refuses: bool = False
    silent: bool = False
    domain: bool = False


class FakePrimary(Primary):
    """A nameserver without a network."""

    def __init__(self, memo: Memo) -> None:
        super().__init__(Endpoint("192.0.2.53", 53), GssSigner())
        object.__setattr__(self, "memo", memo)

    memo: Memo

    async def read(self, name: bytes, rdtypes: Iterable[int]) -> Sets:  # noqa: ARG002 - as Primary's
        if self.memo.silent:
            raise SyncFailed("no reply")
        return {rdtype: self.memo.has[rdtype] for rdtype in rdtypes}

    async def zone(self, name: bytes) -> UpdateZone:  # noqa: ARG002 - as Primary's
        return UpdateZone(dns.name.from_text("example.com"), dns.name.from_text("ns.example.com"))

    async def is_domain(self, name: bytes) -> bool:  # noqa: ARG002 - as Primary's
        return self.memo.domain

    async def update(self, zone: UpdateZone, name: bytes, before: Sets, after: Sets, ttl_s: int) -> None:  # noqa: ARG002 - as Primary's
        if self.memo.refuses:
            raise SyncFailed("REFUSED")
        if before != self.memo.has:
            raise PrerequisiteFailed("NXRRSET")
        self.memo.updates.append(after)
        self.memo.has = dict(after)
        if self.memo.loses:
            raise ReplyLost("no reply")
