"""Keeps every target resolved: when to ask, at most one resolution of a target at a time, what to do with the result.

`tick` is called many times a second; nothing here sleeps. A target is asked again before its TTL ends, whether or not
anybody asks for it, and after a failure with growing pauses (RFC 9520 section 3.2).

Packets come first: between two pieces of work, each a fraction of a millisecond, those that wait are served. What is
left after `SLICE_S` goes on in a later turn of the loop. So the number of targets does not matter to a query.

Two ways lead to the same result. With a `client`, a resolution is a `TargetWalk` over plain UDP, two pieces of work,
and a task is made only for what needs TCP. Without one, each resolution is a task.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from time import time
from typing import TYPE_CHECKING

import dns.rdatatype
from attrs import define, field

from flatproxy.counts import BucketTable
from flatproxy.errors import FlatproxyError
from flatproxy.flatten.chain import Chain
from flatproxy.flatten.driving import drive, outcome_of, take, take_over, unexpected
from flatproxy.flatten.resolvers.servers import Servers
from flatproxy.flatten.schedule import Schedule
from flatproxy.flatten.timing import resolve_again_at
from flatproxy.flatten.token_bucket import TokenBucket
from flatproxy.flatten.walk import TargetWalk
from flatproxy.table.agenda import NEVER
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.flatten.chain import Asker, Found, Scope
    from flatproxy.flatten.fleet.entry import TargetEntry
    from flatproxy.flatten.fleet.sharing import Sharing
    from flatproxy.flatten.reply_memo import Memo
    from flatproxy.flatten.resolvers.datagrams import DatagramClient
    from flatproxy.table.table import Adopted, Table
    from flatproxy.table.target import Target

TASKS_AT_ONCE = 64
"""Resolutions by tasks under way at once."""
WALKS_AT_ONCE = 4_000
"""Walks under way at once: those of a second, where the first of two servers is silent."""
BEGIN_RATE = 500.0
"""Resolutions by tasks begun in a second: about a third of a core."""
PARSE_RATE = 1_000.0
"""Walks in a second whose replies are parsed: about a third of a core. Of more, those that are new wait."""
WALK_RATE = 5_000.0
"""Walks begun in a second: a hundred thousand targets of two types and a TTL of 60 s need 3,900."""
BEGUN_AT_ONCE = 2
"""Tasks begun in one turn of the loop: their pieces run in a row in the next one."""
SLICE_S = 0.002
SOON_S = 0.05
"""What is due later than that is left to the next tick."""
REST = 3.0
"""After a slice nothing is done for so many times as long as it took: the tasks that it began have their turn."""
WALK_REST = 0.25
"""The same where walks need no such turn; a slice counts as no longer than it should be."""


@define(eq=False, repr=False)
class Refresher:
    """The schedule of the table's targets. `clock` returns monotonic seconds, `wall` Unix time.

    `serve_packets` is called between two pieces of work. With a `client`, whose `wake` is this one's, `resolvers` and
    `upstream` are `Servers`.
    """

    table: Table
    resolvers: Asker | Servers
    upstream: Asker | Servers
    scope: Scope
    clock: Callable[[], float]
    wall: Callable[[], float] = time
    serve_packets: Callable[[], None] = lambda: None
    latency: BucketTable = field(factory=BucketTable)
    client: DatagramClient | None = None
    sharing: Sharing | None = None
    """With whom resolutions are shared."""
    _due: Schedule = field(init=False)
    """When to resolve each target next; it is not there while it is being resolved."""
    _running: dict[Target, asyncio.Task[None]] = field(factory=dict)
    _walks: int = 0
    _cut: deque[TargetWalk] = field(factory=deque)
    """Walks whose question is to be asked over TCP."""
    _memos: dict[Target, Memo] = field(factory=dict)
    _going_on: asyncio.TimerHandle | None = None
    _is_awake: bool = False
    """Whether replies that arrive will be taken without being told."""
    _tasks_left: int = 0
    """How many tasks may still be begun in this slice."""
    _rest_until: float = float("-inf")
    _pace: TokenBucket = field(factory=lambda: TokenBucket(BEGIN_RATE))
    _parse_pace: TokenBucket = field(factory=lambda: TokenBucket(PARSE_RATE))
    _walk_pace: TokenBucket = field(factory=lambda: TokenBucket(WALK_RATE))

    def __attrs_post_init__(self) -> None:
        self._due = Schedule(self.table.wanted)

    def follow(self, adopted: Adopted, now: float) -> None:
        """Resolve new targets as soon as there is room, and those that are gone no more."""
        for target in adopted.gone:
            self._due.drop(target)
            self._memos.pop(target, None)
        for target in adopted.new:
            self._due.set(target, now)

    def due_at(self, target: Target) -> float | None:
        """Return when a target is resolved next, None where that is under way."""
        return self._due.due_at(target)

    def tick(self, now: float) -> None:
        """Begin what is due, and have the table take note of the time; for `SLICE_S` at most."""
        if self.client is not None:
            self.client.expire(now)
        if now >= self._rest_until:
            self._go_on(now)

    def wake(self) -> None:
        """Take replies that have arrived, after the rest."""
        if self._is_awake:
            return
        self._is_awake = True
        if self._going_on is not None:
            self._going_on.cancel()
        self._go_on_in(max(self._rest_until - self.clock(), 0.0))

    def _go_on(self, now: float) -> None:
        """Do a slice of what is due. Do the next one after a rest, or on time where it is due soon."""
        if self._going_on is not None:
            self._going_on.cancel()
            self._going_on = None
        self._is_awake = True
        for bucket in (self._pace, self._parse_pace, self._walk_pace):
            bucket.refill(now)
        began = self.clock()
        self._work(now, began)
        ended = self.clock()
        took_s = ended - began
        rest_s = WALK_REST * min(took_s, SLICE_S) if self.client is not None else REST * took_s
        self._rest_until = ended + rest_s
        self._is_awake = self.client is not None and bool(self.client.arrived)
        wait_s = 0.0 if self._is_awake else min(self.table.soonest, self._soonest) - now
        if wait_s < SOON_S:
            self._go_on_in(max(wait_s, rest_s))

    def _work(self, now: float, began: float) -> None:
        """Do what is due until that is all, or the slice is over."""
        self._tasks_left = BEGUN_AT_ONCE
        # One of each in turn: none of them may hold up another.
        pieces = (self._hear_one, self._begin_one, self._begin_cut_one, self.table.advance)
        while self.clock() - began < SLICE_S:
            done = [piece(now) for piece in pieces]
            if not any(done):
                break
            self.serve_packets()

    def _go_on_in(self, wait_s: float) -> None:
        self._going_on = asyncio.get_running_loop().call_later(wait_s, lambda: self._go_on(self.clock()))

    @property
    def _soonest(self) -> float:
        """When the next resolution may begin that is due."""
        return self._due.soonest(new=self._may_begin_new) if self._may_begin else NEVER

    @property
    def _may_begin_new(self) -> bool:
        return (self._parse_pace if self.client is not None else self._pace).has_token

    @property
    def _may_begin(self) -> bool:
        if self.client is not None:
            return self._walks < WALKS_AT_ONCE and self._walk_pace.has_token
        return len(self._running) < TASKS_AT_ONCE and self._pace.has_token

    def _begin_one(self, now: float) -> bool:
        """Begin a resolution; False where none is due or as many are under way as may be."""
        if not self._may_begin or (self.client is None and not self._tasks_left):
            return False
        target = self._due.next_due(now, new=self._may_begin_new)
        if target is None:
            return False
        later = self.sharing.defer(target, now) if self.sharing is not None else None
        if later is not None:
            self._due.set(target, later, asked=True)
        elif self.client is not None:
            self._begin_walk(target, self.client)
        else:
            self._pace.take()
            self._begin_task(target, self.clock(), None)
        return True

    def _begin_walk(self, target: Target, client: DatagramClient) -> None:
        memo = self._memos.get(target)
        self._walk_pace.take()
        assert isinstance(self.resolvers, Servers)
        assert isinstance(self.upstream, Servers)
        now = self.clock()
        walk = TargetWalk(target, now, memo, self.resolvers, self.upstream, self.scope, client, self.serve_packets)
        self._walks += 1
        self._step(walk, lambda: walk.begin(now))

    def _hear_one(self, now: float) -> bool:
        """Have a walk take what has arrived for it; False where nothing has."""
        if self.client is None or not self.client.arrived:
            return False
        query, result = self.client.arrived.popleft()
        walk: TargetWalk = query.asker
        self._step(walk, lambda: walk.hear(query, result, now))
        return True

    def _step(self, walk: TargetWalk, step: Callable[[], Found | None]) -> None:
        """Have a walk do a step, and put down the result where it was the last one."""
        try:
            found = step()
        except FlatproxyError as error:
            self._end(walk)
            self._put_down(walk.target, walk.began, None, error)
        except Exception:  # noqa: BLE001 - a resolver's answer must not end the refreshing
            self._end(walk)
            self._put_down(walk.target, walk.began, None, unexpected(walk.target))
        else:
            if found is not None:
                self._end(walk)
                self._put_down(walk.target, walk.began, found, None)
            elif walk.is_cut:
                self._end(walk)
                self._cut.append(walk)

    def _end(self, walk: TargetWalk) -> None:
        """Let go of a walk, and keep what it has learned of the reply."""
        self._walks -= 1
        if walk.has_parsed:
            self._parse_pace.owe()
        if walk.memo is None:
            self._memos.pop(walk.target, None)
        elif self.table.holds(walk.target):
            self._memos[walk.target] = walk.memo

    def _begin_cut_one(self, now: float) -> bool:  # noqa: ARG002 - as the other pieces
        """Begin a task that goes on with a walk whose question needs TCP; False where there is none, or no room."""
        if not self._cut or not self._tasks_left or len(self._running) >= TASKS_AT_ONCE:
            return False
        walk = self._cut.popleft()
        self._begin_task(walk.target, walk.began, walk.chain)
        return True

    def _begin_task(self, target: Target, began: float, chain: Chain | None) -> None:
        self._tasks_left -= 1
        self._running[target] = asyncio.get_running_loop().create_task(self._resolve(target, began, chain))

    async def _resolve(self, target: Target, began: float, chain: Chain | None) -> None:
        """Resolve one target, from its name or from where a chain is, and put down the result; never raises."""
        found: Found | None = None
        error: FlatproxyError | None = None
        try:
            if chain is None:
                rdtype = dns.rdatatype.RdataType(target.rdtype)
                chain = Chain.to(names.to_name(target.name), rdtype, self.scope)
                self.serve_packets()
            found = await drive(chain, self.resolvers, self.upstream, self.serve_packets)
        except FlatproxyError as failure:
            error = failure
        except Exception:  # noqa: BLE001 - as in `_step`
            error = unexpected(target)
        del self._running[target]
        self._put_down(target, began, found, error)
        self.serve_packets()

    def _put_down(self, target: Target, began: float, found: Found | None, error: FlatproxyError | None) -> None:
        """Put down what became of a resolution: records, or why there are none."""
        now = self.clock()
        self.latency.add(now - began)
        if not self.table.holds(target):
            return
        if found is None:
            target.fail(outcome_of(error), str(error), now)
        else:
            take(target, found, now, self.wall())
            self._ask_families(target, now)
        if self.sharing is not None:
            self.sharing.resolved(target, success=not target.failures)
        asked = target.was_asked()
        self._due.set(target, resolve_again_at(target, now, random.random(), asked=asked), asked=asked)

    def hurry(self, target: Target, due: float) -> None:
        """Have a target due at another time, unless it is being resolved."""
        self._due.hasten(target, due)
        self.wake()

    def take(self, target: Target, entry: TargetEntry, offset: float) -> bool:
        """Settle a target with what another node has found; False where the guards let nothing through.

        The entry's clock is so far ahead of the monotonic one.
        """
        if not take_over(target, entry, offset, self.wall()):
            return False
        resolved_at = entry.resolved_at - offset
        target.look(self.clock())
        self._ask_families(target, resolved_at)
        self._due.hasten(target, resolve_again_at(target, resolved_at, random.random(), asked=target.was_asked()))
        return True

    def _ask_families(self, target: Target, now: float) -> None:
        """Where a target has just lost its addresses: did the other families go as well? Until then it is not clear."""
        if target.history.absent_since == now:
            for other in target.living_families:
                self._due.hasten(other, now)

    async def stop(self) -> None:
        """End what is under way."""
        if self._going_on is not None:
            self._going_on.cancel()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.client is not None:
            self.client.close()
