"""What an answer says from now on, as the packet path in C takes it: the rungs of the ladder, each with its end.

No packet and no socket: it turns what `table/ladder.py` says of an answer into octets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flatproxy.table.ladder import Rung, fresh_until, lifetime_s, stale_until
from flatproxy.wire import edns, records, types

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flatproxy.forward.native._core import Layout, Stage
    from flatproxy.table.answers import TargetAnswer
    from flatproxy.table.selection import Selection

SECOND: Final = 10**9
FOR_EVER: Final = 2**62
NO_ERROR: Final = -1
_NOTHING: Final[Layout] = (b"", 0, 0, 0, 0)


def layout(rdtype: int, rdatas: Sequence[bytes]) -> Layout:
    """Return the records of an RRset; those of different sizes keep their order."""
    made = [records.record(records.QNAME, rdtype, 0, rdata) for rdata in rdatas]
    if not made:
        return _NOTHING
    rotating = len(made) if len({len(each) for each in made}) == 1 else 0
    return b"".join(made), len(made), 0, rotating, len(made[0]) if rotating else 0


def signed_layout(rdtype: int, rdatas: Sequence[bytes], rrsigs: Sequence[bytes]) -> Layout | None:
    """Return the records of an RRset with its signatures behind them, None without any."""
    if not rrsigs:
        return None
    octets, answers, authorities, rotating, step = layout(rdtype, rdatas)
    signatures = b"".join(records.record(records.QNAME, types.TYPE_RRSIG, 0, rrsig) for rrsig in rrsigs)
    return octets + signatures, answers + len(rrsigs), authorities, rotating, step


def stages_of(answer: TargetAnswer, rrsigs: Sequence[bytes] = ()) -> tuple[Stage, ...]:
    """Return fresh, stale and fallback as far as there are any, or the pin; whatever is over by now does no harm.

    `rrsigs` are over the fresh records; what comes after these Python signs, in its time.
    """
    resolution, rule, rdtype = answer.target.resolution, answer.rule, answer.target.rdtype
    if rule.pin:
        return (_for_ever(rdtype, types.address_rdatas(rdtype, rule.pin), rule.stale_ttl_s),)
    found: list[Stage] = []
    if resolution is not None:
        said, denies = layout(rdtype, resolution.rdatas), not resolution.rdatas
        lifetime = lifetime_s(resolution.ttl_s, rule)
        runs_out = int((resolution.resolved_at + lifetime) * SECOND)
        fresh = int(fresh_until(resolution, rule) * SECOND)
        signed = signed_layout(rdtype, resolution.rdatas, rrsigs)
        # A set that may be cached at all is not sent with TTL 0 in its last second.
        found.append((fresh, runs_out, min(lifetime, 1), NO_ERROR, denies, said, signed))
        if rule.stale_for_s:
            gone = int(stale_until(resolution, rule) * SECOND)
            found.append((gone, 0, rule.stale_ttl_s, edns.EDE_STALE, denies, said, None))
    if rule.fallback:
        found.append(_for_ever(rdtype, types.address_rdatas(rdtype, rule.fallback), rule.stale_ttl_s))
    return tuple(found)


def stages_of_choice(selection: Selection, rdtype: int, now: float) -> tuple[Stage, ...]:
    """Return what is chosen now where that is fresh, nothing where it is not; it ends when a rung may change."""
    chosen = selection.current(now)
    made = chosen.steps[rdtype]
    if made.rung is not Rung.FRESH or rdtype in chosen.cold:
        return ()
    said, denies = layout(rdtype, made.rdatas), not made.rdatas
    runs_out, end = int(chosen.runs_out[rdtype] * SECOND), int(chosen.look_at * SECOND)
    found: list[Stage] = []
    if chosen.choice is not None and chosen.choice.left_out:
        longest_s = selection.longest_s
        found.append((min(runs_out - longest_s * SECOND, end), 0, longest_s, NO_ERROR, denies, said, None))
    found.append((end, runs_out, min(made.ttl_s, 1), NO_ERROR, denies, said, None))
    return tuple(found)


def _for_ever(rdtype: int, rdatas: Sequence[bytes], ttl_s: int) -> Stage:
    """Return records that the configuration has."""
    return FOR_EVER, 0, ttl_s, NO_ERROR, not rdatas, layout(rdtype, rdatas), None


def hinfo_stage(ttl_s: int) -> Stage:
    """Return what ANY is answered with (RFC 8482 section 4.2)."""
    return FOR_EVER, 0, ttl_s, NO_ERROR, False, (records.hinfo(ttl_s), 1, 0, 0, 0), None
