"""What the nameserver says of the flagged names' zones: the SOA that denials carry, and whether they are signed.

Asked in the background, again every few minutes; an answer never waits for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.flags
import dns.name
import dns.rdatatype
from attrs import define, field
from twisted.logger import Logger
from twisted.python.failure import Failure

from flatproxy.errors import FlatproxyError, UpstreamTimeout
from flatproxy.wire import names, records
from flatproxy.wire.peek import TYPE_SOA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import dns.message

    from flatproxy.flatten.refresher import Asker

log = Logger()

CONCURRENT = 8
INTERVAL_S = 300.0
RETRY_S = 5.0
SILENCES = 16
"""Questions in a row without an answer that end a round: of a hundred thousand names each would cost a timeout."""


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
    names: Iterable[bytes] = ()
    signed: set[bytes] = field(factory=set)
    signed_zones: set[bytes] = field(factory=set)
    _zones: dict[bytes, Zone] = field(factory=dict)
    _silences: int = 0
    _due: float = float("-inf")
    _task: asyncio.Task[None] | None = None

    def soa(self, name: bytes) -> bytes | None:
        """Return the SOA record of a flagged name's zone, None where it is not known."""
        zone = self._zones.get(name)
        return zone.soa if zone is not None else None

    def cover(self, flagged: Iterable[bytes]) -> None:
        """Ask about these names from now on, at once."""
        self.names = flagged
        self._due = float("-inf")

    def tick(self, now: float) -> None:
        """Begin a round where one is due."""
        if now >= self._due and self._task is None:
            self._due = now + INTERVAL_S
            self._task = asyncio.get_running_loop().create_task(self._round(now))
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and task.exception() is not None:
            log.failure("asking for zones went wrong", Failure(task.exception()), event="zone_failed")  # type: ignore[no-untyped-call]

    async def _round(self, now: float) -> None:
        """Ask about every name; a round in which the nameserver was silent is soon followed by another."""
        left = iter(list(self.names))
        self._silences = 0
        keys: dict[bytes, asyncio.Future[bool]] = {}
        results = await asyncio.gather(*(self._ask_each(left, keys) for _ in range(CONCURRENT)))
        if not all(results):
            self._due = now + RETRY_S
        covered = set(self.names)
        self.signed &= covered
        self._zones = {name: zone for name, zone in self._zones.items() if name in covered}
        self.signed_zones &= {self._zones[name].apex for name in self.signed if name in self._zones}

    async def _ask_each(self, left: Iterable[bytes], keys: dict[bytes, asyncio.Future[bool]]) -> bool:
        complete = True
        for name in left:
            if self._silences >= SILENCES:
                return False
            try:
                await self._ask(name, keys)
                self._silences = 0
            except UpstreamTimeout:
                self._silences += 1
                complete = False
            except FlatproxyError:
                complete = False
            except Exception:  # noqa: BLE001 - one zone's oddity must not hide the others
                log.failure("asking for the zone of {name} went wrong", event="zone_failed", name=names.to_text(name))
        return complete

    async def _ask(self, name: bytes, keys: dict[bytes, asyncio.Future[bool]]) -> None:
        zone = zone_of(await self.upstream.ask(names.to_name(name), dns.rdatatype.SOA))
        if zone is None:
            return
        self._zones[name] = zone
        if zone.apex not in keys:
            keys[zone.apex] = asyncio.ensure_future(self._has_keys(zone.apex))
        if await keys[zone.apex] != (name in self.signed):
            self.signed ^= {name}
            self.changed()
        if name in self.signed and zone.apex not in self.signed_zones:
            self.signed_zones.add(zone.apex)
            log.warn(
                "zone {zone} is signed: queries with DO=1 for its flagged names go to the nameserver",
                event="zone_signed",
                zone=names.to_text(zone.apex),
            )

    async def _has_keys(self, apex: bytes) -> bool:
        response = await self.upstream.ask(names.to_name(apex), dns.rdatatype.DNSKEY)
        return any(rrset.rdtype == dns.rdatatype.DNSKEY for rrset in response.answer)

    async def stop(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
