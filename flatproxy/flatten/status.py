"""What each flagged name answers now and why, for people and for metrics. It changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from flatproxy.flatten.answers import RDTYPES, Answer, Table, question
from flatproxy.flatten.ladder import Rung, stale_until
from flatproxy.wire import names, records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flatproxy.config.settings import Rule


@frozen(kw_only=True)
class AnswerStatus:
    """What one answer says now. Seconds throughout, `changed_at` in Unix time."""

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


@frozen(kw_only=True)
class NameStatus(AnswerStatus):
    """The same for one of the flagged names that the answer is given for."""

    wire: bytes

    @property
    def name(self) -> str:
        """The name in text; worked out when asked for, since most of a hundred thousand are not."""
        return names.to_text(self.wire)


def statuses(rules: Mapping[bytes, Rule], table: Table, now: float) -> Iterator[NameStatus]:
    """Yield the status of each flagged name and type, in the configuration's order."""
    shared: dict[Answer, dict[str, Any]] = {}
    for name, rule in rules.items():
        for rdtype in sorted(rule.types):
            answer = table.get(question(name, RDTYPES[rdtype]))
            if isinstance(answer, Answer):
                known = shared.get(answer)
                if known is None:
                    known = shared[answer] = asdict(_status(rdtype, answer, now), recurse=False)
                yield NameStatus(wire=name, **known)


def _status(rdtype: str, answer: Answer, now: float) -> AnswerStatus:
    target, rule = answer.target, answer.rule
    resolution = target.resolution
    step = answer.step(now)
    fresh = step.rung is Rung.FRESH
    served = resolution if step.rung in (Rung.FRESH, Rung.STALE) else None
    return AnswerStatus(
        rdtype=rdtype,
        target=names.to_text(rule.target),
        rung=step.rung.name.lower(),
        absent=fresh and not step.rdatas,
        ttl_left_s=float(step.ttl_s) if fresh else 0.0,
        age_s=now - served.resolved_at if served else None,
        stale_left_s=stale_until(served, rule) - now if served else None,
        addresses=tuple(records.texts(step.rdatas)),
        changed_at=target.changed_at,
        chain=resolution.names if resolution else (names.to_text(rule.target),),
        outcomes=target.outcomes,
    )
