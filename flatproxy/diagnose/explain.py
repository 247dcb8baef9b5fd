"""`flatproxy explain`: what becomes of one name, and why. A flagged one is resolved now, another one asked for."""

from __future__ import annotations

import asyncio
import difflib
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import dns.rcode
import dns.rdataclass
import dns.rdatatype
from attrs import evolve, frozen

from flatproxy.diagnose.asking import Asking
from flatproxy.diagnose.prospects import OwnAnswer, Prospect, answer_now, kept_in, limit_of
from flatproxy.diagnose.traces import follow
from flatproxy.diagnose.zones import Keys
from flatproxy.errors import ChainError, FlatproxyError
from flatproxy.flatten.resolvers.plain import expand
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.flatten.zone_probes import zone_of
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import dns.message

    from flatproxy.config.settings import Address, Endpoint, Rule, Settings
    from flatproxy.diagnose.prospects import Earlier, Kept, Limit
    from flatproxy.diagnose.traces import Walk
    from flatproxy.table.held import History

_NEAR = 3


@frozen(kw_only=True)
class TypeReport:
    """One type of a flagged name: the walk, the TTL that comes of it (None where it found nothing), the answer now."""

    walk: Walk
    limit: Limit | None
    answer: Prospect

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        limit = self.limit
        return {
            "type": self.walk.rdtype,
            **self.walk.as_json(),
            "chain_ttl": self.walk.found.ttl_s if self.walk.found is not None else None,
            "ttl": limit.ttl_s if limit is not None else None,
            "ttl_limited_by": limit.by if limit is not None else None,
            "answer": self.answer.as_json(),
        }


@frozen(kw_only=True)
class Seen:
    """Which view a client is in, by which network; None for none. `own`: the name has a table for that view."""

    client: str
    view: str | None
    network: str | None
    own: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"client": self.client, "view": self.view, "network": self.network, "own_table": self.own}


def seen(settings: Settings, rule: Rule | None, client: Address) -> Seen:
    """Return which view a client is in, and what that means for a name."""
    around = [
        (network.prefixlen, str(network), view)
        for view, networks in settings.views.items()
        for network in networks
        if client in network
    ]
    _, network, view = max(around, default=(0, None, None))
    return Seen(client=str(client), view=view, network=network, own=rule is not None and view in dict(rule.views))


@frozen(kw_only=True)
class Flattened:
    """A flagged name. `signed` names its zone where that is signed, `seen` the view of the client who asks."""

    name: str
    rule: Rule
    types: tuple[TypeReport, ...]
    signed: str | None
    seen: Seen | None = None

    @property
    def ok(self) -> bool:
        """Whether the target resolves to an address, and no type of it fails."""
        walks = [report.walk for report in self.types]
        return all(walk.found is not None for walk in walks) and any(walk.addresses for walk in walks)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "name": self.name,
            "verdict": "flattened",
            "seen": self.seen.as_json() if self.seen is not None else None,
            "ok": self.ok,
            "target": names.to_text(self.rule.target),
            "types": [report.as_json() for report in self.types],
            "fallback": [str(address) for address in self.rule.fallback],
            "any": self.rule.any,
            "signed_zone": self.signed,
        }


@frozen(kw_only=True)
class Forwarded:
    """A name that is not flagged. `zone` is the one of access.zones that it is in, None where it is in none.

    `answers` are the nameserver's own, `landing` the flagged name that their CNAME reaches; `near` flagged names.
    """

    name: str
    zone: str | None
    answers: tuple[OwnAnswer, ...] = ()
    landing: str | None = None
    near: tuple[str, ...] = ()
    seen: Seen | None = None
    """The view of the client who asks, where that is why a flagged name is forwarded."""

    @property
    def ok(self) -> bool:
        """Whether a nameserver answered, where one is asked."""
        return all(answer.error is None for answer in self.answers)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "name": self.name,
            "verdict": "refused" if self.zone is None else "forwarded",
            "ok": self.ok,
            "zone": self.zone,
            "answers": [answer.as_json() for answer in self.answers],
            "lands_on": self.landing,
            "near": list(self.near),
            "seen": self.seen.as_json() if self.seen is not None else None,
        }


async def explain(settings: Settings, name: bytes, client: Address | None = None) -> Flattened | Forwarded:
    """Return what becomes of a name (wire form, lower case), asked by a client somewhere or by one without a view."""
    rule = settings.flatten.get(name)
    if rule is None:
        return await _forwarded(settings, name)
    if client is None:
        return await _flattened(settings, name, rule)
    by = seen(settings, rule, client)
    instead = dict(rule.views).get(by.view, rule) if by.view is not None else rule
    if instead is None:
        return evolve(await _forwarded(settings, name), seen=by)
    return evolve(await _flattened(settings, name, instead), seen=by)


async def _flattened(settings: Settings, name: bytes, rule: Rule) -> Flattened:
    asking = Asking(settings)
    kept = kept_in(settings.state)
    reports, signed = await asyncio.gather(
        _type_reports(asking, name, rule, kept),
        _signed_zone(asking, name),
    )
    return Flattened(name=names.to_text(name), rule=rule, types=tuple(reports), signed=signed)


async def _type_reports(asking: Asking, name: bytes, rule: Rule, kept: Kept) -> list[TypeReport]:
    settings = asking.settings
    scope = ConfiguredScope(settings.flatten, frozenset(settings.access.zones))
    resolvers = _resolvers(settings)
    numbers = [dns.rdatatype.from_text(text) for text in sorted(rule.types)]
    walks = await asyncio.gather(
        *(follow(rule.target, each, scope, asking.resolvers(resolvers), asking.upstream()) for each in numbers)
    )
    now, wall = monotonic(), time()
    earlier = {number: kept.of(rule.target, number, now, wall) for number in numbers}
    families = {number: earlier[number].history for number in numbers if types.has_addresses(number)}
    for number, walk in zip(numbers, walks, strict=True):
        if walk.found is not None and number in families:
            # Living ones are seen last of all, so that a family that is gone beside them was withdrawn.
            families[number] = families[number].after(walk.found.rdatas, now + 1 if walk.found.rdatas else now)
    return [
        await _type_report(
            asking, name, rule, walk, earlier[number], [each for other, each in families.items() if other != number]
        )
        for number, walk in zip(numbers, walks, strict=True)
    ]


async def _type_report(
    asking: Asking, name: bytes, rule: Rule, walk: Walk, earlier: Earlier, others: Sequence[History]
) -> TypeReport:
    number = dns.rdatatype.from_text(walk.rdtype)
    answer = answer_now(walk, earlier, rule, number, monotonic(), others)
    if answer.rung == "upstream":
        answer = answer.with_own(await _own_answer(asking, name, number))
    return TypeReport(walk=walk, limit=limit_of(walk, rule), answer=answer)


def _resolvers(settings: Settings) -> list[Endpoint]:
    try:
        return expand(settings.resolver.servers)
    except ChainError:
        return []  # the walk says that nobody answers


async def _signed_zone(asking: Asking, name: bytes) -> str | None:
    try:
        zone = zone_of(await asking.upstream().ask(names.to_name(name), dns.rdatatype.SOA))
        signed = zone is not None and await Keys(asking.upstream).has(zone.apex)
    except FlatproxyError:
        return None
    return names.to_text(zone.apex) if zone is not None and signed else None


async def _own_answer(asking: Asking, name: bytes, rdtype: dns.rdatatype.RdataType) -> OwnAnswer:
    upstream = asking.upstream()
    try:
        response = await upstream.ask(names.to_name(name), rdtype)
    except FlatproxyError as error:
        return OwnAnswer(rdtype=rdtype.name, error=str(error))
    return OwnAnswer(
        rdtype=rdtype.name,
        server=str(upstream.asked or ""),
        rcode=dns.rcode.to_text(response.rcode()),
        records=tuple(
            f"{rrset.name.to_text(omit_final_dot=True)} {rrset.ttl} {rrset.rdtype.name} {rdata.to_text()}"
            for rrset in response.answer
            for rdata in rrset
        ),
        aliases=_aliases(response),
    )


def _aliases(response: dns.message.Message) -> tuple[bytes, ...]:
    """Return the names (wire form) that the answer's CNAME records lead to."""
    found: list[bytes] = []
    name = response.question[0].name
    while len(found) <= len(response.answer):
        rrset = response.get_rrset(response.answer, name, dns.rdataclass.IN, dns.rdatatype.CNAME)
        if not rrset:
            break
        name = rrset[0].target
        found.append(names.to_wire(name))
    return tuple(found)


async def _forwarded(settings: Settings, name: bytes) -> Forwarded:
    zones = frozenset(settings.access.zones)
    zone = names.enclosing(name, zones)
    near = tuple(near_misses(name, settings.flatten))
    if zone is None:
        return Forwarded(name=names.to_text(name), zone=None, near=near)
    asking = Asking(settings)
    rdtypes = [dns.rdatatype.RdataType(each.number) for each in types.FLATTENED]
    answers = await asyncio.gather(*(_own_answer(asking, name, rdtype) for rdtype in rdtypes))
    aliases = dict.fromkeys(alias for answer in answers for alias in answer.aliases)
    landing = next((alias for alias in aliases if alias in settings.flatten), None)
    return Forwarded(
        name=names.to_text(name),
        zone=names.to_text(zone),
        answers=tuple(answers),
        landing=names.to_text(landing) if landing is not None else None,
        near=near,
    )


def near_misses(name: bytes, flagged: Iterable[bytes]) -> list[str]:
    """Return flagged names that may have been meant: those above it, its `www`, else names written much like it."""
    known = frozenset(flagged)
    related: list[bytes] = []
    above: bytes | None = name
    while above is not None and above != names.ROOT:
        above = names.enclosing(names.parent(above), known)
        related += [above] if above is not None else []
    related += [www] if (www := b"\3www" + name) in known else []
    if related:
        return [names.to_text(each) for each in related[:_NEAR]]
    texts = sorted(names.to_text(each) for each in known)
    return difflib.get_close_matches(names.to_text(name), texts, n=_NEAR, cutoff=0.85)
