"""What can be wrong with one table of a flagged name, or of `[defaults]`, that no single key shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatproxy.config.addresses import address
from flatproxy.config.problems import Refusal, problem, quoted
from flatproxy.config.tables import RULE
from flatproxy.wire import types

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flatproxy.config.rules import Rule
    from flatproxy.errors import Problem

ANY_TARGET = {"target": "example.com"}
"""What stands in for a target where there is none."""

_NEUTRAL: dict[str, object] = {"types": [*types.TEXTS], "min_ttl": "0s", "max_ttl": "7d"}


def without_wrong(table: Mapping[str, object]) -> dict[str, object]:
    """Return the keys that are right by themselves; one that clashes with nothing stands in for one that is wrong."""
    right: dict[str, object] = {}
    for key, value in table.items():
        if RULE.read({**ANY_TARGET, key: value}, "", []) is not None:
            right[key] = value
        elif key in _NEUTRAL:
            right[key] = _NEUTRAL[key]
    return right


def ttl_clashes(rule: Rule, table: Mapping[str, object], path: str) -> Iterator[Problem]:
    """Yield what is wrong with min_ttl above max_ttl, at a key of this table; what [defaults] causes is said there."""
    if rule.min_ttl_s <= rule.max_ttl_s:
        return
    if "min_ttl" in table:
        refusal = Refusal(f"more than max_ttl, which is {rule.max_ttl_s}s", quoted(f"{rule.max_ttl_s}s"))
        yield problem(f"{path}.min_ttl", table["min_ttl"], refusal)
    elif "max_ttl" in table:
        refusal = Refusal(f"less than min_ttl, which is {rule.min_ttl_s}s", quoted(f"{rule.min_ttl_s}s"))
        yield problem(f"{path}.max_ttl", table["max_ttl"], refusal)


def sync_clashes(rule: Rule, table: Mapping[str, object], path: str) -> Iterator[Problem]:
    """Yield what is wrong with `sync` at a name that is flattened for no address."""
    if rule.sync and "sync" in table and not any(types.has_addresses(types.number_of(text)) for text in rule.types):
        refusal = Refusal("only A and AAAA records are kept in step, and types has neither", "sync = false")
        yield problem(f"{path}.sync", table["sync"], refusal)


def address_clashes(rule: Rule, table: Mapping[str, object], path: str) -> Iterator[Problem]:
    """Yield the addresses of fallback and pin that would never be answered, and those of fallback outside allow."""
    for key in ("fallback", "pin"):
        items = table.get(key)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            try:
                own = address(item)
            except Refusal:
                continue
            refusal = None
            if (text := types.text_of_address(own.version)) not in rule.types:
                reason = f"an IPv{own.version} address, but types has no {quoted(text)}"
                refusal = Refusal(reason, 'types = ["A", "AAAA"], or leave the address out')
            elif key == "fallback" and rule.allow and not any(own in network for network in rule.allow):
                write = f"an address inside, or {quoted(str(own))} in allow as well"
                refusal = Refusal("outside the networks of allow", write)
            if refusal is not None:
                yield problem(f"{path}.{key}[{index}]", item, refusal)
    # A view has its name's fallback, and may have an allow of its own.
    if "allow" in table and "fallback" not in table:
        for own in rule.fallback:
            if rule.allow and not any(own in network for network in rule.allow):
                write = f"{quoted(str(own))} here as well, or a fallback with addresses inside"
                yield problem(f"{path}.allow", table["allow"], Refusal(f"fallback has {own}, which is outside", write))
