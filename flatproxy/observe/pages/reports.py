"""What the pages say, as plain values that JSON can hold: the HTML shows the same ones. `openapi.json` describes them.

Durations are seconds, times are RFC 3339 in UTC. It reads and changes nothing; nothing here walks over all names.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from ipaddress import ip_address
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from flatproxy.observe.troubles import ERROR
from flatproxy.table import status
from flatproxy.table.ladder import Rung
from flatproxy.table.shadows import OUTCOMES, how_far
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.observe.history import Event, LastChanges
    from flatproxy.observe.recent import Lately, Recent
    from flatproxy.observe.running import Running
    from flatproxy.observe.troubles import Trouble
    from flatproxy.table.answers import TargetAnswer
    from flatproxy.table.listing import Page
    from flatproxy.table.shadows import Difference, Rehearsal
    from flatproxy.table.status import NameStatus

Said = dict[str, Any]

SHADOWS_SHOWN: Final = 100
"""Names in shadow mode that are told of with the service; each name says it of itself, too."""


def moment(wall: float) -> str:
    """Return a Unix time as RFC 3339 has it."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def of_service(running: Running, recent: Recent, found: list[Trouble], history: LastChanges) -> Said:
    """Return how the whole service is."""
    now, reload, tally = running.now(), running.reload(), running.table.tally
    return {
        "well": not found,
        "summary": _summary(found),
        "at": moment(running.wall()),
        "findings": [{"severity": each.severity, "what": each.what, "since": moment(each.since)} for each in found],
        "nameservers": [_server(each) for each in recent.lately(running.servers(), now)],
        "resolvers": [_server(each) for each in recent.lately(running.resolvers(), now)],
        "names": {
            "total": len(running.table.rules),
            "rungs": {rung.name.lower(): tally.names[rung] for rung in sorted(Rung, reverse=True)},
            "unresolved": len(tally.cold),
        },
        "keys": [
            {"zone": zone, "state": state, "keys": count}
            for (zone, state), count in status.keys_by_state(running.table).items()
            if count
        ],
        "changes": [_event(each) for each in history.last],
        "shadow": {
            "names": [
                _rehearsed(name, mine, running.wall())
                for name, mine in islice(running.table.shadows.rehearsals.items(), SHADOWS_SHOWN)
            ],
            "differences": [_difference(each) for each in reversed(running.table.shadows.differences)],
        },
        "process": {
            "version": version("flatproxy"),
            "packets": running.packet_path(),
            "started": moment(running.started),
            "configuration": reload.digest,
            "loaded": moment(reload.at),
        },
    }


def _summary(found: list[Trouble]) -> str:
    """Say in one sentence whether it is well, else what is wrong: the worst, and how much more."""
    if not found:
        return "All is well."
    worst = found[0]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    word = "Not well" if worst.severity == ERROR else "Look at this"
    return f"{word}: {worst.what}, since {moment(worst.since)}{more}."


def _server(each: Lately) -> Said:
    return {
        "server": each.server,
        "state": each.state,
        "since": moment(each.since),
        "replies": each.replies,
        "timeouts": each.timeouts,
        "failures": each.failures,
        "p50_s": each.p50_s,
        "p99_s": each.p99_s,
    }


def _rehearsed(name: bytes, mine: Rehearsal, wall: float) -> Said:
    totals: Said = {outcome: sum(counts[outcome] for counts in mine.counts.values()) for outcome in OUTCOMES}
    return {
        "name": names.to_text(name),
        "safe": mine.is_safe(wall),
        "verdict": how_far(mine, wall),
        "since": moment(mine.since),
        "comparisons": mine.comparisons,
        **totals,
    }


def _difference(each: Difference) -> Said:
    return {
        "at": moment(each.at),
        "name": names.to_text(each.name),
        "type": types.text_of(each.rdtype),
        "nameserver": list(types.rdata_texts(each.rdtype, each.nameserver)),
        "flatproxy": list(types.rdata_texts(each.rdtype, each.ours)),
    }


def _event(each: Event) -> Said:
    return {"at": moment(each.at), "subject": each.subject, "what": each.what}


def of_names(running: Running, query: str, page: int, listed: Page, total: int) -> Said:
    """Return one page of names; `total` is how many there are in all, or how many match."""
    return {
        "query": query,
        "page": page,
        "pages": max(-(-total // listed.size), 1),
        "total": total,
        "names": [made for name in listed.found if (made := of_flagged(running, name)) is not None],
    }


def of_flagged(running: Running, name: bytes) -> Said | None:
    """Return what is known of one name, None where it is not flagged (any more)."""
    now = running.now()
    found = list(status.of_name(running.table, name, now))
    if not found:
        return None
    rule = running.table.rules[name]
    apex = running.table.zones.apex(name)
    return {
        "name": names.to_text(name),
        "target": names.to_text(rule.target),
        "rung": _worst(answer for _view, answer, _each in found).name.lower(),
        "zone": names.to_text(apex) if apex is not None else None,
        "signing": _signing(running, name),
        "shadow": how_far(running.table.shadows.rehearsals.get(name), running.wall()) if rule.is_rehearsed else None,
        "sync": running.sync_state(name),
        "forwarded_views": [view for view, instead in rule.views if instead is None],
        "types": [_typed(running, view, answer, each, now) for view, answer, each in found],
    }


def _worst(answers: Iterable[TargetAnswer]) -> Rung:
    return max(answer.rung if answer.rung is not None else Rung.FRESH for answer in answers)


def _signing(running: Running, name: bytes) -> str:
    """Say what happens to queries with DO=1."""
    zones = running.table.zones
    if not zones.is_signed(name):
        return "the zone is not signed"
    signing = zones.signing_of(name)
    if signing is None:
        return "the zone is signed: queries with DO=1 go to the nameserver"
    if not signing.keys.signers:
        states = ", ".join(f"key {key.tag} {signing.keys.state(key).state}" for key in signing.keys.keys)
        return f"the zone is signed, {states}: queries with DO=1 go to the nameserver"
    return f"signed with key {', '.join(str(key.tag) for key in signing.keys.signers)}"


def _health(answer: TargetAnswer) -> dict[str, bool] | None:
    """Return whether each address that the targets have is well, None where addresses are not checked."""
    selection, rdtype = answer.selection, answer.target.rdtype
    if selection is None or selection.check is None or not types.has_addresses(rdtype):
        return None
    sick = answer.target.table.sick(selection.check)
    return {
        str(ip_address(each)): each not in sick for each in sorted(selection.offered) if types.is_rdata(rdtype, each)
    }


def _typed(running: Running, view: str | None, answer: TargetAnswer, each: NameStatus, now: float) -> Said:
    target = answer.target
    due = running.next_resolution(target)
    return {
        "type": each.rdtype,
        "view": view,
        "target": each.target,
        "rung": each.rung,
        "unresolved": target.is_cold(now),
        "absent": each.absent,
        "addresses": list(each.rdatas),
        "health": _health(answer),
        "ttl_left_s": each.ttl_left_s,
        "age_s": each.age_s,
        "stale_left_s": each.stale_left_s,
        "next_resolution_s": max(due - now, 0.0) if due is not None else None,
        "chain": list(each.chain),
        "failures": target.failures,
        "changed": moment(each.changed_at) if each.changed_at is not None else None,
    }


def of_changes(history: LastChanges, running: Running, name: bytes) -> list[Said]:
    """Return the last changes of one name, the newest first."""
    answers = [answer for _view, answer, _each in status.of_name(running.table, name, running.now())]
    return [_event(each) for each in history.of(name, answers)]
