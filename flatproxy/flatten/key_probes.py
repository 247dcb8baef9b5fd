"""What the nameserver says of the zones with keys of ours: its DNSKEY RRset, its signed SOA, and its placeholders.

Asked in the background; an answer never waits for it. A zone costs two questions as often as its DNSKEY RRset's TTL
says; a flagged name in it one when its signed answer is first asked for, else when its turn comes after the start, and
one in each `ROUND_S`, so many a second at most.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from time import time
from typing import TYPE_CHECKING, Protocol

import dns.rcode
import dns.rdataclass
import dns.rdatatype
from attrs import define, field
from twisted.logger import Logger

from flatproxy.errors import FlatproxyError
from flatproxy.flatten.token_bucket import TokenBucket
from flatproxy.flatten.zone_probes import zone_of
from flatproxy.table.changes import KeyChanged, PlaceholderMissed
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import dns.message
    import dns.name

    from flatproxy.config.rules import Rule
    from flatproxy.signing.zone import SignedSoa, ZoneSigning
    from flatproxy.table.table import Table

log = Logger()

NAMES_UNDER_WAY = 8
NEW_NAMES_RATE = 200.0
KNOWN_NAMES_RATE = 50.0
ROUND_S = 300.0
NAMES_IN_A_TICK = 1_000
TELL_S = 1.0
"""Changes are told at most so often: judgements of queries are forgotten with each."""
ROUNDED_S = 2
"""Caches count whole seconds, each after the other: a set may outlive its TTL by this."""
NO_KEYS_S = 60
"""How long it holds that a zone has no DNSKEY at all."""


class DnssecAsker(Protocol):
    """Who answers for the nameserver."""

    async def ask(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, *, dnssec: bool = False
    ) -> dns.message.Message:
        """Return the response; raises `UpstreamTimeout` or `ChainError`."""


def signed_soa(response: dns.message.Message, apex: bytes) -> SignedSoa | None:
    """Return the SOA record in an answer with DO=1, None where it has none or none that is signed."""
    from flatproxy.signing.zone import SignedSoa  # noqa: PLC0415 - only where a zone has keys

    name = names.to_name(apex)
    soa = response.get_rrset(response.answer, name, dns.rdataclass.IN, dns.rdatatype.SOA)
    rrsigs = response.get_rrset(response.answer, name, dns.rdataclass.IN, dns.rdatatype.RRSIG, dns.rdatatype.SOA)
    if not soa or not rrsigs:
        return None
    return SignedSoa(
        rdata=soa[0].to_wire() or b"",
        rrsigs=tuple(rrsig.to_wire() or b"" for rrsig in rrsigs),
        ttl_s=min(soa.ttl, soa[0].minimum),
        until=float(min(rrsig.expiration for rrsig in rrsigs)),
    )


def _first_of(names_asked_for: dict[bytes, None]) -> bytes:
    name = next(iter(names_asked_for))
    del names_asked_for[name]
    return name


@define(eq=False)
class KeyProbes:
    """Asks for the zones in the table's `zones.signings`, and tells these. `wall` returns Unix time."""

    upstream: DnssecAsker
    table: Table
    wall: Callable[[], float] = time
    keep: Callable[[ZoneSigning], None] = lambda _signing: None
    """Called after a look at a zone's keys: their states survive a restart."""
    _rules: Mapping[bytes, Rule] = field(factory=dict)
    _left: Iterator[bytes] = field(factory=lambda: iter(()))
    """Flagged names that were not looked at in this round."""
    _queue: deque[bytes] = field(factory=deque)
    _first_round: bool = True
    _round_due: float = float("-inf")
    _changed: bool = False
    _tell_at: float = float("-inf")
    _sets: dict[frozenset[int], frozenset[int]] = field(factory=dict)
    """The sets of types that were found: most names have the same."""
    _new: TokenBucket = field(factory=lambda: TokenBucket(NEW_NAMES_RATE))
    _known: TokenBucket = field(factory=lambda: TokenBucket(KNOWN_NAMES_RATE))
    _zones_under_way: set[bytes] = field(factory=set)
    _tasks: set[asyncio.Task[None]] = field(factory=set)

    def cover(self, rules: Mapping[bytes, Rule]) -> None:
        """Ask about these names, as far as they are in a zone with keys of ours, and about all zones again."""
        self._rules = rules
        for signing in self.table.zones.signings.values():
            signing.there = {name: there for name, there in signing.there.items() if name in rules}
            signing.asked_for.clear()
            signing.missing = {name: missing for name, missing in signing.missing.items() if name in rules}
        self._queue.clear()
        self._left, self._first_round, self._round_due = iter(rules), True, float("-inf")

    def tick(self, now: float) -> None:
        """Begin what is due. `now` is in monotonic seconds."""
        signings = self.table.zones.signings
        if not signings:
            return
        if self._changed and now >= self._tell_at:
            self._changed, self._tell_at = False, now + TELL_S
            self.table.zones.version += 1
        wall = self.wall()
        for zone, signing in signings.items():
            if zone not in self._zones_under_way and wall >= signing.keys.ask_at:
                self._zones_under_way.add(zone)
                self._begin(self._look_at_zone(signing))
        self._new.refill(now)
        self._known.refill(now)
        self._fill(now)
        while len(self._tasks) < NAMES_UNDER_WAY + len(self._zones_under_way) and (name := self._next()) is not None:
            self._begin(self._look_at_name(name))

    def _next(self) -> bytes | None:
        """Return the name to ask about next, those that a client has asked for first; None where no more is allowed."""
        for signing in self.table.zones.signings.values():
            if signing.asked_for:
                return _first_of(signing.asked_for) if self._new.take() else None
        bucket = self._new if self._first_round else self._known
        return self._queue.popleft() if self._queue and bucket.take() else None

    def _fill(self, now: float) -> None:
        """Find names to ask about, some at a time."""
        if self._queue:
            return
        part = list(islice(self._left, NAMES_IN_A_TICK))
        self._queue.extend(name for name in part if self.table.zones.signing_of(name) is not None)
        if part:
            return
        if self._round_due == float("-inf"):
            self._round_due = now + ROUND_S
        elif now >= self._round_due:
            self._first_round, self._round_due, self._left = False, now + ROUND_S, iter(self._rules)

    def _begin(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_at_zone(self, signing: ZoneSigning) -> None:
        """Take a zone's DNSKEY RRset and its signed SOA; never raises."""
        apex = names.to_name(signing.zone)
        try:
            response = await self.upstream.ask(apex, dns.rdatatype.DNSKEY)
            if response.rcode() == dns.rcode.NOERROR:
                self._learn(signing, response)
            else:
                signing.keys.miss(self.wall())
            soa = signed_soa(await self.upstream.ask(apex, dns.rdatatype.SOA, dnssec=True), signing.zone)
            if soa is not None:
                signing.soa = soa
        except FlatproxyError:
            signing.keys.miss(self.wall())
        except Exception:  # noqa: BLE001 - one zone's oddity must not end the asking
            signing.keys.miss(self.wall())
            log.failure("asking for the keys of {zone} went wrong", event="keys_failed", zone=str(apex))
        self._zones_under_way.discard(signing.zone)

    def _learn(self, signing: ZoneSigning, response: dns.message.Message) -> None:
        apex = names.to_name(signing.zone)
        rrset = response.get_rrset(response.answer, apex, dns.rdataclass.IN, dns.rdatatype.DNSKEY)
        keys = [key.to_wire() or b"" for key in rrset] if rrset else []
        off, now = signing.keys.off, self.wall()
        ttl_s = rrset.ttl if rrset else NO_KEYS_S
        changes = signing.learn(keys, ttl_s + ROUNDED_S, now)
        signing.keys.ask_at = min(signing.keys.ask_at, now + max(ttl_s, 1))
        for change in changes:
            self._publish(signing, change.key.tag, change.before.state, change.after.state, change.after.left_s(now))
        if not changes and signing.keys.off != off:
            for key in signing.keys.signers[:1] or signing.keys.keys[:1]:
                state = signing.keys.state(key)
                self._publish(signing, key.tag, state.state, state.state, 0.0)
        if changes or signing.keys.off != off:
            self._changed = True
        self.keep(signing)

    def _publish(self, signing: ZoneSigning, tag: int, before: str, after: str, left_s: float) -> None:
        change = KeyChanged(signing.zone, tag, str(before), str(after), left_s, signing.keys.off)
        self.table.feed.publish(change)

    async def _look_at_name(self, name: bytes) -> None:
        """Take what types the nameserver has at a flagged name; never raises."""
        from flatproxy.signing.denial import types_there  # noqa: PLC0415 - only where a zone has keys

        try:
            response = await self.upstream.ask(names.to_name(name), dns.rdatatype.NULL, dnssec=True)
            signing, rule = self.table.zones.signing_of(name), self._rules.get(name)
            if signing is None or rule is None or response.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                return
            zone = zone_of(response)
            there = types_there(response, names.to_name(name)) if zone and zone.apex == signing.zone else None
            self._note(signing, name, rule, there or frozenset())
        except FlatproxyError:
            self._queue.append(name)
        except Exception:  # noqa: BLE001 - one name's oddity must not end the asking
            log.failure("asking what is at {name} went wrong", event="keys_failed", name=names.to_text(name))

    def _note(self, signing: ZoneSigning, name: bytes, rule: Rule, there: frozenset[int]) -> None:
        there = self._sets.setdefault(there, there)
        if signing.there.get(name) != there:
            signing.there[name] = there
            self._changed = True
        missing = tuple(number for number in sorted(map(types.number_of, rule.types)) if number not in there)
        before = signing.missing.pop(name, ())
        if missing:
            signing.missing[name] = missing
        for number in missing:
            if number not in before:
                self.table.feed.publish(PlaceholderMissed(name, number))

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
