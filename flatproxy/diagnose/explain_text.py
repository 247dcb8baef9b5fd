"""What `explain` prints: each type of a flagged name with its chain and its answer; or where a query goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatproxy.config.problems import join
from flatproxy.diagnose.explained import Flattened
from flatproxy.diagnose.prospects import NO_RUNG, span_text
from flatproxy.diagnose.text import labelled, some, table, wrapped
from flatproxy.diagnose.zones import SIGNED
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.diagnose.explained import Forwarded, Seen, TailoredFor, TypeReport
    from flatproxy.diagnose.prospects import OwnAnswer, Prospect
    from flatproxy.diagnose.traces import TraceHop, Walk

_ADDRESSES = 12
_AT = 13
_RUNGS = {
    "pinned": "pinned",
    "fresh": "fresh",
    "held": "held",
    "stale": "stale",
    "fallback": "fallback",
    "upstream": "the nameserver's own answer",
    NO_RUNG: "none: SERVFAIL",
}


def render(report: Flattened | Forwarded) -> Iterator[str]:
    """Yield the lines."""
    yield from _flattened(report) if isinstance(report, Flattened) else _forwarded(report)


def _flattened(report: Flattened) -> Iterator[str]:
    yield from wrapped(f"{report.name} is flattened: {_targets(report)}", "", 0)
    yield from _for_whom(report)
    for contender in report.contenders:
        if len(report.contenders) > 1:
            yield ""
            answered = "is answered" if contender.answered else "is not answered now"
            yield from wrapped(f"{names.to_text(contender.target)} {answered}", "", 0)
        for one in contender.types:
            yield ""
            yield one.walk.rdtype
            yield from table([_hop_row(hop) for hop in one.walk.hops])
            yield from _type(one, report)
    yield from _health(report)
    yield ""
    yield "Other types"
    addresses = map(types.text_of, types.OF_ADDRESSES)
    others = [rdtype for rdtype in addresses if rdtype not in report.rule.types]
    which = f"{', '.join(others)} and all other types" if others else "all"
    yield from wrapped(f"{which} are forwarded to the nameserver", "  ", 4)
    if report.rule.any == "hinfo":
        yield "  ANY is answered with HINFO (RFC 8482)"
    if report.sync:
        yield ""
        yield from wrapped(report.sync, "", 0)
    if report.signed is not None:
        yield ""
        what = "with DO=1 a flattened answer is signed while a key is active" if report.keys else SIGNED
        yield from wrapped(f"The zone {report.signed} is signed: {what}.", "", 0)
        for words in report.keys:
            yield from wrapped(words, "  ", 4)


def _targets(report: Flattened) -> str:
    if len(report.contenders) == 1:
        return f"its target is {names.to_text(report.contenders[0].target)}"
    how = "the first that is well" if report.rule.use == "first" else "all that are well"
    return f"of its targets {', '.join(names.to_text(each.target) for each in report.contenders)}, {how}"


def _health(report: Flattened) -> Iterator[str]:
    if report.rule.health is None or report.rule.pin:
        return
    check = report.rule.health.check
    host = f" as {check.host}" if check.host else ""
    path = f", {check.path}" if check.kind != "tcp" else ""
    yield ""
    yield f"Health: {check.kind} port {check.port}{host}{path}"
    if report.health:
        yield from table([(each.text, each.words) for each in report.health])
    else:
        yield "  no address to probe"
    if any(each.failure and not each.unknown for each in report.health):
        what = f"An address leaves the answer after {check.fall} failures in a row, {check.interval_s:g} s apart"
        yield from wrapped(f"{what}; whether one has, a running flatproxy's flatproxy_health_up says.", "", 0)


def _for_whom(report: Flattened) -> Iterator[str]:
    if report.rule.shadow:
        yield from wrapped("Shadow mode: clients get the nameserver's answer; this is only compared with it.", "", 0)
    if report.seen is not None:
        yield from wrapped(_seen(report.seen), "", 0)
    if report.tailored is not None:
        yield from wrapped(_tailored(report.tailored), "", 0)


def _hop_row(hop: TraceHop) -> tuple[str, str, str, str]:
    ttl = f"TTL {hop.ttl_s}" if hop.ttl_s is not None else ""
    words = hop.what.split()
    what = hop.what if len(words) <= _ADDRESSES + 1 else f"{' '.join(words[: _ADDRESSES + 1])} and more"
    return hop.name, ttl, f"{hop.asked} {hop.server}".strip(), what


def _type(one: TypeReport, report: Flattened) -> Iterator[str]:
    answer = one.answer
    yield ""
    if one.walk.error is not None and not (one.walk.hops and one.walk.hops[-1].failed):
        yield from labelled("failure", str(one.walk.error), at=_AT)
    yield from labelled("answer", _addresses(answer), at=_AT)
    if answer.ttl_s is not None:
        yield from labelled("TTL", _ttl(one, report), at=_AT)
    yield from labelled("rung", f"{_RUNGS[answer.rung]}: {answer.why}", at=_AT)
    if one.scope is not None and report.tailored is not None and report.tailored.sent is not None:
        around = report.tailored.sent.shortened(one.scope)
        yield from labelled("scope", f"holds for {around}" if one.scope else "0: holds for everybody", at=_AT)


def _addresses(answer: Prospect) -> str:
    if answer.rung == NO_RUNG:
        return "SERVFAIL"
    if answer.own is not None:
        return _own(answer.own)
    return some(answer.addresses, _ADDRESSES) or "no address (NODATA, with the zone's SOA)"


def _own(own: OwnAnswer) -> str:
    if own.error is not None:
        return f"none: {own.error}"
    told = some(own.records, _ADDRESSES, "; ") or ("no such record" if own.rcode == "NOERROR" else "")
    return " ".join(part for part in (own.rcode if own.rcode != "NOERROR" else "", told) if part)


def _ttl(one: TypeReport, report: Flattened) -> str:
    answer, rule = one.answer, report.rule
    if one.limit is None or answer.rung != "fresh":
        return f"{answer.ttl_s} s: {'what is left of it' if answer.rung == 'fresh' else 'stale_ttl'}"
    if not answer.addresses:
        return f"that of the SOA; the target's own word for it lasts {one.limit.ttl_s} s"
    if one.limit.by == "chain":
        least = _least(one.walk)
        return f"{one.limit.ttl_s} s: the least in the chain{f', of {least}' if least else ''}"
    value = rule.max_ttl_s if one.limit.by == "max_ttl" else rule.min_ttl_s
    chain_s = one.walk.found.ttl_s if one.walk.found is not None else 0
    return f"{one.limit.ttl_s} s: {one.limit.by} is {span_text(value)}, the chain has {chain_s} s"


def _least(walk: Walk) -> str:
    """Return the name whose record has the least TTL, nothing where there is only one record."""
    hops = [hop for hop in walk.hops if hop.ttl_s is not None]
    return min(hops, key=lambda hop: hop.ttl_s or 0).name if len(hops) > 1 else ""


def _seen(seen: Seen) -> str:
    if seen.view is None:
        return f"{seen.client} is in no view: this is the name's own answer"
    where = f"{seen.client} is in the view {seen.view}, by {seen.network}"
    return f"{where}: this is its answer" if seen.own else f"{where}, for which the name has no table: this is its own"


def _tailored(tailored: TailoredFor) -> str:
    if tailored.sent is None:
        return f"It is not tailored for {tailored.network}: {tailored.why_not}"
    return f"It is tailored for {tailored.network}: resolvers are told {tailored.sent}"


def _forwarded(report: Forwarded) -> Iterator[str]:
    if report.seen is not None:
        what = (
            f"{report.name} is flagged, but {report.seen.client} is in the view {report.seen.view}, by "
            f"{report.seen.network}, and passes: the nameserver answers"
        )
        yield from wrapped(what, "", 0)
        yield from table([(own.rdtype, own.server, _own(own)) for own in report.answers])
        return
    if report.zone is None:
        what = f"{report.name} is not flagged and in none of access.zones: every query for it is REFUSED"
        yield from wrapped(what, "", 0)
        yield from _near(report)
        return
    zone = "access.zones has every name" if report.zone == "." else f"it is in the zone {report.zone} of access.zones"
    what = f"{report.name} is not flagged: queries for it are forwarded to the nameserver ({zone})"
    yield from wrapped(what, "", 0)
    yield ""
    rows = [(own.rdtype, own.server, _own(own)) for own in report.answers]
    yield from table(rows)
    if report.landing is not None:
        yield ""
        what = (
            f"Its CNAME lands on {report.landing}, which is flagged: in answers for a type that it is flattened for "
            f"flatproxy puts the target's records in the place of the nameserver's; see: explain {report.landing}"
        )
        yield from wrapped(what, "", 0)
        return
    yield from _near(report)


def _near(report: Forwarded) -> Iterator[str]:
    if not report.near:
        return
    yield ""
    if report.zone is None:
        yield from wrapped(f"Did you mean {' or '.join(report.near)}?", "", 0)
        return
    table_key = f"[{join('flatten', report.name)}]"
    what = (
        f"Flagged names are exact; near this one there is {' and '.join(report.near)}. To flatten it as well, write "
        f"{table_key} with a target, or make it a CNAME to a flagged name in the zone."
    )
    yield from wrapped(what, "", 0)
