"""`flatproxy fleet`: who is in the fleet, who holds leases, and for which targets nodes have different answers.

It reads the store and asks the nodes over it; it takes part in nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen

from flatproxy.flatten.fleet.digests import PARTS
from flatproxy.flatten.fleet.entry import EntryRefused
from flatproxy.flatten.fleet.joining import StoreAccess
from flatproxy.flatten.fleet.operations import Clock, Digested, Holders, Inquire, Nodes, Told
from flatproxy.flatten.fleet.presence import read_nodes
from flatproxy.flatten.fleet.reasons import FleetCounts
from flatproxy.wire import types

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flatproxy.config.settings import Settings
    from flatproxy.flatten.fleet.link import StoreLink
    from flatproxy.flatten.fleet.presence import NodeRecord

TOLD_S: Final = 2.0
"""Nodes have so long to say what they answer."""
APART_S: Final = 1.5
"""What differs is asked for twice, so long apart: a change on its way is no difference."""
PARTS_AT_ONCE: Final = 4
LEASES_AT_ONCE: Final = 200

AnswersByNode = dict[str, dict[str, tuple[str, ...]]]
"""By field and node, the records in hex."""


@frozen(kw_only=True)
class FleetReport:
    """What was found. `now` is the store's clock; `differing` has, by field, what each node answers, in text."""

    now: float
    nodes: Mapping[str, NodeRecord]
    refused: Mapping[str, str]
    leases: Mapping[str, list[str]]
    differing: Mapping[str, Mapping[str, str]]

    @property
    def missing(self) -> list[str]:
        """The nodes that went without a goodbye."""
        return [name for name, record in self.nodes.items() if record.state(self.now) == "missing"]

    @property
    def ok(self) -> bool:
        """Whether no node is missing, and all answer the same."""
        return not self.missing and not self.differing

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "ok": self.ok,
            "nodes": [
                {
                    "name": name,
                    "state": record.state(self.now),
                    "version": record.version,
                    "since": record.since,
                    "seen_s": round(max(self.now - record.seen, 0.0), 1),
                    "sha256": record.digest,
                    "leases": self.leases.get(name, []),
                }
                for name, record in sorted(self.nodes.items())
            ],
            "refused": dict(self.refused),
            "differing": {place: dict(answers) for place, answers in self.differing.items()},
        }


async def inspect_fleet(settings: Settings) -> FleetReport:
    """Return what the store and the nodes say; raises `StoreLost`, or `ConfigError` where a file cannot be used."""
    assert settings.fleet is not None, "there is a fleet"
    access = StoreAccess.of(settings.fleet)
    link = access.link(FleetCounts())
    try:
        await link.open()
        return await _Inspection(access, link).report()
    finally:
        await link.close()


@define(eq=False)
class _Inspection:
    access: StoreAccess
    link: StoreLink
    nodes: dict[str, NodeRecord] = field(factory=dict)
    now: float = 0.0

    async def report(self) -> FleetReport:
        raw, clock = await self.link.run([Nodes(), Clock()])
        self.now = int(clock[0]) + int(clock[1]) / 1_000_000
        known, refused = read_nodes(self.access.seal, _pairs(raw))
        self.nodes = {name: node for name, node in known.items() if node.state(self.now) != "forgotten"}
        first = await self._differing()
        if first:
            await asyncio.sleep(APART_S)
            second = await self._differing()
            first = {place: second[place] for place in first if place in second}
        differing = {place: _in_words(place, answers) for place, answers in sorted(first.items())}
        leases = await self._leases()
        return FleetReport(now=self.now, nodes=self.nodes, refused=refused, leases=leases, differing=differing)

    @property
    def _here(self) -> list[str]:
        return sorted(name for name, node in self.nodes.items() if node.state(self.now) == "here")

    async def _differing(self) -> AnswersByNode:
        """Return the targets that nodes answer differently now, as far as their digests show where to look."""
        [raw] = await self.link.run([Digested()])
        digests = {name: text for name, text in self._digests(_pairs(raw)) if name in self._here}
        parts = [part for part in range(PARTS) if len({text[8 * part : 8 * part + 8] for text in digests.values()}) > 1]
        found: AnswersByNode = {}
        for start in range(0, len(parts), PARTS_AT_ONCE):
            found |= await self._details(tuple(parts[start : start + PARTS_AT_ONCE]))
        return {place: answers for place, answers in found.items() if len(set(answers.values())) > 1}

    def _digests(self, raw: Mapping[bytes, bytes]) -> Iterable[tuple[str, str]]:
        for octets, sealed in raw.items():
            name = octets.decode(errors="replace")
            try:
                yield name, str(self.access.seal.open(f"answers {name}", sealed)[1].get("digests", ""))
            except EntryRefused:
                continue

    async def _details(self, parts: tuple[int, ...]) -> AnswersByNode:
        """Return what each node answers for the targets of some parts."""
        request, names = secrets.token_hex(8), tuple(self._here)
        await self.link.run([Inquire(request, parts)])
        until, raws = monotonic() + TOLD_S, []
        while monotonic() < until:
            [raws] = await self.link.run([Told(request, names)])
            if None not in raws:
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)  # a node says something once in half a second
        found: AnswersByNode = {}
        for name, raw in zip(names, raws, strict=True):
            try:
                content = self.access.seal.open(f"detail {request} {name}", raw)[1]
            except EntryRefused:
                continue
            for place, records in content.items():
                found.setdefault(place, {})[name] = tuple(map(str, records))
        return found

    async def _leases(self) -> dict[str, list[str]]:
        """Return the fields that each node holds a lease of."""
        by_tag: dict[bytes, list[str]] = {}
        for octets in await self.link.scan(self.access.keys.leases):
            by_tag.setdefault(octets.partition(b"}")[0], []).append(octets.decode(errors="replace"))
        held: dict[str, list[str]] = {}
        for keys in by_tag.values():
            for start in range(0, len(keys), LEASES_AT_ONCE):
                some = tuple(keys[start : start + LEASES_AT_ONCE])
                [tokens] = await self.link.run([Holders(some)])
                for key, token in zip(some, tokens, strict=True):
                    if token is not None:
                        name = token.decode(errors="replace").partition("/")[0]
                        held.setdefault(name, []).append(key.partition(":lease:")[2])
        return {name: sorted(places) for name, places in held.items()}


def _pairs(raw: Any) -> dict[bytes, bytes]:  # noqa: ANN401 - by the protocol's version
    return raw if isinstance(raw, dict) else dict(zip(raw[::2], raw[1::2], strict=True))


def _in_words(place: str, answers: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return what each node answers, in text."""
    rdtype = place.rpartition("/")[2].partition("+")[0]
    words = {}
    for name, records in answers.items():
        try:
            words[name] = str(types.rdata_texts(types.number_of(rdtype), [bytes.fromhex(each) for each in records]))
        except (ValueError, KeyError):
            words[name] = "?"
    return words
