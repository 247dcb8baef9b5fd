"""A node's membership: joined to the store while it can be used, alone while not. It carries operations there and back.

    joining ── opened, written to ──► joined ── any error ──► alone ── pause ──► joining

Nothing that a client waits for waits here. One attempt to join is made at a time, with pauses that grow to 4 s.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import define, evolve, field
from twisted.logger import Logger

from flatproxy.flatten.fleet.entry import SKEW_S, VERSION_DIGITS
from flatproxy.flatten.fleet.operations import (
    BUCKETS,
    CHANGES_AT_ONCE,
    Gone,
    Here,
    Nodes,
    ReadChanges,
    Tell,
)
from flatproxy.flatten.fleet.presence import BEAT_S, NodeRecord, read_nodes
from flatproxy.flatten.fleet.queue import OperationQueue, end, nothing_depends
from flatproxy.flatten.fleet.reasons import StoreLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flatproxy.flatten.fleet.entry import Seal
    from flatproxy.flatten.fleet.operations import Operation
    from flatproxy.flatten.fleet.queue import Then, Way
    from flatproxy.flatten.fleet.ranks import Ranks
    from flatproxy.flatten.fleet.reasons import FleetCounts

log = Logger()

SYNC_BEATS: Final = 3
"""Every so many beats what was missed is looked for."""
MAX_PAUSE_S: Final = 4.0
MIN_PAUSE_S: Final = 0.25
TOLD_EVERY_S: Final = 0.5
MAX_REQUEST: Final = 32
NEWEST: Final = 1 << 62
"""A version, or a time, above all others."""
STEADY_S: Final = 10.0
"""Joined for so long, the next pause is the shortest again."""


class Member(Protocol):
    """What a membership is for."""

    def hear_of(self, place: str, version: int) -> None:
        """Note that there may be a newer entry."""

    def rejoin(self, now: float) -> None:
        """Put into the store what it may not have."""

    def go_alone(self, now: float) -> None:
        """Go on without the store."""

    def leave(self) -> Sequence[Operation]:
        """Give up what this node holds; return what has to be done for it."""

    def digests(self) -> str:
        """Return digests of what this node answers."""

    def details(self, parts: Iterable[int]) -> dict[str, Any]:
        """Return what this node answers for some parts."""


@define(eq=False)
class Membership:
    """One node's. `record` returns the node's record as of a time of the store's clock."""

    node: str
    seal: Seal
    ranks: Ranks
    counts: FleetCounts
    make_way: Callable[[], Way]
    rest: Callable[[], None]
    record: Callable[[str, float], NodeRecord] = field(init=False)
    member: Member | None = None
    joined: bool = False
    hold_until: float = float("-inf")
    offset: float = field(factory=lambda: time() - monotonic())
    since_ms: list[int] = field(factory=lambda: [0] * BUCKETS)
    """Up to which time of the store's clock the changes of each bucket are known."""
    instance: str = field(factory=lambda: secrets.token_hex(4))
    nodes: dict[str, NodeRecord] = field(factory=dict)
    _queue: OperationQueue = field(factory=OperationQueue)
    _task: asyncio.Task[None] | None = None
    _was_here: bool = False
    _is_reached: bool = False
    """Whether the store had this node's last word, and was not lost since."""
    _said_twice: bool = False
    _told_at: float = float("-inf")

    def start(self) -> None:
        """Begin to join."""
        self._task = asyncio.get_running_loop().create_task(self._live())

    def ask(self, operation: Operation, then: Then) -> None:
        """Carry an operation to the store; without one, it is dropped."""
        if self.joined:
            self._queue.put(operation, then)

    async def _live(self) -> None:
        """Join, and join again; ends only when it is cancelled."""
        pause_s = MIN_PAUSE_S
        while True:
            began = monotonic()
            way = None
            try:
                way = self.make_way()
                await self._take_part(way)
            except StoreLost as error:
                self._lose(error)
            except Exception as error:  # noqa: BLE001 - whatever a store answers, this node goes on
                log.failure("the fleet's store could not be understood", event="fleet_failed")
                self._lose(StoreLost("garbage", str(error)))
            finally:
                if way is not None:
                    await way.close()
            pause_s = MIN_PAUSE_S if monotonic() - began > STEADY_S else min(pause_s * 2, MAX_PAUSE_S)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))

    async def _take_part(self, way: Way) -> None:
        await way.open()
        await self.beat(way)
        await self._see_nodes(way)
        self._join()
        jobs = (self._queue.carry(way.run, self.rest), self._listen(way), self._beat_on(way))
        tasks = [asyncio.get_running_loop().create_task(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise StoreLost("connection", "the store ended the connection")
        finally:
            await end(*tasks)

    def _join(self) -> None:
        self.joined = True
        # Another server may have another clock, and may lack what was written last.
        self.since_ms = [max(since_ms - int(2000 * SKEW_S), 0) for since_ms in self.since_ms]
        log.info("joined the fleet as {node}, of {count} nodes", event="fleet_joined", node=self.node, count=self.count)
        self._sync()
        if self.member is not None:
            self.member.rejoin(monotonic())

    def _lose(self, error: StoreLost) -> None:
        self.counts.errors[error.reason] += 1
        before, self.joined, self._is_reached = self.joined, False, False
        self.hold_until = float("-inf")
        self._queue.clear()
        if before or self.counts.errors.total() == 1:
            log.warn(
                "the fleet's store is lost, going on alone: {reason}: {error}",
                event="fleet_alone",
                reason=error.reason,
                error=str(error),
            )
        if self.member is not None:
            self.member.go_alone(monotonic())

    @property
    def count(self) -> int:
        """How many nodes are here, this one included; 1 while it is alone."""
        return len(self.ranks.nodes) if self.joined else 1

    async def _listen(self, way: Way) -> None:
        async for hint in way.hints():
            word, _, more = hint.decode(errors="replace").partition(" ")
            if self.member is not None and _is_number(word):
                self.member.hear_of(more, int(word))
                self.rest()
            elif word == "?":
                self._tell(more)

    def _tell(self, asked: str) -> None:
        """Say what targets are, as `flatproxy fleet` asks; not more often than once in a while."""
        request, _, parts = asked.partition(" ")
        now = monotonic()
        if (
            self.member is None
            or now - self._told_at < TOLD_EVERY_S
            or not request.isalnum()
            or len(request) > MAX_REQUEST
        ):
            return
        self._told_at = now
        content = self.member.details(int(part) for part in parts.split(",") if _is_number(part))
        raw = self.seal.seal(f"detail {request} {self.node}", int((now + self.offset) * 1000), content)
        self.ask(Tell(request, self.node, raw), nothing_depends)

    def _digests(self) -> bytes:
        text = self.member.digests() if self.member is not None else ""
        return self.seal.seal(f"answers {self.node}", 0, {"digests": text})

    async def _beat_on(self, way: Way) -> None:
        """Say that this node is there, and look for what was missed, for ever."""
        beats = random.randrange(SYNC_BEATS)
        while True:
            await asyncio.sleep(BEAT_S * random.uniform(0.9, 1.0))
            if await self.beat(way) and self.member is not None:
                log.warn("the fleet's store was emptied; filling it again", event="fleet_store_emptied")
                self.member.rejoin(monotonic())
            beats += 1
            if beats % SYNC_BEATS == 0:
                await self._see_nodes(way)
                self._sync()

    async def beat(self, way: Way) -> bool:
        """Say that this node is there; tell whether the store had forgotten it."""
        now = monotonic()
        [[new, seconds, micros]] = await way.run([Here(self.node, self._record(now), self._digests())])
        store_now = int(seconds) + int(micros) / 1_000_000
        if abs(store_now - time()) > SKEW_S:
            raise StoreLost("skew", f"its clock is {store_now - time():+.0f} s from the one here")
        self.offset = store_now - (now + monotonic()) / 2
        is_emptied = bool(new) and self._was_here
        self._was_here = self._is_reached = True
        return is_emptied

    def _record(self, now: float) -> bytes:
        return self.record(self.instance, now + self.offset).sealed(self.seal)

    async def _see_nodes(self, way: Way) -> None:
        """Read who is there."""
        [raw] = await way.run([Nodes()])
        pairs = raw if isinstance(raw, dict) else dict(zip(raw[::2], raw[1::2], strict=True))
        self.nodes, refused = read_nodes(self.seal, pairs)
        for name, reason in refused.items():
            self.counts.refuse(reason, f"node {name}")
        store_now = monotonic() + self.offset
        self.ranks.see(name for name, record in self.nodes.items() if record.state(store_now) == "here")
        own = self.nodes.get(self.node)
        if own is not None and own.instance != self.instance and not self._said_twice:
            self._said_twice = True
            log.warn("another node of the fleet is called {node}, too", event="fleet_name_twice", node=self.node)
        if gone := tuple(name for name, each in self.nodes.items() if each.state(store_now) == "forgotten"):
            await way.run([Gone(gone)])

    def _sync(self) -> None:
        """Look for changes that nobody told of."""
        for bucket in range(BUCKETS):
            self._look_for_changes(bucket)

    def _look_for_changes(self, bucket: int) -> None:
        def then(result: Any) -> None:  # noqa: ANN401 - whatever a store says
            for place, at_ms in zip(result[::2], result[1::2], strict=True):
                self.since_ms[bucket] = max(self.since_ms[bucket], int(min(float(at_ms), NEWEST)))
                if self.member is not None:
                    self.member.hear_of(place.decode(errors="replace"), NEWEST)
            if len(result) >= 2 * CHANGES_AT_ONCE:
                self._look_for_changes(bucket)

        self.ask(ReadChanges(bucket, self.since_ms[bucket]), then)

    async def stop(self) -> None:
        """Say goodbye, where there is a store, and end."""
        if self._task is None:
            return
        self.joined = False
        await end(self._task)
        self.joined = False  # it may just have joined
        if self._is_reached:
            last = self.make_way()
            try:
                await last.open()
                held = self.member.leave() if self.member is not None else ()
                await last.run([Here(self.node, self._farewell(), self._digests()), *held])
            except StoreLost:
                pass  # the others find out by themselves
            finally:
                await last.close()

    def _farewell(self) -> bytes:
        record = self.record(self.instance, monotonic() + self.offset)
        return evolve(record, is_gone=True).sealed(self.seal)


def _is_number(word: str) -> bool:
    """Tell whether it is one that nodes write: anybody may write to the channel."""
    return word.isdecimal() and len(word) <= VERSION_DIGITS
