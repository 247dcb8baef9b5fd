"""A chain walked in a task, question by question, and what comes of any walk. Nothing of a schedule lives here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve
from twisted.logger import Logger

from flatproxy.errors import ChainBroken, ChainLoop, ChainTooLong, FlatproxyError, UpstreamTimeout
from flatproxy.flatten.guards import in_words, sift
from flatproxy.table.ladder import Resolution

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.flatten.chain import Asker, Chain, Found
    from flatproxy.flatten.fleet.entry import TargetEntry
    from flatproxy.table.target import Target

log = Logger()

_OUTCOMES: dict[type[FlatproxyError], str] = {ChainLoop: "loop", ChainTooLong: "too_long", UpstreamTimeout: "timeout"}


def outcome_of(error: FlatproxyError | None) -> str:
    """Return the word for how a walk ended that found nothing: "loop", "too_long", "timeout" or "broken"."""
    return _OUTCOMES.get(type(error), "broken") if error is not None else "broken"


async def drive(chain: Chain, resolvers: Asker, upstream: Asker, rest: Callable[[], None]) -> Found:
    """Drive a chain to its end, with a `rest` after each answer; raises `ChainError` or `UpstreamTimeout`."""
    while (ask := chain.ask) is not None:
        response = await (upstream if ask.upstream else resolvers).ask(ask.name, chain.rdtype)
        rest()
        chain.receive(response)
        rest()
    if chain.found is None:
        raise ChainBroken("the walk ended nowhere")
    return chain.found


def unexpected(target: Target) -> FlatproxyError:
    """Log the exception that is being handled; return what is said of it."""
    log.failure("resolving {target} went wrong", event="resolve_failed", target=str(target))
    return FlatproxyError("unexpected")


def take_over(target: Target, entry: TargetEntry, offset: float, wall: float) -> bool:
    """Put down what another node has found, as far as the guards let it through; False where that is nothing.

    The entry's clock is `offset` ahead of the monotonic one; `wall` is Unix time.
    """
    rdatas, refused = sift(target.guarding, target.rdtype, entry.rdatas)
    if refused and not rdatas:
        return False
    held, _ = sift(target.guarding, target.rdtype, entry.held)
    entry = evolve(entry, rdatas=rdatas, held=held)
    target.follow(entry.history(offset), entry.belief(offset))
    target.settle(entry.resolution(entry.resolved_at - offset), entry.outcome, wall)
    return True


def take(target: Target, found: Found, now: float, wall: float) -> None:
    """Put down what a walk found, as far as the guards let it through; `now` is monotonic, `wall` Unix time."""
    rdatas, refused = sift(target.guarding, target.rdtype, found.rdatas)
    if refused:
        target.refuse(refused)
    if refused and not rdatas:
        target.fail("refused", f"every address is refused: {in_words(target.rdtype, refused)}", now)
        return
    resolution = Resolution(
        rdatas=target.believe(rdatas, now),
        ttl_s=found.ttl_s,
        names=found.names,
        resolved_at=now,
        left_out=found.left_out,
    )
    target.settle(resolution, found.outcome, wall)
