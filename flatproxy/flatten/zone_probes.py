"""What the nameserver says of the flagged names' zones: the SOA that denials carry, and whether they are signed.

Asked in the background; an answer never waits for it. What is kept is kept for each zone, not for each name: a name's
zone is the deepest known one that encloses it. So a name whose own question was not asked yet passes for a name of the
zone around it, as most are.

What that costs: a question takes about 0.35 ms of a core. A new name around which no zone is known is asked about at
once, `FIRST_RATE` a second (some 15 % of a core while it lasts: eight minutes for a hundred thousand names that are a
zone each). All else is held to `RATE` a second, less than 2 % of a core, however many names there are: each zone every
`INTERVAL_S`; new names in a known zone, once, in case they are in a zone below it; each name about once in `RECHECK_S`
for the same reason. A hundred thousand names take half an hour so, as many zones a bit more than an hour. A reload asks
for new names only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING

import dns.flags
import dns.name
import dns.rdatatype
from attrs import define, field
from twisted.logger import Logger
from twisted.python.failure import Failure

from flatproxy.errors import FlatproxyError, UpstreamTimeout
from flatproxy.flatten.probe_queue import NewNames
from flatproxy.flatten.token_bucket import Allowance
from flatproxy.wire import names, records
from flatproxy.wire.peek import TYPE_SOA

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    Job = tuple[Callable[[bytes], Awaitable[None]], bytes]

    import dns.message

    from flatproxy.flatten.refresher import Asker

log = Logger()

CONCURRENT = 8
FIRST_RATE = 400.0
"""Questions a second about new names around which no zone is known."""
RATE = 50.0
"""Questions a second about all others."""
INTERVAL_S = 300.0
RECHECK_S = 3600.0
RETRY_S = 5.0
SILENCES = 16
"""Questions in a row without an answer that end the asking for `RETRY_S`."""
SLICE = 500
"""Names looked at without a rest: less than a millisecond."""
LOOK_SHARE = 0.02
"""The share of a core that looking through all names may take."""


@define(frozen=True)
class Zone:
    """One zone: its apex, and its SOA record (owner uncompressed, TTL as RFC 2308 section 5 has it in a denial)."""

    apex: bytes
    soa: bytes


def zone_of(response: dns.message.Message) -> Zone | None:
    """Return the zone that a response to an SOA query names, None where it names none."""
    for rrset in (*response.answer, *response.authority):
        if rrset.rdtype == dns.rdatatype.SOA:
            soa = rrset[0]
            apex = names.to_wire(rrset.name)
            ttl_s = min(rrset.ttl, soa.minimum)
            return Zone(apex, records.record(apex, TYPE_SOA, ttl_s, soa.to_wire() or b""))
    return None


@define(eq=False)
class ZoneFacts:
    """The zones of the flagged names. `signed` holds the flagged names whose zone has a DNSKEY."""

    upstream: Asker
    changed: Callable[[], None]
    """Called when `signed` has changed."""
    names: Mapping[bytes, object] = field(factory=dict)
    signed: set[bytes] = field(factory=set)
    signed_zones: set[bytes] = field(factory=set)
    _soas: dict[bytes, bytes] = field(factory=dict)
    """The SOA record of each known zone, by apex."""
    _new: NewNames = field(factory=NewNames)
    _keyless: deque[bytes] = field(factory=deque)
    """Zones just found, whose DNSKEY is to be asked for."""
    _unknown: dict[bytes, None] = field(factory=dict)
    """Names for which the nameserver named no zone; asked about again in each round."""
    _round: Iterator[Job] | None = None
    _round_due: float = float("inf")
    _asked_again: int = 0
    """How many of the names were asked about again, over several rounds."""
    _first: Allowance = field(factory=lambda: Allowance(FIRST_RATE))
    _again: Allowance = field(factory=lambda: Allowance(RATE))
    _now: float = float("-inf")
    _silences: int = 0
    _quiet_until: float = float("-inf")
    _asking: set[asyncio.Task[None]] = field(factory=set)
    _dirty: set[bytes] | None = None
    """Zones that changed since all names were looked through; None where there is no need to look."""
    _look: asyncio.Task[None] | None = None
    _look_due: float = float("-inf")

    @property
    def soas(self) -> Mapping[bytes, bytes]:
        """The SOA record of each known zone, by apex."""
        return self._soas

    def soa(self, name: bytes) -> bytes | None:
        """Return the SOA record of a flagged name's zone, None where it is not known."""
        apex = self._apex(name)
        return self._soas[apex] if apex is not None else None

    def _apex(self, name: bytes) -> bytes | None:
        """Return the deepest known zone that encloses a name, None where none does."""
        soas, offset = self._soas, 0
        while (suffix := name[offset:]) not in soas:
            if not name[offset]:
                return None
            offset += name[offset] + 1
        return suffix

    def cover(self, flagged: Mapping[bytes, object]) -> None:
        """Ask about these names from now on, about new ones at once. The mapping is kept, and must not change."""
        self._new.cover(self.names, flagged)
        self.names = flagged
        self.signed.intersection_update(flagged)
        self._mark()

    def tick(self, now: float) -> None:
        """Begin what is due, as much as is allowed."""
        if self._round_due == float("inf"):
            self._round_due = now + INTERVAL_S
        self._now = now
        self._new.compare()
        self._first.refill(now)
        self._again.refill(now)
        while len(self._asking) < CONCURRENT and (job := self._next()) is not None:
            task = asyncio.get_running_loop().create_task(self._go_on(job))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        if self._dirty is not None and self._look is None and now >= self._look_due:
            self._look = asyncio.get_running_loop().create_task(self._look_through())
            self._look.add_done_callback(self._looked)

    def _next(self) -> Job | None:
        """Return what to ask next, None where nothing is left or no more is allowed now."""
        if self._now < self._quiet_until:
            return None
        self._new.sort(lambda name: self._apex(name) is not None)
        if (self._keyless or self._new.urgent) and self._first.take():
            if self._keyless:
                return self._ask_keys, self._keyless.popleft()
            return self._ask_name, self._new.urgent.popleft()
        if not self._again.holds:
            return None
        if self._now >= self._round_due and not self._round:
            self._round_due = self._now + INTERVAL_S
            self._round = self._jobs_again()
        job = next(self._round, None) if self._round else None
        if job is None:
            self._round = None
            if not self._new.patient:
                return None
            job = self._ask_name, self._new.patient.popleft()
        self._again.take()
        return job

    def _jobs_again(self) -> Iterator[Job]:
        """Yield a round: every zone, every name without one, and a part of the other names."""
        zones, unknown = list(self._soas), list(self._unknown)
        for apex in zones:
            yield self._ask_apex, apex
            yield self._ask_keys, apex
        for name in unknown:
            yield self._ask_name, name
        if self._new.patient:
            return
        room = int(RATE * INTERVAL_S) - 2 * len(zones) - len(unknown)
        part = int(len(self.names) * INTERVAL_S / RECHECK_S) + 1
        part = max(1, min(room, part))
        start = self._asked_again if self._asked_again < len(self.names) else 0
        self._asked_again = start + part
        for name in list(islice(self.names, start, start + part)):
            if name in self.names and name not in self._soas and name not in self._unknown:
                yield self._ask_name, name

    async def _go_on(self, job: Job | None) -> None:
        """Ask one question after the other; never raises."""
        while job is not None:
            ask, name = job
            try:
                await ask(name)
                self._silences = 0
            except UpstreamTimeout:
                self._silences += 1
                if ask != self._ask_apex:  # that one has its turn in the next round
                    (self._keyless if ask == self._ask_keys else self._new.urgent).append(name)
            except FlatproxyError:
                if ask == self._ask_name:
                    self._unknown[name] = None
            except Exception:  # noqa: BLE001 - one zone's oddity must not hide the others
                log.failure("asking for the zone of {name} went wrong", event="zone_failed", name=names.to_text(name))
            if self._silences >= SILENCES:
                self._silences = 0
                self._quiet_until = self._now + RETRY_S
            job = self._next()

    async def _zone_at(self, name: bytes) -> Zone | None:
        """Return the zone that the nameserver says a name is in; at a CNAME it may name the zone of the other end."""
        zone = zone_of(await self.upstream.ask(names.to_name(name), dns.rdatatype.SOA))
        return zone if zone is not None and zone.apex in names.suffixes(name) else None

    async def _ask_name(self, name: bytes) -> None:
        if name not in self.names:
            self._unknown.pop(name, None)
            return
        zone = await self._zone_at(name)
        if name not in self.names:
            return
        if zone is None:
            self._unknown[name] = None
            return
        self._unknown.pop(name, None)
        self._note(zone)
        known = self._apex(name)
        if known is not None and known != zone.apex:
            await self._ask_apex(known)  # it was a zone between the two, and seems to be none any more
        if self._judge(name):
            self.changed()

    async def _ask_apex(self, apex: bytes) -> None:
        """See whether a zone is still one, and take its SOA record."""
        zone = await self._zone_at(apex)
        if zone is None or apex not in self._soas:
            return
        self._note(zone)
        if zone.apex != apex:
            self._forget(apex)
            self._mark(zone.apex)

    async def _ask_keys(self, apex: bytes) -> None:
        response = await self.upstream.ask(names.to_name(apex), dns.rdatatype.DNSKEY)
        signed = any(rrset.rdtype == dns.rdatatype.DNSKEY for rrset in response.answer)
        if apex not in self._soas or signed == (apex in self.signed_zones):
            return
        self.signed_zones ^= {apex}
        self._mark(apex)
        if signed:
            log.warn(
                "zone {zone} is signed: queries with DO=1 for its flagged names go to the nameserver",
                event="zone_signed",
                zone=names.to_text(apex),
            )

    def _note(self, zone: Zone) -> None:
        """Keep what is known of a zone."""
        before = self._soas.get(zone.apex)
        if before == zone.soa:
            return
        self._soas[zone.apex] = zone.soa
        if before is None:
            self._keyless.append(zone.apex)
        self._mark(zone.apex)

    def _forget(self, apex: bytes) -> None:
        self._soas.pop(apex, None)
        self.signed_zones.discard(apex)

    def _mark(self, *apexes: bytes) -> None:
        """Have all names looked through soon, since something is new of these zones."""
        if self._dirty is None:
            self._dirty = set()
        self._dirty.update(apexes)

    def _judge(self, name: bytes) -> bool:
        """Put a name among the signed ones, or take it out; tell whether that was a change."""
        if (self._apex(name) in self.signed_zones) == (name in self.signed):
            return False
        self.signed ^= {name}
        return True

    async def _look_through(self) -> None:
        """Bring all names in line with what is known of the zones, a slice at a time."""
        dirty, self._dirty, flagged = self._dirty or set(), None, self.names
        known, used, spent_s, left = set(self._soas), set(), 0.0, iter(flagged)
        while part := list(islice(left, SLICE)):
            began = perf_counter()
            changes = 0
            for name in part:
                apex = self._apex(name)
                used.add(apex)
                judged = self._judge(name)
                changes += judged
            if changes:
                self.changed()
            spent_s += perf_counter() - began
            await asyncio.sleep(0)
            if self.names is not flagged:
                self._mark(*dirty)
                return
        if self._dirty is None:
            for apex in known - used:
                self._forget(apex)
        self._look_due = self._now + spent_s / LOOK_SHARE

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._look = None
        if not task.cancelled() and task.exception() is not None:
            log.failure("looking through the names went wrong", Failure(task.exception()), event="zone_failed")  # type: ignore[no-untyped-call]

    async def stop(self) -> None:
        """End what is under way."""
        tasks = [*self._asking, *([self._look] if self._look is not None else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
