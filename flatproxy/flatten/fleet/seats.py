"""Probes shared with the fleet: each thing is probed by two nodes at most, and what is so takes both of them to say.

What is probed is divided into groups. A group has two seats, each a lease: the node that is first for the group takes
the first one, the second node the other. Who sits publishes what it sees, a sight for each seat; who does not sit takes
what both seats say. Where there is one node only, or the store is lost, a node believes its own eyes.

No socket, no task, and no probe: `asking` carries operations, and whoever probes asks `may_probe`.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from attrs import define, field

from flatproxy.flatten.fleet.entry import EntryRefused, Seal
from flatproxy.flatten.fleet.operations import Hold, Publish, Read, Release
from flatproxy.flatten.fleet.queue import nothing_depends

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flatproxy.flatten.fleet.ranks import Ranks
    from flatproxy.flatten.fleet.reasons import FleetCounts
    from flatproxy.flatten.fleet.sharing import Carrier

    Verdict = Callable[[Mapping[str, Any]], None]

GROUPS: Final = 64
SEATS: Final = 2
SEAT_S: Final = 15.0
"""A seat is lost when it was not taken again for so long."""
TAKEN_S: Final = 4.0
"""It is taken again so often."""
KEPT_MS: Final = 86_400_000
"""A sight is kept for so long."""


def group_of(key: str) -> int:
    """Return the group of what is probed."""
    return crc32(key.encode()) % GROUPS


def _place(seat: int, key: str) -> str:
    return f"sight {seat} {key}"


@define(eq=False)
class _Seen:
    """What is known of one thing: the sight of each seat with its version, and who is told of a verdict."""

    verdict: Verdict
    sights: dict[int, tuple[int, Mapping[str, Any]]] = field(factory=dict)
    own: Mapping[str, Any] | None = None
    """What this node sees, where it sits."""
    settled: Mapping[str, Any] | None = None


@define(eq=False)
class Seats:
    """The seats of this node, and the sights of all that it watches, by key. `clock` returns monotonic seconds."""

    seal: Seal
    node: str
    ranks: Ranks
    counts: FleetCounts
    asking: Carrier
    clock: Callable[[], float]
    _seen: dict[str, _Seen] = field(factory=dict)
    _held: dict[int, tuple[int, bytes, float]] = field(factory=dict)
    """Of each group in which this node sits: the seat, its token, and until when it is held."""
    _due: float = float("-inf")

    @property
    def held(self) -> int:
        """How many seats this node has."""
        now = self.clock()
        return sum(until > now for _seat, _token, until in self._held.values())

    def may_probe(self, key: str) -> bool:
        """Tell whether this node is to probe something: always, where it is alone."""
        if not self.asking.joined or len(self.ranks.nodes) < 2:
            return True
        held = self._held.get(group_of(key))
        return held is not None and self.clock() < held[2]

    def watch(self, key: str, verdict: Verdict) -> None:
        """Take notice of what seats say of something from now on; `verdict` is told of what both say."""
        if key not in self._seen:
            self._seen[key] = _Seen(verdict)
            self._read(key)

    def forget(self, key: str) -> None:
        """Take no more notice of something."""
        self._seen.pop(key, None)

    def see(self, key: str, sight: Mapping[str, Any]) -> bool:
        """Publish what this node sees; tell whether it alone decides, there being nobody else to ask."""
        seen = self._seen.get(key)
        held = self._held.get(group_of(key))
        if not self.asking.joined or len(self.ranks.nodes) < 2 or seen is None or held is None:
            return True
        if seen.own != sight or held[0] not in seen.sights:
            seen.own = sight
            self._publish(key, seen, held[0], sight)
        return False

    def _publish(self, key: str, seen: _Seen, seat: int, sight: Mapping[str, Any]) -> None:
        version = max(seen.sights.get(seat, (0, {}))[0] + 1, int((self.clock() + self.asking.offset) * 1000))
        place = _place(seat, key)
        raw = self.seal.seal(place, version, {"sight": sight, "node": self.node})

        def then(result: Any) -> None:  # noqa: ANN401 - whatever a store says
            if result[0] == b"published":
                self._take(key, seat, version, {"sight": sight, "node": self.node})
            else:
                self._hear(key, seat, result[1])
                seen.own = None  # it is said again, above that version

        self.asking.ask(Publish(place, raw, KEPT_MS, b"", 1), then)

    def _read(self, key: str) -> None:
        for seat in range(SEATS):
            self._read_one(seat, key)

    def _read_one(self, seat: int, key: str) -> None:
        def then(result: Any) -> None:  # noqa: ANN401 - whatever a store says
            if result is not None:
                self._hear(key, seat, result)

        self.asking.ask(Read((_place(seat, key),)), then)

    def hear_of(self, place: str, version: int) -> bool:
        """Read a sight that is said to have a version, where that is news; tell whether it is a sight at all."""
        word, _, more = place.partition(" ")
        seat, _, key = more.partition(" ")
        if word != "sight" or not seat.isdecimal():
            return False
        seen = self._seen.get(key)
        if seen is not None and int(seat) < SEATS and version > seen.sights.get(int(seat), (0, {}))[0]:
            self._read_one(int(seat), key)
        return True

    def _hear(self, key: str, seat: int, raw: object) -> None:
        place = _place(seat, key)
        try:
            version, content = self.seal.open(place, raw)
        except EntryRefused as refused:
            self.counts.refuse(refused.reason, place)
            return
        if isinstance(content.get("sight"), dict):
            self._take(key, seat, version, content)
        else:
            self.counts.refuse("content", place)

    def _take(self, key: str, seat: int, version: int, content: Mapping[str, Any]) -> None:
        """Take in what a seat says; where both say the same, that is so."""
        seen = self._seen.get(key)
        if seen is None or version <= seen.sights.get(seat, (0, {}))[0]:
            return
        seen.sights[seat] = version, content
        said = [each for _, each in seen.sights.values()]
        both = len({str(each.get("node")) for each in said}) == SEATS
        if both and said[0]["sight"] == said[1]["sight"] and seen.settled != said[0]["sight"]:
            seen.settled = said[0]["sight"]
            seen.verdict(said[0]["sight"])

    def tick(self, now: float) -> None:
        """Take the seats that are this node's, and give up others."""
        if not self.asking.joined or now < self._due:
            return
        self._due = now + TAKEN_S
        for group in range(GROUPS):
            rank = self.ranks.rank(f"probes {group}")
            held = self._held.get(group)
            if held is not None and held[0] != rank:
                del self._held[group]
                self.asking.ask(Release(_seat(group, held[0]), held[1]), nothing_depends)
            if rank < SEATS:
                self._sit(group, rank, now)

    def _sit(self, group: int, seat: int, now: float) -> None:
        held = self._held.get(group)
        token = held[1] if held is not None else f"{self.node}/{secrets.token_hex(8)}".encode()

        def then(result: Any) -> None:  # noqa: ANN401 - whatever a store says
            if int(result[0]):
                self._held[group] = seat, token, now + SEAT_S
            else:
                self._held.pop(group, None)

        self.asking.ask(Hold(_seat(group, seat), token, int(SEAT_S * 1000)), then)

    def rejoin(self) -> None:
        """Find out what was said while this node could not hear, and say again what it sees."""
        self._due = float("-inf")
        for key, seen in self._seen.items():
            seen.own = seen.settled = None
            self._read(key)

    def leave(self) -> list[Release]:
        """Return what gives all seats back."""
        held, self._held = self._held, {}
        return [Release(_seat(group, seat), token) for group, (seat, token, _until) in held.items()]


def _seat(group: int, seat: int) -> str:
    return f"probes-{group}-{seat}"
