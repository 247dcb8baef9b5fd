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
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.name
import dns.rdatatype
from attrs import define, field
from twisted.logger import Logger

from flatproxy.errors import FlatproxyError, UpstreamTimeout
from flatproxy.flatten.controllers import controllers_of
from flatproxy.flatten.probe_queue import NAMES_AT_ONCE, ProbeQueue
from flatproxy.flatten.token_bucket import TokenBucket
from flatproxy.wire import names, records
from flatproxy.wire.types import TYPE_SOA

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    Job = tuple[Callable[[bytes], Awaitable[None]], bytes]

    import dns.message

    from flatproxy.flatten.chain import Asker
    from flatproxy.flatten.fleet.seats import Seats
    from flatproxy.table.zones import Zones

log = Logger()

PROBES_AT_ONCE = 8
FIRST_RATE = 400.0
"""Questions a second about new names around which no zone is known."""
RATE = 50.0
"""Questions a second about all others."""
INTERVAL_S = 300.0
RECHECK_S = 3600.0
RETRY_S = 5.0
MAX_SOA = 1_024
LOOKED_AT = 2_000
"""Names looked at in one tick."""
SILENCES = 16
"""Questions in a row without an answer that end the asking for `RETRY_S`."""


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
class ZoneProbes:
    """Asks for the zones of the flagged names, and keeps the answers in the table's `zones`."""

    upstream: Asker
    zones: Zones
    rest: Callable[[], None] = lambda: None
    """Called between two pieces of work."""
    names: Mapping[bytes, object] = field(factory=dict)
    seats: Seats | None = None
    """With whom questions that are asked again and again are shared."""
    hides: Callable[[bytes], bool] = lambda _name: False
    """Tells whether a name is flagged and not passed to all clients inside."""
    _queue: ProbeQueue = field(factory=ProbeQueue)
    _keyless: deque[bytes] = field(factory=deque)
    """Zones just found, whose DNSKEY is to be asked for."""
    _unknown: dict[bytes, None] = field(factory=dict)
    """Names for which the nameserver named no zone; asked about again in each round."""
    _round: Iterator[Job] | None = None
    _round_due: float = float("inf")
    _asked_again: int = 0
    """How many of the names were asked about again, over several rounds."""
    _first: TokenBucket = field(factory=lambda: TokenBucket(FIRST_RATE))
    _again: TokenBucket = field(factory=lambda: TokenBucket(RATE))
    _now: float = float("-inf")
    _silences: int = 0
    _quiet_until: float = float("-inf")
    _asking: set[asyncio.Task[None]] = field(factory=set)

    def cover(self, flagged: Mapping[bytes, object], added: Iterable[bytes] | None = None) -> None:
        """Ask about these names from now on, at once about those that were `added`: all, where None is said.

        The mapping is kept, and must not change.
        """
        self._queue.cover(flagged if added is None else added, flagged, set(self.zones.apexes))
        self.names = flagged

    def tick(self, now: float) -> None:
        """Begin what is due, as much as is allowed."""
        if self._round_due == float("inf"):
            self._round_due = now + INTERVAL_S
        self._now = now
        for _ in range(LOOKED_AT // NAMES_AT_ONCE):
            if self._queue.has_looked:
                break
            for apex in self._queue.look(self.zones.apex):
                self._forget(apex)
            self.rest()
        self._first.refill(now)
        self._again.refill(now)
        while len(self._asking) < PROBES_AT_ONCE and (job := self._next()) is not None:
            task = asyncio.get_running_loop().create_task(self._go_on(job))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    def _next(self) -> Job | None:
        """Return what to ask next, None where nothing is left or no more is allowed now."""
        if self._now < self._quiet_until:
            return None
        self._queue.sort(lambda name: self.zones.apex(name) is not None)
        if (self._keyless or self._queue.urgent) and self._first.take():
            if self._keyless:
                return self._ask_keys, self._keyless.popleft()
            return self._ask_name, self._queue.urgent.popleft()
        if not self._again.has_token:
            return None
        if self._now >= self._round_due and not self._round:
            self._round_due = self._now + INTERVAL_S
            self._round = self._jobs_again()
        job = next(self._round, None) if self._round else None
        if job is None:
            self._round = None
            if not self._queue.patient:
                return None
            job = self._ask_name, self._queue.patient.popleft()
        self._again.take()
        return job

    def _jobs_again(self) -> Iterator[Job]:
        """Yield a round: every zone, every name without one, and a part of the other names."""
        zones, unknown = list(self.zones.apexes), list(self._unknown)
        for apex in zones:
            if self._is_mine(apex):
                yield self._ask_apex, apex
                yield self._ask_keys, apex
        for name in unknown:
            yield self._ask_name, name
        if self._queue.patient:
            return
        room = int(RATE * INTERVAL_S) - 3 * len(zones) - len(unknown)
        part = int(len(self.names) * INTERVAL_S / RECHECK_S) + 1
        part = max(1, min(room, part))
        start = self._asked_again if self._asked_again < len(self.names) else 0
        self._asked_again = start + part
        for name in list(islice(self.names, start, start + part)):
            if name in self.names and name not in self.zones.apexes and name not in self._unknown:
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
                    (self._keyless if ask == self._ask_keys else self._queue.urgent).append(name)
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
        return zone if zone is not None and names.enclosing(name, (zone.apex,)) else None

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
        self._note(zone if zone.apex != name else Zone(name, zone.soa))  # one object for both
        known = self.zones.apex(name)
        if known is not None and known != zone.apex:
            await self._ask_apex(known)  # it was a zone between the two, and seems to be none any more

    async def _ask_apex(self, apex: bytes) -> None:
        """See whether a zone is still one, and take its SOA record."""
        zone = await self._zone_at(apex)
        if zone is None or apex not in self.zones.apexes:
            return
        self._note(zone)
        if zone.apex != apex:
            self._forget(apex)

    def _forget(self, apex: bytes) -> None:
        """Forget a zone that is none, or in which no name is flagged any more."""
        self.zones.gone(apex)
        if self.seats is not None:
            self.seats.forget(_seat_of(apex))

    async def _ask_keys(self, apex: bytes) -> None:
        response = await self.upstream.ask(names.to_name(apex), dns.rdatatype.DNSKEY)
        signed = any(rrset.rdtype == dns.rdatatype.DNSKEY for rrset in response.answer)
        self.zones.judged(apex, signed=signed)
        self._say(apex, signed=signed)
        if self.hides(apex):
            await self._ask_controllers(apex)

    async def _ask_controllers(self, apex: bytes) -> None:
        """See whether a flagged apex hides domain controllers from clients inside."""
        there = await controllers_of(apex, self.upstream)
        if there and apex not in self.zones.controllers:
            log.warn(
                "{name} is an Active Directory domain: clients inside need a view that passes, see flatproxy check",
                event="controllers_hidden",
                name=names.to_text(apex),
            )
        if there:
            self.zones.controllers[apex] = there
        else:
            self.zones.controllers.pop(apex, None)

    def _is_mine(self, apex: bytes) -> bool:
        """Tell whether this node is to ask for a zone again; take notice of what others find where it is not."""
        if self.seats is None:
            return True
        key = _seat_of(apex)

        def verdict(sight: Mapping[str, Any]) -> None:
            try:
                soa = bytes.fromhex(sight["soa"])
            except (KeyError, TypeError, ValueError):
                return
            if apex in self.zones.apexes and soa.startswith(apex) and len(soa) < MAX_SOA:
                self.zones.found(apex, soa)
                self.zones.judged(apex, signed=sight.get("signed") is True)

        self.seats.watch(key, verdict)
        return self.seats.may_probe(key)

    def _say(self, apex: bytes, *, signed: bool) -> None:
        """Say what this node has found a zone to be."""
        soa = self.zones.soa(apex) if apex in self.zones.apexes else None
        if self.seats is not None and soa is not None:
            self.seats.see(_seat_of(apex), {"soa": soa.hex(), "signed": signed})

    def _note(self, zone: Zone) -> None:
        """Keep what is known of a zone."""
        if self.zones.found(zone.apex, zone.soa):
            self._keyless.append(zone.apex)

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)


def _seat_of(apex: bytes) -> str:
    return f"zone {names.to_text(apex)}"
