"""`flatproxy explain`: what becomes of one name, and why. A flagged one is resolved now, another one asked for."""

from __future__ import annotations

import asyncio
import difflib
from contextlib import aclosing
from time import monotonic, time
from typing import TYPE_CHECKING

import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from attrs import evolve

from flatproxy.diagnose import addresses, signatures
from flatproxy.diagnose.asking import Asking, Bounded
from flatproxy.diagnose.explained import (
    Contender,
    Flattened,
    Forwarded,
    TailoredFor,
    TypeReport,
    judged,
    seen,
    tailored_for,
)
from flatproxy.diagnose.in_step import in_step_words
from flatproxy.diagnose.prospects import OwnAnswer, answer_now, kept_in, limit_of
from flatproxy.diagnose.traces import follow
from flatproxy.diagnose.zones import Keys
from flatproxy.errors import ChainError, FlatproxyError
from flatproxy.flatten.client_subnets import SubnetAsker
from flatproxy.flatten.guards import sift
from flatproxy.flatten.resolvers.plain import expand
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.flatten.zone_probes import zone_of
from flatproxy.wire import names, svcb, types

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import dns.message

    from flatproxy.config.rules import Address, Rule
    from flatproxy.config.settings import EncryptedServer, Endpoint, Settings
    from flatproxy.diagnose.addresses import Probed
    from flatproxy.diagnose.prospects import Earlier, Kept
    from flatproxy.diagnose.traces import Walk
    from flatproxy.flatten.chain import Found
    from flatproxy.table.held import History
    from flatproxy.wire.client_subnet import Subnet
    from flatproxy.wire.prefixes import Network

_NEAR = 3


async def explain(
    settings: Settings,
    name: bytes,
    client: Address | None = None,
    kept: Kept | None = None,
    *,
    subnet: Network | None = None,
) -> Flattened | Forwarded:
    """Return what becomes of a name (wire form, lower case), asked by a client somewhere or by one without a view.

    `kept` is what is known already, None: what the state file holds. `subnet` is the query's EDNS client subnet.
    """
    rule = settings.flatten.get(name)
    if rule is None:
        return await _forwarded(settings, name)
    by = seen(settings, rule, client) if client is not None else None
    instead = dict(rule.views).get(by.view, rule) if by is not None and by.view is not None else rule
    if instead is None:
        return evolve(await _forwarded(settings, name), seen=by)
    tailored = tailored_for(settings, instead, client, subnet)
    return evolve(await _flattened(settings, name, instead, kept or kept_in(settings.state), tailored), seen=by)


async def _flattened(
    settings: Settings, name: bytes, rule: Rule, kept: Kept, tailored: TailoredFor | None
) -> Flattened:
    sent = tailored.sent if tailored is not None else None
    places = [
        evolve(rule, target=target, targets=()) for target in (rule.all_targets if not rule.pin else (rule.target,))
    ]
    async with aclosing(Asking(settings)) as asking:
        reports, signed = await asyncio.gather(
            asyncio.gather(*(_type_reports(asking, name, each, kept, sent) for each in places)),
            _signed_zone(asking, name),
        )
    contenders = [
        Contender(target=each.target, types=tuple(_rewritten(own, each)))
        for each, own in zip(places, reports, strict=True)
    ]
    return Flattened(
        name=names.to_text(name),
        rule=rule,
        contenders=tuple(judged(contenders, rule.use)),
        signed=signed,
        health=await _health(settings, rule, contenders),
        keys=_keys(settings, name),
        tailored=tailored,
        sync=await in_step_words(settings, name, rule),
    )


async def _health(settings: Settings, rule: Rule, contenders: Sequence[Contender]) -> tuple[Probed, ...]:
    """Return what one probe says of each address that is let through; nothing where none is checked."""
    if rule.health is None or rule.pin:
        return ()
    found = [report.walk for each in contenders for report in each.types if report.walk.found is not None]
    rdatas = [
        rdata
        for walk in found
        if walk.found is not None and types.has_addresses(types.number_of(walk.rdtype))
        for rdata in sift(rule.guarding, types.number_of(walk.rdtype), walk.found.rdatas)[0]
    ]
    check = rule.health.check
    return tuple((await addresses.probe(settings, [(check, rdata) for rdata in rdatas])).values())


def _rewritten(reports: Sequence[TypeReport], rule: Rule) -> Iterator[TypeReport]:
    """Yield the reports, with SVCB and HTTPS records as they hold at the flagged name now."""
    found = [each.walk.found for each in reports if types.has_addresses(types.number_of(each.walk.rdtype))]
    known = [each for each in found if each is not None and each.rdatas]
    ends = {_end(each) for each in known}
    at = ends.pop() if len(ends) == 1 else names.ROOT
    had = frozenset(rdata for each in known for rdata in sift(rule.guarding, types.TYPE_A, each.rdatas)[0])
    for report in reports:
        number, own = types.number_of(report.walk.rdtype), report.walk.found
        if not types.is_service(number) or own is None or not report.answer.addresses:
            yield report
            continue
        rdatas = svcb.rewritten(own.rdatas, _end(own), at, had)
        yield evolve(report, answer=evolve(report.answer, addresses=tuple(types.rdata_texts(number, rdatas))))


def _end(found: Found) -> bytes:
    """Return the name at the end of a chain, in wire form."""
    return names.to_wire(dns.name.from_text(found.names[-1]))


async def _type_reports(asking: Asking, name: bytes, rule: Rule, kept: Kept, sent: Subnet | None) -> list[TypeReport]:
    settings = asking.settings
    scope = ConfiguredScope(settings.flatten, frozenset(settings.access.zones))
    resolvers = _resolvers(settings)
    numbers = [dns.rdatatype.from_text(text) for text in sorted(rule.types)]
    askers: dict[int, Bounded | SubnetAsker] = {
        each: asking.resolvers(resolvers)
        if sent is None or not types.has_addresses(each)
        else SubnetAsker(asking.resolvers(resolvers), sent)
        for each in numbers
    }
    walks = await asyncio.gather(
        *(follow(rule.target, each, scope, askers[each], asking.upstream()) for each in numbers)
    )
    now, wall = monotonic(), time()
    earlier = {number: kept.of(rule.target, number, now, wall) for number in numbers}
    families = {number: earlier[number].history for number in numbers if types.has_addresses(number)}
    for number, walk in zip(numbers, walks, strict=True):
        if walk.found is not None and number in families:
            # Living ones are seen last of all, so that a family that is gone beside them was withdrawn.
            families[number] = families[number].after(walk.found.rdatas, now + 1 if walk.found.rdatas else now)
    reports = [
        await _type_report(
            asking, name, rule, walk, earlier[number], [each for other, each in families.items() if other != number]
        )
        for number, walk in zip(numbers, walks, strict=True)
    ]
    return [
        evolve(report, scope=asker.scope) if isinstance(asker, SubnetAsker) else report
        for report, asker in zip(reports, askers.values(), strict=True)
    ]


async def _type_report(
    asking: Asking, name: bytes, rule: Rule, walk: Walk, earlier: Earlier, others: Sequence[History]
) -> TypeReport:
    number = dns.rdatatype.from_text(walk.rdtype)
    answer = answer_now(walk, earlier, rule, number, monotonic(), others)
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
