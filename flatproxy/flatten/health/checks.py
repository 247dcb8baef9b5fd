"""The probes under way: begun when they are due, ended with what they check. How one is made is `probes`' matter."""

from __future__ import annotations

import asyncio
import random
import sys
from functools import partial
from hashlib import blake2b
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field
from twisted.logger import Logger

from flatproxy.counts import BucketTable
from flatproxy.errors import NoWay, ProbeFailed, ProbeTimeout
from flatproxy.flatten.health.room import Room
from flatproxy.flatten.health.states import UNDER_WAY, ProbeSchedule, Watched

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Hashable, Iterable, Iterator, Mapping

    from flatproxy.config.rules import Check

    class ProbeSeats(Protocol):
        """Who shares probes with other nodes."""

        def may_probe(self, key: str) -> bool:
            """Tell whether this node is to probe something."""

        def watch(self, key: str, verdict: Callable[[Mapping[str, Any]], None]) -> None:
            """Have `verdict` told of what two nodes see alike."""

        def see(self, key: str, sight: Mapping[str, Any]) -> bool:
            """Publish what this node sees; tell whether it alone decides."""

        def forget(self, key: str) -> None:
            """Take no more notice of something."""

    Probe = Callable[[Check, bytes], Coroutine[None, None, None]]

log = Logger()

SPREAD_S = 0.05
"""What is due in one tick is begun over so long: a probe costs up to a few milliseconds, and packets wait meanwhile."""

STALL_S = 0.25
"""Where no tick came for so long, nobody's answer was read in time."""

SAID_AGAIN_S = 60.0
"""The log says no more often that probes are late."""

_SHARE = 16
"""The part of the process's descriptors that probes may have."""


def most_under_way() -> int:
    """Return how many probes may be under way at once, a descriptor each."""
    if sys.platform == "win32":
        return UNDER_WAY
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNDER_WAY if soft == resource.RLIM_INFINITY else max(min(UNDER_WAY, soft // _SHARE), 1)


@define(eq=False)
class HealthChecks:
    """Watches addresses for its users. `probe` raises `ProbeFailed` or `NoWay`, and ends by itself within the timeout.

    `clock` returns monotonic seconds; `changed` is told of each address that fell sick or got well, and how
    the last probe failed.
    """

    probe: Probe
    clock: Callable[[], float]
    changed: Callable[[Watched, str], None]
    spread_s: float = SPREAD_S
    latency: BucketTable = field(factory=BucketTable)
    no_ways: int = 0
    """Probes that could not be sent from here."""
    seats: ProbeSeats | None = None
    """With whom probes are shared."""
    _eyes: dict[Watched, Watched] = field(factory=dict)
    """What this node sees by its own probes, where it takes others to say that it is so."""
    _schedule: ProbeSchedule = field(factory=lambda: ProbeSchedule(Room(most_under_way())))
    _running: dict[Watched, asyncio.Task[None]] = field(factory=dict)
    _ticked_at: float = float("inf")
    _stalled_at: float = float("-inf")
    """When a tick came last after a stall."""
    _late_said: int = 0
    _say_late_at: float = float("-inf")
    _is_stopped: bool = False

    def watch(self, user: Hashable, check: Check, addresses: Collection[bytes]) -> None:
        """Have these addresses probed for a user, and no others. At a reload, let the new users in first."""
        self._end_probes(self._schedule.watch(user, check, addresses, self.clock()))

    def forget(self, user: Hashable) -> None:
        """Have nothing probed for a user any more."""
        self._end_probes(self._schedule.forget(user))

    def _end_probes(self, unused: Iterable[Watched]) -> None:
        for watched in unused:
            self._eyes.pop(watched, None)
            if self.seats is not None:
                self.seats.forget(watched_key(watched))
            task = self._running.get(watched)
            if task is not None:
                task.cancel()

    def sick(self, check: Check) -> Collection[bytes]:
        """Return the addresses that are sick under a check."""
        return self._schedule.sick(check)

    @property
    def sick_ones(self) -> Iterator[Watched]:
        """Everything that is watched and sick."""
        return self._schedule.sick_ones

    @property
    def watched(self) -> Collection[Watched]:
        """Everything that is watched."""
        return self._schedule.watched

    @property
    def late(self) -> int:
        """Probes that began more than a tenth of their interval after they were due."""
        return self._schedule.late

    def tick(self, now: float) -> None:
        """Begin the probes that are due."""
        if now - self._ticked_at > STALL_S:
            self._stalled_at = now
        self._ticked_at = now
        self._schedule.room.tick()
        self._begin(now, self.spread_s)
        if self.late != self._late_said and now >= self._say_late_at:
            self._say_late(now)

    def _say_late(self, now: float) -> None:
        log.warn(
            "probes of addresses do not keep their interval: {count} began late, more are due than this process can"
            " make; a longer interval or a cheaper check helps",
            event="probes_late",
            count=self.late - self._late_said,
        )
        self._late_said, self._say_late_at = self.late, now + SAID_AGAIN_S

    def _begin(self, now: float, spread_s: float) -> None:
        for watched in self._schedule.begin(now):
            if self.seats is not None:
                self._share(watched, self.seats)
                if not self.seats.may_probe(watched_key(watched)):
                    self._schedule.cancel(watched)
                    continue
            task = asyncio.get_running_loop().create_task(self._probe(watched, spread_s))
            self._running[watched] = task
            # A task that is cancelled before it began never comes to its own `finally`.
            task.add_done_callback(partial(self._ended, watched))

    async def _probe(self, watched: Watched, spread_s: float) -> None:
        """Make one probe and keep what it says; never raises."""
        pause_s, now = random.random() * spread_s, self.clock()
        await asyncio.sleep(pause_s)
        began, success, reason = self.clock(), None, ""
        self._schedule.room.note(began - now - pause_s)
        try:
            await self.probe(watched.check, watched.address)
            success = True
        except ProbeFailed as error:
            # Where the time went by while nothing was read, it says nothing of the address.
            ours = isinstance(error, ProbeTimeout) and self._stalled_at > began
            success, reason = None if ours else False, str(error)
        except NoWay:
            self.no_ways += 1
        except Exception:  # noqa: BLE001 - one server's oddity must not end the probing
            log.failure("probing {address} went wrong", event="probe_failed", address=_text(watched))
        now = self.clock()
        self.latency.add(now - began)
        if self.seats is not None and success is not None and not self._decides(watched, self.seats, success=success):
            success = None
        del self._running[watched]
        if self._schedule.end(watched, now, success=success):
            self.changed(watched, reason)

    def _share(self, watched: Watched, seats: ProbeSeats) -> None:
        """Take notice of what others see of an address."""

        def verdict(sight: Mapping[str, Any]) -> None:
            is_well = sight.get("well")
            if isinstance(is_well, bool) and self._schedule.judge(watched, is_well=is_well):
                self.changed(watched, "by two nodes of the fleet")

        seats.watch(watched_key(watched), verdict)

    def _decides(self, watched: Watched, seats: ProbeSeats, *, success: bool) -> bool:
        """Say what was seen; tell whether this node alone decides."""
        eyes = self._eyes.get(watched)
        if eyes is None:
            eyes = self._eyes[watched] = Watched(watched.check, watched.address, is_well=watched.is_well)
        eyes.note(success=success)
        if not seats.see(watched_key(watched), {"well": eyes.is_well}):
            return False
        del self._eyes[watched]
        return True

    def _ended(self, watched: Watched, task: asyncio.Task[None]) -> None:
        if self._running.get(watched) is task:  # else it has said how it ended, and the next one may have begun
            del self._running[watched]
            self._schedule.cancel(watched)
        if self._schedule.is_full and not self._is_stopped:
            self._begin(self.clock(), 0.0)  # ends are spread out already

    async def stop(self) -> None:
        """End what is under way, for good."""
        self._is_stopped = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def watched_key(watched: Watched) -> str:
    """Return by what the nodes of a fleet know an address under a check, whatever their settings are called."""
    check = watched.check
    what = f"{check.kind} {check.port} {check.host} {check.path} {check.status} {check.verify}"
    return f"health {_text(watched)} {blake2b(what.encode(), digest_size=6).hexdigest()}"


def _text(watched: Watched) -> str:
    return str(ip_address(watched.address))
