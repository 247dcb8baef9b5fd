"""`flatproxy explain`: what becomes of one name, and why. A flagged one is resolved now, another one asked for."""

from __future__ import annotations

import asyncio
import difflib
from contextlib import aclosing
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from attrs import evolve, frozen

from flatproxy.diagnose import signatures
from flatproxy.diagnose.asking import Asking
from flatproxy.diagnose.prospects import OwnAnswer, Prospect, answer_now, kept_in, limit_of
from flatproxy.diagnose.traces import follow
from flatproxy.diagnose.zones import Keys
from flatproxy.errors import ChainError, FlatproxyError
from flatproxy.flatten.resolvers.plain import expand
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.flatten.zone_probes import zone_of
from flatproxy.wire import names, svcb, types

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import dns.message

    from flatproxy.config.settings import EncryptedServer, Endpoint, Rule, Settings
    from flatproxy.diagnose.prospects import Kept, Limit
    from flatproxy.diagnose.traces import Walk
    from flatproxy.flatten.chain import Found

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
class Flattened:
    """A flagged name. `signed` names its zone where that is signed."""

    name: str
    rule: Rule
    types: tuple[TypeReport, ...]
    signed: str | None
    keys: tuple[str, ...] = ()
    """What is known of our keys of that zone, in words."""

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
            "ok": self.ok,
            "target": names.to_text(self.rule.target),
            "types": [report.as_json() for report in self.types],
            "fallback": [str(address) for address in self.rule.fallback],
            "any": self.rule.any,
            "signed_zone": self.signed,
            "keys": list(self.keys),
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
        }


async def explain(settings: Settings, name: bytes) -> Flattened | Forwarded:
    """Return what becomes of a name (wire form, lower case)."""
    rule = settings.flatten.get(name)
    return await _flattened(settings, name, rule) if rule is not None else await _forwarded(settings, name)


async def _flattened(settings: Settings, name: bytes, rule: Rule) -> Flattened:
    kept = kept_in(settings.state)
    async with aclosing(Asking(settings)) as asking:
        reports, signed = await asyncio.gather(
            asyncio.gather(*(_type_report(asking, name, rule, rdtype, kept) for rdtype in sorted(rule.types))),
            _signed_zone(asking, name),
        )
    return Flattened(
        name=names.to_text(name), rule=rule, types=tuple(_rewritten(reports)), signed=signed, keys=_keys(settings, name)
    )


def _rewritten(reports: Sequence[TypeReport]) -> Iterator[TypeReport]:
    """Yield the reports, with SVCB and HTTPS records as they hold at the flagged name now."""
    found = [each.walk.found for each in reports if types.has_addresses(types.number_of(each.walk.rdtype))]
    known = [each for each in found if each is not None and each.rdatas]
    ends = {_end(each) for each in known}
    at = ends.pop() if len(ends) == 1 else names.ROOT
    addresses = frozenset(rdata for each in known for rdata in each.rdatas)
    for report in reports:
        number, own = types.number_of(report.walk.rdtype), report.walk.found
        if not types.is_service(number) or own is None:
            yield report
            continue
        rdatas = svcb.rewritten(own.rdatas, _end(own), at, addresses)
        yield evolve(report, answer=evolve(report.answer, addresses=tuple(types.rdata_texts(number, rdatas))))


def _end(found: Found) -> bytes:
    """Return the name at the end of a chain, in wire form."""
    return names.to_wire(dns.name.from_text(found.names[-1]))


async def _type_report(asking: Asking, name: bytes, rule: Rule, rdtype: str, kept: Kept) -> TypeReport:
    settings = asking.settings
    number = dns.rdatatype.from_text(rdtype)
    walk = await follow(
        rule.target,
        number,
        ConfiguredScope(settings.flatten, frozenset(settings.access.zones)),
        asking.resolvers(_resolvers(settings)),
        asking.upstream(),
    )
    answer = answer_now(walk, kept.of(rule.target, number, monotonic(), time()), rule, number, monotonic())
    if answer.rung == "upstream":
        answer = answer.with_own(await _own_answer(asking, name, number))
    return TypeReport(walk=walk, limit=limit_of(walk, rule), answer=answer)


def _keys(settings: Settings, name: bytes) -> tuple[str, ...]:
    """Return what the state file knows of the keys that sign a name's answers."""
    zone = names.enclosing(name, settings.dnssec)
    if zone is None:
        return ()
    try:
        return tuple(signatures.words(signatures.signing_in(settings, zone)))
    except FlatproxyError as error:
        return (str(error),)


def _resolvers(settings: Settings) -> list[Endpoint | EncryptedServer]:
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
    rdtypes = [dns.rdatatype.RdataType(number) for number in types.OF_ADDRESSES]
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
