"""An entry of the store as octets: sealed by who publishes it, opened by who reads it. No socket, no clock.

    octets  1        16                32    the rest
            schema   version, decimal  MAC   content, JSON

The MAC (HMAC-SHA-256) is over schema, version, field and content, and its key hangs on the fleet's secret and prefix.
The field says of what the entry is, name and type included: an entry that was copied to another place is none.
Nothing that is in a store is believed before its MAC was found right.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve, field, frozen

from flatproxy.config.guarding import NO_GUARDING
from flatproxy.table.held import NO_HISTORY, Belief, History
from flatproxy.table.ladder import Resolution
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flatproxy.config.guarding import Guarding
    from flatproxy.table.target import Target

SCHEMA: Final = b"1"
VERSION_DIGITS: Final = 16
MAX_ENTRY: Final = 1 << 17
"""Of an entry: 2000 records of a target fit in."""
MAX_RECORDS: Final = 2_000
MAX_NAMES: Final = 20
MAX_NAME_TEXT: Final = 1_024
MAX_TTL_S: Final = 2**31 - 1
SKEW_S: Final = 30.0
"""How far two clocks may be apart."""
_JSON: Final = json.JSONDecoder()
_START: Final = 1 + VERSION_DIGITS
HEAD: Final = _START + 32
"""Octets before the content: no two entries begin alike."""


class EntryRefused(Exception):
    """An entry that is not believed; `reason` is one word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@define(eq=False)
class Seal:
    """Seals and opens entries with a fleet's secret."""

    _secret: bytes = field(repr=False)
    _prefix: str
    _keyed: hmac.HMAC = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        key = hmac.digest(self._secret, b"flatproxy fleet " + SCHEMA + b" " + self._prefix.encode(), "sha256")
        self._keyed = hmac.new(key, digestmod="sha256")  # copied for each entry: half as long as anew

    def _mac(self, head: bytes, place: str, content: bytes) -> bytes:
        name = place.encode()
        mac = self._keyed.copy()
        mac.update(head + len(name).to_bytes(2, "big") + name + content)
        return mac.digest()

    def seal(self, place: str, version: int, content: Mapping[str, Any]) -> bytes:
        """Return the octets of an entry for a field of the store."""
        head = SCHEMA + b"%0*d" % (VERSION_DIGITS, version)
        octets = json.dumps(content, separators=(",", ":")).encode()
        return head + self._mac(head, place, octets) + octets

    def open(self, place: str, raw: object) -> tuple[int, dict[str, Any]]:
        """Return version and content of what stands in a field; `EntryRefused` where it is not believed."""
        if not isinstance(raw, bytes) or not HEAD < len(raw) <= MAX_ENTRY:
            raise EntryRefused("size")
        head, mac, octets = raw[:_START], raw[_START:HEAD], raw[HEAD:]
        if head[:1] != SCHEMA:
            raise EntryRefused("schema")
        if not head[1:].isdigit() or not hmac.compare_digest(mac, self._mac(head, place, octets)):
            raise EntryRefused("hmac")
        try:
            content, _ = _JSON.raw_decode(octets.decode())
        except ValueError:
            raise EntryRefused("content") from None
        if not isinstance(content, dict):
            raise EntryRefused("content")
        return int(head[1:]), content


@frozen(kw_only=True)
class TargetEntry:
    """What a target was found to be, and what of its past says how to go on. Times are seconds of the store's clock.

    `held` are its last addresses where it has none now, found last at `seen_at`; `waiting` is a new set of addresses
    that is not believed yet, found first at `waiting_since`.
    """

    rdatas: tuple[bytes, ...]
    ttl_s: int
    names: tuple[str, ...]
    outcome: str
    resolved_at: float
    left_out: int = 0
    held: tuple[bytes, ...] = ()
    seen_at: float = 0.0
    absent_since: float = 0.0
    waiting: tuple[bytes, ...] = ()
    waiting_since: float = 0.0

    @classmethod
    def about(cls, target: Target, offset: float) -> TargetEntry:
        """Return what a target that was resolved is, with the store's clock so far ahead of the monotonic one."""
        known, history, belief = target.resolution, target.history, target.belief
        if known is None:
            raise ValueError(f"{target} was never resolved")
        entry = cls(
            rdatas=known.rdatas,
            ttl_s=known.ttl_s,
            names=known.names,
            outcome="addresses" if known.rdatas else "nodata",
            resolved_at=known.resolved_at + offset,
            left_out=known.left_out,
        )
        if history.absent_since is not None:
            seen_at, absent_since = history.seen_at + offset, history.absent_since + offset
            entry = evolve(entry, held=history.addresses, seen_at=seen_at, absent_since=absent_since)
        if belief.waiting:
            entry = evolve(entry, waiting=belief.waiting, waiting_since=belief.seen_at + offset)
        return entry

    def content(self) -> dict[str, Any]:
        """Return it as an entry holds it. A later version may add keys, which this one does not look at."""
        content = {
            "rdatas": [rdata.hex() for rdata in self.rdatas],
            "ttl": self.ttl_s,
            "names": list(self.names),
            "outcome": self.outcome,
            "at": round(self.resolved_at, 3),
            "left_out": self.left_out,
        }
        if self.held:
            times = {"seen_at": round(self.seen_at, 3), "absent_since": round(self.absent_since, 3)}
            content |= {"held": [rdata.hex() for rdata in self.held], **times}
        if self.waiting:
            since = round(self.waiting_since, 3)
            content |= {"waiting": [rdata.hex() for rdata in self.waiting], "waiting_since": since}
        return content

    @classmethod
    def of(cls, content: Mapping[str, Any], rdtype: int, store_now: float) -> TargetEntry:
        """Return what an entry says of a target of a type; `EntryRefused` where that makes no sense."""
        try:
            entry = cls(
                rdatas=_octets(content["rdatas"]),
                ttl_s=int(content["ttl"]),
                names=tuple(map(str, content["names"])),
                outcome=str(content["outcome"]),
                resolved_at=float(content["at"]),
                left_out=int(content.get("left_out", 0)),
                **(_past(content) if "held" in content or "waiting" in content else {}),
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            raise EntryRefused("content") from None
        if not entry.is_sound:
            raise EntryRefused("content")
        for rdata in (*entry.rdatas, *entry.held, *entry.waiting):
            if not types.is_rdata(rdtype, rdata):
                raise EntryRefused("content")
        # Each by itself: one may be no number at all.
        for at in (entry.resolved_at, entry.seen_at, entry.absent_since, entry.waiting_since):
            if not at <= store_now + SKEW_S:
                raise EntryRefused("time")
        return entry

    def history(self, offset: float) -> History:
        """Return what was found of its addresses over time; the store's clock is so far ahead of the monotonic one."""
        if self.held:
            since = self.absent_since - offset
            return History(addresses=self.held, seen_at=min(self.seen_at - offset, since), absent_since=since)
        if not self.rdatas:
            return NO_HISTORY
        return History(addresses=self.rdatas, seen_at=self.resolved_at - offset)

    def belief(self, offset: float) -> Belief:
        """Return which set of addresses is believed, and which one waits to be."""
        current = self.rdatas or self.held
        if not self.waiting:
            return Belief(current=current)
        return Belief(current=current, waiting=self.waiting, seen_at=self.waiting_since - offset)

    def resolution(self, resolved_at: float) -> Resolution:
        """Return it as the table has it, resolved at a time on the monotonic clock."""
        return Resolution(
            rdatas=self.rdatas, ttl_s=self.ttl_s, names=self.names, resolved_at=resolved_at, left_out=self.left_out
        )

    @property
    def is_sound(self) -> bool:
        """Tell whether it is within the bounds of a resolution."""
        return (
            max(map(len, (self.rdatas, self.held, self.waiting))) <= MAX_RECORDS
            and 0 <= self.ttl_s <= MAX_TTL_S
            and 0 < len(self.names) <= MAX_NAMES
            and all(len(name) <= MAX_NAME_TEXT for name in self.names)
            and self.left_out >= 0
            and self.outcome in {"addresses", "nodata", "nxdomain"}
        )


def field_of(name: bytes, rdtype: int, guarding: Guarding = NO_GUARDING) -> str:
    """Return the field of a target: its name (wire form) and type in text, and its guards where it has some.

    Targets with other guards are other targets: what became of the same answers may differ.
    """
    place = f"{names.to_text(name)}/{types.text_of(rdtype)}"
    if guarding == NO_GUARDING:
        return place
    guards = f"{guarding.special} {' '.join(map(str, guarding.allow))} {guarding.hold_change_s}"
    return f"{place}+{hashlib.blake2b(guards.encode(), digest_size=4).hexdigest()}"


def _past(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an entry says of the past, which most do not."""
    return {
        "held": _octets(content.get("held", ())),
        "seen_at": float(content.get("seen_at", 0)),
        "absent_since": float(content.get("absent_since", 0)),
        "waiting": _octets(content.get("waiting", ())),
        "waiting_since": float(content.get("waiting_since", 0)),
    }


def _octets(texts: Iterable[str]) -> tuple[bytes, ...]:
    return tuple([bytes.fromhex(text) for text in texts])
