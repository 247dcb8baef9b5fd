"""What each flagged name answers now and why, for people and for metrics. It changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define

from flatproxy.table.answers import TargetAnswer
from flatproxy.table.ladder import Rung, stale_until
from flatproxy.table.table import question
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flatproxy.table.table import Table


@define(kw_only=True)
class NameStatus:
    """What one flagged name answers for one type. Seconds throughout, `changed_at` in Unix time. It is not changed.

    (Not frozen: there may be millions, and a frozen one takes three times as long to make.)
    """

    wire: bytes
    rdtype: str
    target: str
    rung: str
    absent: bool
    ttl_left_s: float
    age_s: float | None
    stale_left_s: float | None
    rdatas: tuple[str, ...]
    changed_at: float | None
    chain: tuple[str, ...]
    outcomes: Mapping[str, int]

    @property
    def name(self) -> str:
        """The name in text; worked out when asked for, since most of a hundred thousand are not."""
        return names.to_text(self.wire)


def statuses(table: Table, now: float) -> Iterator[NameStatus]:
    """Yield the status of each flagged name and type, in the configuration's order."""
    shared: dict[int, list[dict[str, Any]]] = {}
    for name, rule in table.rules.items():
        known = shared.get(id(rule))
        if known is None:
            found = (table.answer_of(question(name, types.number_of(text))) for text in sorted(rule.types))
            known = shared[id(rule)] = [_status(answer, now) for answer in found if isinstance(answer, TargetAnswer)]
        for status in known:
            yield NameStatus(wire=name, **status)


def not_fresh(table: Table, now: float) -> Iterator[NameStatus]:
    """Yield the status of names whose answer is not fresh, worst rung first. It costs what it yields.

    Of the names that share an answer some may be left out, see `Group`.
    """
    for answers in table.tally.below.values():
        for answer in list(answers):
            status = _status(answer, now)
            for name in (answer.first_name, *answer.others):
                yield NameStatus(wire=name, **status)


def of_name(table: Table, name: bytes, now: float) -> Iterator[tuple[str | None, TargetAnswer, NameStatus]]:
    """Yield each answer of one flagged name with the view that it is for (None: clients in none) and its status."""
    rule = table.rules.get(name)
    if rule is None:
        return
    for view, instead in ((None, rule), *rule.views):
        for text in sorted(instead.types) if instead is not None else ():
            answer = table.answer_of(question(name, types.number_of(text)), view)
            if isinstance(answer, TargetAnswer):
                yield view, answer, NameStatus(wire=name, **_status(answer, now))


def shadow_counts(table: Table) -> Iterator[tuple[tuple[str, str, str], int]]:
    """Yield name, type and result of comparisons in shadow mode, with how often it came out so since the start."""
    for name, rehearsal in list(table.shadows.rehearsals.items()):
        for rdtype, counts in rehearsal.counts.items():
            for outcome, count in counts.items():
                yield (names.to_text(name), types.text_of(rdtype), outcome), count


def keys_by_state(table: Table) -> dict[tuple[str, str], int]:
    """Return how many keys of ours each zone has in each state, states without a key included."""
    counts: dict[tuple[str, str], int] = {}
    for zone, signing in table.zones.signings.items():
        name = names.to_text(zone)
        counts |= {(name, state): 0 for state in ("absent", "waiting", "active")}
        for key in signing.keys.keys:
            counts[name, str(signing.keys.state(key).state)] += 1
    return counts


def placeholders_missing(table: Table) -> Iterator[tuple[str, str]]:
    """Yield name and type of each flattened type that has no record in its signed zone."""
    for signing in table.zones.signings.values():
        for name, missing in signing.missing.items():
            for rdtype in missing:
                yield names.to_text(name), types.text_of(rdtype)


def _status(answer: TargetAnswer, now: float) -> dict[str, Any]:
    """Return what all names of an answer share: the fields of `NameStatus` but its name."""
    step = answer.step(now)  # chooses the target, where there are several
    target, rule = answer.target, answer.rule
    resolution = target.resolution
    fresh = step.rung is Rung.FRESH
    served = resolution if step.rung in (Rung.FRESH, Rung.HELD, Rung.STALE) else None
    return {
        "rdtype": target.type_text,
        "target": names.to_text(target.name),
        "rung": step.rung.name.lower(),
        "absent": fresh and not step.rdatas,
        "ttl_left_s": float(step.ttl_s) if fresh else 0.0,
        "age_s": now - (target.history.seen_at if step.rung is Rung.HELD else served.resolved_at) if served else None,
        "stale_left_s": stale_until(served, rule) - now if served and step.rung is not Rung.HELD else None,
        "rdatas": tuple(types.rdata_texts(target.rdtype, step.rdatas)),
        "changed_at": target.changed_at,
        "chain": resolution.names if resolution else (names.to_text(target.name),),
        "outcomes": target.outcomes,
    }
