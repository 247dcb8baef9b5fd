"""What each flagged name answers now and why, for people and for metrics. It changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define

from flatproxy.table.answers import RDTYPES, Answer, Table, question
from flatproxy.table.ladder import Rung, stale_until
from flatproxy.wire import names, records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flatproxy.config.settings import Rule


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
    addresses: tuple[str, ...]
    changed_at: float | None
    chain: tuple[str, ...]
    outcomes: Mapping[str, int]

    @property
    def name(self) -> str:
        """The name in text; worked out when asked for, since most of a hundred thousand are not."""
        return names.to_text(self.wire)


def statuses(rules: Mapping[bytes, Rule], table: Table, now: float) -> Iterator[NameStatus]:
    """Yield the status of each flagged name and type, in the configuration's order."""
    shared: dict[int, list[dict[str, Any]]] = {}
    for name, rule in rules.items():
        known = shared.get(id(rule))
        if known is None:
            found = ((rdtype, table.get(question(name, RDTYPES[rdtype]))) for rdtype in sorted(rule.types))
            known = [_status(rdtype, answer, now) for rdtype, answer in found if isinstance(answer, Answer)]
            shared[id(rule)] = known
        for status in known:
            yield NameStatus(wire=name, **status)


def _status(rdtype: str, answer: Answer, now: float) -> dict[str, Any]:
    """Return what all names of an answer share: the fields of `NameStatus` but its name."""
    target, rule = answer.target, answer.rule
    resolution = target.resolution
    step = answer.step(now)
    fresh = step.rung is Rung.FRESH
    served = resolution if step.rung in (Rung.FRESH, Rung.STALE) else None
    return {
        "rdtype": rdtype,
        "target": names.to_text(rule.target),
        "rung": step.rung.name.lower(),
        "absent": fresh and not step.rdatas,
        "ttl_left_s": float(step.ttl_s) if fresh else 0.0,
        "age_s": now - served.resolved_at if served else None,
        "stale_left_s": stale_until(served, rule) - now if served else None,
        "addresses": tuple(records.texts(step.rdatas)),
        "changed_at": target.changed_at,
        "chain": resolution.names if resolution else (names.to_text(rule.target),),
        "outcomes": target.outcomes,
    }
