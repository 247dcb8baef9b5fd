"""A chain walked in a task, question by question, and the word for how it ended. Nothing of a schedule lives here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatproxy.errors import ChainBroken, ChainLoop, ChainTooLong, FlatproxyError, UpstreamTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.flatten.chain import Asker, Chain, Found

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
