"""Which answer a flagged name would get now, and why: the ladder, applied to what a walk found and a file keeps."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from flatproxy.flatten.guards import in_words, sift
from flatproxy.flatten.stores import sqlite as store
from flatproxy.table.held import NO_HISTORY, History, held_until
from flatproxy.table.ladder import Held, Resolution, Rung, lifetime_s, stale_until, step
from flatproxy.wire import types

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flatproxy.config.rules import Rule
    from flatproxy.config.settings import State
    from flatproxy.diagnose.traces import Walk
    from flatproxy.flatten.stores.store import Row
    from flatproxy.table.ladder import Step

NO_RUNG = "servfail"


@frozen
class Limit:
    """The TTL of an answer at its freshest, and what set it: `chain`, `max_ttl` or `min_ttl`."""

    ttl_s: int
    by: str


def limit_of(walk: Walk, rule: Rule) -> Limit | None:
    """Return the TTL of what a walk found, None where it found nothing."""
    if walk.found is None:
        return None
    chain_s = walk.found.ttl_s
    ttl_s = lifetime_s(chain_s, rule)
    return Limit(ttl_s, "chain" if ttl_s == chain_s else "max_ttl" if ttl_s < chain_s else "min_ttl")


@frozen(kw_only=True)
class OwnAnswer:
    """The nameserver's own answer for a name and type, as text; `aliases` are the names (wire form) on its way."""

    rdtype: str
    server: str = ""
    rcode: str = ""
    records: tuple[str, ...] = ()
    aliases: tuple[bytes, ...] = ()
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "type": self.rdtype,
            "server": self.server or None,
            "rcode": self.rcode or None,
            "records": list(self.records),
            "error": self.error,
        }


@frozen(kw_only=True)
class Prospect:
    """What clients get: the rung in lower case, `NO_RUNG` where no rung holds; the TTL in seconds; and why."""

    rung: str
    addresses: tuple[str, ...] = ()
    ttl_s: int | None = None
    age_s: float | None = None
    why: str
    own: OwnAnswer | None = None

    def with_own(self, own: OwnAnswer) -> Prospect:
        """Return the last rung with the nameserver's answer on it, or without any where it gave none."""
        if own.error is None:
            return evolve(self, own=own)
        return evolve(self, rung=NO_RUNG, own=own, why=f"{self.why}, and no nameserver answers: {own.error}")

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "rung": self.rung,
            "addresses": list(self.addresses),
            "ttl": self.ttl_s,
            "age": self.age_s,
            "why": self.why,
            "nameserver": self.own.as_json() if self.own is not None else None,
        }


@frozen(kw_only=True)
class Earlier:
    """What is kept of one target and type; without a resolution, `lack` says why there is none."""

    resolution: Resolution | None = None
    history: History = NO_HISTORY
    lack: str = ""


@frozen(kw_only=True)
class Kept:
    """What the state file holds. `lack` says why there is nothing to look up."""

    rows: Mapping[tuple[bytes, int], Row]
    lack: str = ""

    def of(self, target: bytes, rdtype: int, now: float, wall: float) -> Earlier:
        """Return what is kept of a target, on the monotonic clock."""
        row = self.rows.get((target, rdtype))
        if row is None:
            return Earlier(lack=self.lack or "the state file has no answer for it")
        return Earlier(resolution=row.resolution(now, wall), history=row.history(now, wall))


def kept_in(state: State | None) -> Kept:
    """Return what the state file holds."""
    if state is None:
        return Kept(
            rows={}, lack="without [state] no earlier answer is seen from here (a running flatproxy may have one)"
        )
    try:
        rows = store.read_rows(state.path)
    except (sqlite3.Error, OSError, ValueError, TypeError) as error:
        return Kept(rows={}, lack=f"the state file cannot be read: {error}")
    return Kept(rows={(row.target, row.rdtype): row for row in rows})


def answer_now(
    walk: Walk, earlier: Earlier, rule: Rule, rdtype: int, now: float, others: Sequence[History] = ()
) -> Prospect:
    """Return the answer at `now` (monotonic seconds), the nameserver's own not yet looked up.

    `others` are the other flattened families of the name.
    """
    resolution = earlier.resolution
    found, history = walk.found, earlier.history
    rdatas, refused = sift(rule.guarding, rdtype, found.rdatas if found is not None else ())
    if found is not None and (rdatas or not refused):
        resolution = Resolution(rdatas=rdatas, ttl_s=found.ttl_s, names=found.names, resolved_at=now)
        history = history.after(rdatas, now) if types.has_addresses(rdtype) else history
    until = held_until(history, others, rule.hold_absent_s)
    current = step(resolution, rule, rdtype, now, Held(history.addresses, until) if until is not None else None)
    served = resolution if current.rung in (Rung.FRESH, Rung.STALE) else None
    return Prospect(
        rung=current.rung.name.lower(),
        addresses=tuple(types.rdata_texts(rdtype, current.rdatas)),
        ttl_s=current.ttl_s if current.rung is not Rung.UPSTREAM else None,
        age_s=now - served.resolved_at if served is not None else None,
        why=_why_kept(current, now) or _why(walk, earlier, rule, current, now) + _why_not_all(rdtype, rdatas, refused),
    )


def _why_kept(current: Step, now: float) -> str:
    """Return why an answer has nothing to do with what the target resolves to now, nothing where it has."""
    if current.rung is Rung.PINNED:
        return "pin has these addresses, whatever the target resolves to"
    if current.rung is Rung.HELD:
        left = span_text(current.until - now)
        return f"the target has no address now; its last ones, from the state file, are held for another {left}"
    return ""


def _why_not_all(rdtype: int, rdatas: tuple[bytes, ...], refused: Mapping[bytes, str]) -> str:
    if not refused:
        return ""
    return f"; {'left out' if rdatas else 'every address is refused'}: {in_words(rdtype, refused)}"


def _why(walk: Walk, earlier: Earlier, rule: Rule, current: Step, now: float) -> str:
    if walk.found is not None and (current.rung is Rung.FRESH or not walk.addresses):
        return {
            "addresses": "the target resolves now",
            "nodata": "the target has no address of this type, which is an answer too",
            "nxdomain": "the target does not exist, which is told as having no address: the flagged name does exist",
        }[walk.found.outcome]
    known = earlier.resolution
    failed = "the target cannot be resolved now"
    if known is None:
        why = f"{failed}, and {earlier.lack}"
    elif current.rung is Rung.FRESH:
        why = f"{failed}, but the state file's answer, {span_text(now - known.resolved_at)} old, is within its TTL"
    elif current.rung is Rung.STALE:
        left = span_text(stale_until(known, rule) - now)
        why = f"{failed}: the state file's answer, {span_text(now - known.resolved_at)} old, holds for another {left}"
    else:
        why = f"{failed}, and the state file's answer is too old: {span_text(now - known.resolved_at)}"
    if current.rung is Rung.UPSTREAM:
        why += "; there is no fallback"
    elif current.rung is Rung.FALLBACK and types.is_service(types.number_of(walk.rdtype)):
        why += f"; the fallback has no {walk.rdtype}, and the nameserver's leads to its placeholder"
    return why


def span_text(seconds: float) -> str:
    """Return seconds in the two largest units that they fill: `1 d 3 h`, `45 s`."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])
