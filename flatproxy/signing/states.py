"""When the keys of a zone sign: a pure machine that is told of the DNSKEY RRsets which the nameserver answers.

    absent ──there──► waiting ──there for the TTL──► active
       ▲                 │                             │
       └────not there────┴──────────not there──────────┘

A nameserver that is silent changes nothing. `now` is wall-clock seconds, since the states survive a restart.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import dns.dnssec
from attrs import define, evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from flatproxy.signing.keys import Key

MIN_LOOK_S = 1.0
MAX_LOOK_S = 300.0
LOOK_AGAIN_S = 5.0
"""After a question without an answer."""

_ZONE_FLAG = 0x01
"""In the upper octet of the flags."""


class KeyPhase(StrEnum):
    """What a key of ours is in the DNSKEY RRset."""

    ABSENT = "absent"
    WAITING = "waiting"
    ACTIVE = "active"


@frozen(kw_only=True)
class KeyState:
    """A key's state and since when, 0 where nobody has looked yet.

    `held_until` is when caches have forgotten the DNSKEY RRsets without the key, `ttl_s` the TTL at the last look.
    """

    state: KeyPhase = KeyPhase.ABSENT
    since: float = 0.0
    held_until: float = 0.0
    ttl_s: int = 0

    def next(self, *, there: bool, ttl_s: int, now: float) -> KeyState:
        """Return the state after a look at the DNSKEY RRset, in which the key was or was not."""
        since, held_until = self.since, self.held_until
        if now < since:  # the clock was set back
            since, held_until = now, now + self.ttl_s
        if self.state is KeyPhase.ABSENT:
            # Until just now the nameserver may have answered what it answered at the last look.
            held_until = max(held_until, now + self.ttl_s)
        if not there:
            since = since if self.state is KeyPhase.ABSENT and since else now
            return KeyState(since=since, held_until=held_until, ttl_s=ttl_s)
        if self.state is KeyPhase.ACTIVE:
            return evolve(self, since=since)
        if self.state is KeyPhase.ABSENT:
            since = now
        held_until = max(held_until, since + ttl_s)
        if self.state is KeyPhase.WAITING and now >= held_until:
            return KeyState(state=KeyPhase.ACTIVE, since=now, held_until=held_until, ttl_s=ttl_s)
        return KeyState(state=KeyPhase.WAITING, since=since, held_until=held_until, ttl_s=ttl_s)

    def left_s(self, now: float) -> float:
        """Return how long a waiting key has still to wait, 0 for any other."""
        return max(self.held_until - now, 0.0) if self.state is KeyPhase.WAITING else 0.0


@frozen
class KeyChange:
    """One key's change of state, to be told."""

    key: Key
    before: KeyState
    after: KeyState


@frozen(kw_only=True)
class KeyRow:
    """What is kept of one key over a restart; `off` is why its zone is not signed, empty where it may be."""

    zone: bytes
    algorithm: int
    tag: int
    state: str
    since: float
    held_until: float
    ttl_s: int
    off: str = ""


@define
class ZoneKeys:
    """Our keys of one zone, in the order of preference, and their states."""

    zone: bytes
    keys: tuple[Key, ...]
    ask_at: float = float("-inf")
    """When to ask for the DNSKEY RRset again."""
    off: str = ""
    """Why no key signs although one is active, empty where nothing is in the way."""
    _states: dict[tuple[int, int], KeyState] = field(factory=dict)

    def state(self, key: Key) -> KeyState:
        """Return the state of one of the keys."""
        return self._states.get((key.algorithm, key.tag)) or KeyState()

    @property
    def signers(self) -> tuple[Key, ...]:
        """The keys that sign now: the first active one of each algorithm; none where signing is off."""
        if self.off:
            return ()
        first: dict[int, Key] = {}
        for key in self._active():
            first.setdefault(key.algorithm, key)
        return tuple(first.values())

    def _active(self) -> list[Key]:
        return [key for key in self.keys if self.state(key).state is KeyPhase.ACTIVE]

    def learn(self, dnskeys: Collection[bytes], ttl_s: int, now: float) -> list[KeyChange]:
        """Take the DNSKEY RRset (rdatas in wire form) that the nameserver answered; none where it has no such record.

        Returns the changes of state; `signers`, `off` and `ask_at` have changed with them.
        """
        changes = []
        for key in self.keys:
            before = self.state(key)
            after = before.next(there=key.rdata in dnskeys, ttl_s=ttl_s, now=now)
            self._states[key.algorithm, key.tag] = after
            if after.state is not before.state:
                changes.append(KeyChange(key, before, after))
        self.off = why_off(self._active(), self.keys, dnskeys)
        waits = [left for key in self.keys if (left := self.state(key).left_s(now))]
        self.ask_at = now + max(min(ttl_s, MAX_LOOK_S, *waits), MIN_LOOK_S)
        return changes

    def miss(self, now: float) -> None:
        """Take note that the nameserver did not answer, or with an error: all stays as it is."""
        self.ask_at = now + LOOK_AGAIN_S

    def rows(self) -> list[KeyRow]:
        """Return what is to be kept over a restart."""
        return [
            KeyRow(
                zone=self.zone,
                algorithm=algorithm,
                tag=tag,
                state=kept.state.value,
                since=kept.since,
                held_until=kept.held_until,
                ttl_s=kept.ttl_s,
                off=self.off,
            )
            for (algorithm, tag), kept in self._states.items()
        ]

    def restore(self, rows: Iterable[KeyRow]) -> None:
        """Take what was kept, for those of the keys that it is about; a row that makes no sense is left out."""
        ours = {(key.algorithm, key.tag) for key in self.keys}
        for row in rows:
            if row.zone == self.zone and (row.algorithm, row.tag) in ours and row.state in set(KeyPhase):
                self._states[row.algorithm, row.tag] = KeyState(
                    state=KeyPhase(row.state), since=row.since, held_until=row.held_until, ttl_s=row.ttl_s
                )
                self.off = row.off


def why_off(active: Sequence[Key], ours: Sequence[Key], dnskeys: Collection[bytes]) -> str:
    """Return why the active keys must not sign, empty where they may (RFC 4035 section 2.2).

    Each algorithm of the DNSKEY RRset needs a signature, so also of ours; and one that only our keys have there would
    need signatures over the whole zone, which the nameserver does not make.
    """
    if not active:
        return ""
    published = {rdata[3] for rdata in dnskeys if len(rdata) > 4 and rdata[0] & _ZONE_FLAG}
    own = {key.rdata for key in ours}
    others = {rdata[3] for rdata in dnskeys if len(rdata) > 4 and rdata[0] & _ZONE_FLAG and rdata not in own}
    signing = {key.algorithm for key in active}
    if lonely := signing - others:
        return f"no other key in the DNSKEY RRset has our key's algorithm, {_texts(lonely)}"
    if uncovered := published - signing:
        return f"the DNSKEY RRset has the algorithm {_texts(uncovered)}, of which no key of ours is active"
    return ""


def _texts(algorithms: Iterable[int]) -> str:
    return " and ".join(dns.dnssec.algorithm_to_text(algorithm) for algorithm in sorted(algorithms))
