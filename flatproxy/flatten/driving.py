"""A chain walked in a task, question by question, and what comes of any walk. Nothing of a schedule lives here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from flatproxy.errors import ChainBroken, ChainLoop, ChainTooLong, FlatproxyError, UpstreamTimeout
from flatproxy.table.ladder import Resolution

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.flatten.chain import Asker, Chain, Found
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


def resolution_of(found: Found, now: float) -> Resolution:
    """Return what a walk found, as of `now` (monotonic seconds)."""
    return Resolution(
        rdatas=found.rdatas, ttl_s=found.ttl_s, names=found.names, resolved_at=now, left_out=found.left_out
    )
