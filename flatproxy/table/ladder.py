"""The failure ladder: which answer to give for what was last resolved, by a rule and the time alone (RFC 8767)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from attrs import frozen

from flatproxy.wire import types

if TYPE_CHECKING:
    from flatproxy.config.rules import Rule

MIN_FRESH_S = 2.0
"""Even a TTL of 0 is answered for this long from one resolution; the next one begins well before."""


class Rung(IntEnum):
    """Where an answer comes from, best first."""

    PINNED = 0
    """Addresses that the configuration has in place of the target's. Other types have none, so NODATA."""
    FRESH = 1
    HELD = 2
    """The target's last addresses, after it was found to have none."""
    STALE = 3
    FALLBACK = 4
    """The addresses of `fallback`. SVCB and HTTPS have none, so NODATA: their failure must not cost the site."""
    UPSTREAM = 5
    """The nameserver's own answer."""


@frozen(kw_only=True)
class Resolution:
    """What a target was last found to be. `resolved_at` is in monotonic seconds, `ttl_s` the chain's least TTL.

    `left_out` records were too many to be answered.
    """

    rdatas: tuple[bytes, ...]
    ttl_s: int
    names: tuple[str, ...]
    resolved_at: float
    left_out: int = 0


class Held(NamedTuple):
    """Addresses to answer in place of none, until then (monotonic seconds)."""

    rdatas: tuple[bytes, ...]
    until: float


@frozen
class Step:
    """The answer now. `ttl_s` is to be sent; it holds until `until` (monotonic seconds) at most."""

    rung: Rung
    rdatas: tuple[bytes, ...]
    ttl_s: int
    until: float


def lifetime_s(ttl_s: int, rule: Rule) -> int:
    """Return for how long a resolution with this TTL is fresh."""
    return max(min(ttl_s, rule.max_ttl_s), rule.min_ttl_s)


def fresh_until(resolution: Resolution, rule: Rule) -> float:
    """Return when the resolution stops being fresh."""
    return resolution.resolved_at + max(lifetime_s(resolution.ttl_s, rule), MIN_FRESH_S)


def stale_until(resolution: Resolution, rule: Rule) -> float:
    """Return when the resolution stops being of any use."""
    return fresh_until(resolution, rule) + rule.stale_for_s


def rung_at(
    resolution: Resolution | None, rule: Rule, rdtype: int, now: float, held: Held | None = None
) -> tuple[Rung, float]:
    """Return the rung at `now`, and until when (monotonic seconds) it is that one if nothing is resolved meanwhile.

    SVCB and HTTPS never come from the nameserver: its records say where its placeholder is, not the target
    (RFC 9460 section 3.1 has clients go on without).
    """
    if rule.pin:
        return Rung.PINNED, float("inf")
    if held is not None and now < held.until:
        return Rung.HELD, held.until
    if resolution is not None:
        expiry = fresh_until(resolution, rule)
        if now < expiry:
            return Rung.FRESH, expiry
        gone = expiry + rule.stale_for_s
        if now < gone:
            return Rung.STALE, gone
    has_last = rule.fallback or types.is_service(rdtype)
    return (Rung.FALLBACK if has_last else Rung.UPSTREAM), float("inf")


def step(resolution: Resolution | None, rule: Rule, rdtype: int, now: float, held: Held | None = None) -> Step:
    """Return the rung and its answer at `now`. The TTL never exceeds the chain's and never grows with time."""
    rung, until = rung_at(resolution, rule, rdtype, now, held)
    if rung is Rung.PINNED:
        return Step(rung, types.address_rdatas(rdtype, rule.pin), rule.stale_ttl_s, until)
    if rung is Rung.HELD and held is not None:
        return Step(rung, held.rdatas, rule.stale_ttl_s, until)
    if resolution is None or rung >= Rung.FALLBACK:
        # A type that the fallback lacks is NODATA: half of the old answer and half of the new would mislead.
        rdatas = types.address_rdatas(rdtype, rule.fallback)
        return Step(rung, rdatas, rule.stale_ttl_s if rung is Rung.FALLBACK else 0, until)
    if rung is Rung.STALE:
        return Step(rung, resolution.rdatas, rule.stale_ttl_s, until)
    lifetime = lifetime_s(resolution.ttl_s, rule)
    left = resolution.resolved_at + lifetime - now
    # A set that may be cached at all is not sent with TTL 0 in its last second.
    ttl_s = max(int(left), min(lifetime, 1))
    return Step(rung, resolution.rdatas, ttl_s, min(until, now + max(left - ttl_s, 0.001)))
