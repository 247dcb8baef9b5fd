"""Answers to flagged questions, rendered once and handed out until their TTL has moved on.

Replying happens for every flagged query: no parsing, no resolving. What an answer says is the ladder's business.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from flatproxy.config.rules import NAMES_KEPT
from flatproxy.table import signatures
from flatproxy.table.changes import RungChanged
from flatproxy.table.held import held_of
from flatproxy.table.ladder import Held, Resolution, Rung, Step, lifetime_s, rung_at, step
from flatproxy.wire import edns, records, reply, types
from flatproxy.wire.peek import HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flatproxy.config.rules import Group, Rule
    from flatproxy.table.selection import Selection
    from flatproxy.table.signatures import Signed
    from flatproxy.table.target import Target

_OPTIONS = {
    Rung.STALE: edns.error_option(edns.EDE_STALE),
    Rung.HELD: edns.error_option(edns.EDE_STALE, "the target has no address now, these are its last ones"),
}


class Responder(Protocol):
    """What has a reply to a query."""

    def reply(self, query: bytes, end: int, now: float, *, udp: bool) -> bytes | None:
        """Return the reply to a well-formed query, None where there is nothing to say (yet)."""

    def wait(self, now: float, ready: Callable[[], None]) -> bool:
        """Have `ready` called when the answer is known or has failed; False where waiting is no use."""


class Answer(Responder, Protocol):
    """What the table has for a flagged question."""

    def of_client(self, query: bytes, end: int, host: bytes) -> Responder:
        """Return what this well-formed query of a client at `host` gets: this one, unless networks get their own."""

    def rrset(self, now: float) -> tuple[int, Sequence[bytes]] | None:
        """Return TTL and rdatas (none: NODATA) for use inside another reply, None where there is nothing (yet)."""

    def signed(self, name: bytes, now: float) -> Signed | None:
        """Return what makes `rrset` of this flagged name whole with DO=1 in a signed zone, None where nothing can."""

    def soa(self, name: bytes) -> bytes | None:
        """Return the SOA record of the zone of this flagged name, None where it is not known."""


@define(eq=False, repr=False)
class TargetAnswer:
    """What one rule answers for one type with what its target is. `names` counts the flagged names that share it."""

    target: Target
    rule: Rule
    first_name: bytes
    names: int = 0
    others: tuple[bytes, ...] = ()
    """The names after the first one, as many as `Group` keeps."""
    siblings: tuple[TargetAnswer, ...] = ()
    """The rule's answers for the other types."""
    selection: Selection | None = None
    """What says which target is answered, where there are several or their health counts; `target` is that one."""
    said: Rung | None = None
    """The rung that was published last."""
    given_elsewhere: Callable[[], bool] | None = None
    """Tells whether a packet thread has given it since the last call; None where there is no such thread."""
    signed_here: Callable[[TargetAnswer], None] | None = None
    """Told when a signed reply was made; None where nobody else could make the next one."""
    _rung: Rung | None = None
    """The rung that is counted."""
    _turn: int = field(factory=lambda: int(random.random() * 65_536))
    _until: float = float("-inf")
    _source: Resolution | None = None
    _step: Step | None = None
    _records: records.RecordSet | None = None

    def share(self, group: Group) -> None:
        """Stand for the names of one more group with an equal rule."""
        if self.names and len(self.others) < NAMES_KEPT:
            self.others = (*self.others, group.first, *group.others)[:NAMES_KEPT]
        elif not self.names:
            self.others = group.others
        self.names += group.size

    def of_client(self, query: bytes, end: int, host: bytes) -> Responder:  # noqa: ARG002 - as Answer's
        """Return itself: everybody gets the same."""
        return self

    def stand_beside(self, siblings: tuple[TargetAnswer, ...]) -> None:
        """Take note of the rule's answers for the other types."""
        self.siblings = siblings

    @property
    def rung(self) -> Rung | None:
        """The rung at the last look, None before the first."""
        return self._rung

    @property
    def turns(self) -> int:
        """A number that grows between two looks where it was given meanwhile."""
        if self.given_elsewhere is not None:
            self._turn += self.given_elsewhere()
        return self._turn

    def step(self, now: float) -> Step:
        """Return rung, rdatas and TTL at `now`."""
        if self.selection is None:
            return step(self.target.resolution, self.rule, self.target.rdtype, now, self.held_of(self.target))
        chosen, rdtype = self.selection.current(now), self.target.rdtype
        self.target = chosen.targets[rdtype]
        return chosen.steps[rdtype]

    def families_of(self, target: Target) -> Sequence[Target]:
        """Return what has the addresses of other types beside one of its targets: one of them may be withdrawn."""
        if not types.has_addresses(target.rdtype):
            return ()
        if self.selection is not None:
            return self.selection.families_of(target)
        return [each.target for each in self.siblings if types.has_addresses(each.target.rdtype)]

    def held_of(self, target: Target) -> Held | None:
        """Return the addresses of one of its targets that are held, though it has none."""
        if target.history.absent_since is None:
            return None
        others = (other.history for other in self.families_of(target))
        return held_of(target.history, others, self.rule.hold_absent_s)

    def is_cold(self, now: float) -> bool:
        """Tell whether it is still worth waiting for."""
        if self.selection is None:
            return self.target.is_cold(now)
        return self.target.rdtype in self.selection.current(now).cold

    def expire(self) -> None:
        """Render anew at the next query: something else than the target has changed what is answered."""
        self._until = float("-inf")

    def count(self, now: float, *, cold: bool) -> float:
        """Count rung and coldness; return when the rung changes if nothing is resolved meanwhile."""
        if self.selection is None:
            target = self.target
            rung, until = rung_at(target.resolution, self.rule, target.rdtype, now, self.held_of(target))
        else:
            rung, until = self.step(now).rung, self.selection.current(now).look_at
        tally = self.target.table.tally
        if rung is not self._rung:
            tally.move(self, self._rung, rung)
            self._rung = rung
        tally.set_cold(self, cold=cold)
        return until

    def look(self, now: float, *, cold: bool) -> float:
        """Count, and publish a change of rung unless cold; return when to look again."""
        return self.look_itself(now, cold=cold) if self.selection is None else self.selection.look(now)

    def look_itself(self, now: float, *, cold: bool) -> float:
        """Do so for this type alone."""
        until = self.count(now, cold=cold)
        if not cold and self._rung is not None and self._rung is not self.said:
            before, self.said = self.said, self._rung
            self.target.table.feed.publish(RungChanged(self, before, self._rung))
        return until

    def _render(self, now: float) -> None:
        self._step = current = self.step(now)
        self._source = self.target.resolution
        self._until = current.until
        self._records = (
            records.record_set(self.target.rdtype, current.ttl_s, current.rdatas) if current.rdatas else None
        )

    def _says_nothing(self, now: float) -> bool:
        """Tell whether there is no answer to give, having rendered the one there is."""
        if now >= self._until or self._source is not self.target.resolution:
            self._render(now)
        current = self._step
        return current is None or current.rung is Rung.UPSTREAM or (current.rung is Rung.FALLBACK and self.is_cold(now))

    def reply(self, query: bytes, end: int, now: float, *, udp: bool, options: bytes = b"") -> bytes | None:
        """Return the reply to a well-formed query, None where the nameserver is to answer (or the target is cold).

        `options` are EDNS options for this query alone.
        """
        if self._says_nothing(now) or self._step is None:
            return None
        signed = signatures.demanded(self, self.target.table.zones, query, end, now)
        if signed is None:
            return None
        limit = edns.udp_limit(query, end) if udp else edns.MAX_TCP_SIZE
        options += _OPTIONS.get(self._step.rung, b"")
        if self._records is None:
            counts, octets = self._nothing(query[HEADER : end - 4].lower(), signed)
            return reply.answer(query, end, counts, octets, limit=limit, options=options)
        self._turn += 1
        turn = self._turn % len(self._step.rdatas)
        counts, octets = self._records.counts, self._records.rotated(turn)
        if signed.rrsigs:
            counts = (len(self._step.rdatas) + len(signed.rrsigs)).to_bytes(2, "big") + b"\0\0"
            octets += signed.answer_records(self._step.ttl_s)
            if self.signed_here is not None:
                self.signed_here(self)
        return reply.answer(query, end, counts, octets, limit=limit, options=options)

    def _nothing(self, owner: bytes, signed: Signed) -> tuple[bytes, bytes]:
        """Return the counts and records of a reply that says that there is no record of the type."""
        if signed.authority:
            return b"\0\0" + len(signed.authority).to_bytes(2, "big"), signed.authority_records()
        soa = self.soa(owner)
        return (b"\0\0\0\0", b"") if soa is None else (b"\0\0\0\1", soa)

    def signed(self, name: bytes, now: float) -> Signed | None:
        """Return the signatures over this flagged name's records, or its signed denial; None where that cannot be."""
        table, rdtype = self.target.table, self.target.rdtype
        if self._says_nothing(now) or self._step is None or not table.zones.can_sign(name, rdtype):
            return None
        rdatas, ttl_s = self._step.rdatas, self._step.ttl_s
        if not rdatas:
            return signatures.of_denial(table.zones, name, self._absent(now), table.wall())
        if self._step.rung is Rung.FRESH and self._source is not None:
            ttl_s = max(ttl_s, lifetime_s(self._source.ttl_s, self.rule))
        return signatures.of_records(table.zones, name, rdtype, ttl_s, rdatas, table.wall())

    def _absent(self, now: float) -> set[int]:
        """Return the types that the rule's names are flattened for and have none of."""
        absent = {self.target.rdtype}
        for answer in self.siblings:
            rrset = answer.rrset(now)
            if rrset is not None and not rrset[1]:
                absent.add(answer.target.rdtype)
        return absent

    def rrset(self, now: float) -> tuple[int, Sequence[bytes]] | None:
        """Return TTL and rdatas, None where the nameserver is to answer (or the target is cold)."""
        if self._says_nothing(now) or self._step is None:
            return None
        self._turn += 1
        rdatas = self._step.rdatas
        first = self._turn % len(rdatas) if rdatas else 0
        return self._step.ttl_s, rdatas[first:] + rdatas[:first]

    def soa(self, name: bytes) -> bytes | None:
        """Return the SOA record of the zone of this flagged name, None where it is not known."""
        return self.target.table.zones.soa(name)

    def wait(self, now: float, ready: Callable[[], None]) -> bool:
        """Have `ready` called when the cold target is resolved, has failed or took too long."""
        if self.selection is not None:
            return self.selection.wait(self.target.rdtype, now, ready)
        return self.target.wait(now, ready)
