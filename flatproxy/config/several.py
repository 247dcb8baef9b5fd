"""One target or several: `target`, `targets` and `use` of a flagged name, or of a view of it, brought together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from flatproxy.config import names
from flatproxy.config.clashes import ANY_TARGET
from flatproxy.config.health import read_health
from flatproxy.config.problems import Refusal, join, problem, toml_text
from flatproxy.wire import types

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flatproxy.config.rules import Rule
    from flatproxy.errors import Problem

HEALTH_TABLE = "health"
"""The table under a flagged name, or a view of it, that says how addresses are checked."""


def over(below: Mapping[str, object], table: Mapping[str, object]) -> dict[str, object]:
    """Return the keys of a table over those that it inherits, ready to be read: `target` is there wherever one is."""
    keys = {**below, **table}
    if "target" in table:
        keys = {key: value for key, value in keys.items() if key not in ("targets", "use") or key in table}
    elif "targets" in keys:
        keys |= ANY_TARGET
    return keys


def with_all_targets(rule: Rule) -> Rule:
    """Return a rule as it was read with its first target as `target`."""
    if not rule.targets:
        return rule
    several = len(rule.targets) > 1
    use = rule.use if several else "first"
    return evolve(rule, target=rule.targets[0], targets=rule.targets if several else (), use=use)


def with_health(rule: Rule, table: Mapping[str, object], name: str, path: str, problems: list[Problem]) -> Rule:
    """Return a rule with what its table, if it has one, says of health; what is wrong is added to `problems`."""
    if HEALTH_TABLE not in table:
        return rule
    health = read_health(table[HEALTH_TABLE], name.rstrip(".").lower(), f"{path}.{HEALTH_TABLE}", problems)
    return evolve(rule, health=health)


def choice_clashes(rule: Rule, table: Mapping[str, object], path: str) -> Iterator[Problem]:
    """Yield what contradicts itself in `target`, `targets`, `use`, `types`, `health` and `client_subnet`."""
    if "target" in table and "targets" in table:
        refusal = Refusal("targets stand there, too", f"targets = {toml_text(table['targets'])} alone, or target alone")
        yield problem(f"{path}.target", table["target"], refusal)
    if "use" in table and "targets" not in table and not rule.targets:
        write = 'targets = ["lb-eu.example.net", "lb-us.example.net"], or leave the line out'
        yield problem(f"{path}.use", table["use"], Refusal("it says which of several targets, and there is one", write))
    if rule.needs_choice and rule.client_subnet != "off" and "client_subnet" in table:
        refusal = Refusal("networks get the addresses of one target, unchecked", '"off", or one target without health')
        yield problem(f"{path}.client_subnet", table["client_subnet"], refusal)
    if rule.needs_choice and not rule.types & {types.text_of(number) for number in types.OF_ADDRESSES}:
        what = "what is answered is chosen by addresses, and types has neither A nor AAAA"
        refusal = Refusal(what, 'types = ["A", "AAAA", "HTTPS"]')
        key = next((key for key in (HEALTH_TABLE, "targets", "types") if key in table), None)
        if key is not None:
            yield problem(f"{path}.{key}", table[key], refusal)


def rules_under(path: str, rule: Rule | None) -> Iterator[tuple[str, Rule]]:
    """Yield the rule of a name, if there is one, and those of its views, each with its path."""
    if rule is not None:
        yield path, rule
        yield from ((join(f"{path}.views", view), each) for view, each in rule.views if each is not None)


def own_target(table: object) -> bytes | None:
    """Return the target in a table that is wrong otherwise."""
    try:
        return names.target(table.get("target")) if isinstance(table, dict) else None
    except Refusal:
        return None
