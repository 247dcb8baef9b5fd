"""What probes need, made while settings are prepared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatproxy.config.problems import join
from flatproxy.config.several import rules_under
from flatproxy.wire import names

if TYPE_CHECKING:
    from flatproxy.config.rules import Check, Rules
    from flatproxy.flatten.health.probes import Prober


def checks_of(rules: Rules) -> dict[Check, str]:
    """Return the checks of all rules, each with the path of a table that has it."""
    found: dict[Check, str] = {}
    for group in rules.groups:
        for place, rule in rules_under("", group.rule):
            if rule.health is not None:
                path = join("flatten", names.to_text(group.first))  # seldom: a name's text takes a while
                found.setdefault(rule.health.check, f"{path}{place}.health")
    return found


def prober_for(rules: Rules) -> Prober | None:
    """Return what makes the probes of these rules, None where there are none; `ConfigError` where that cannot be."""
    checks = checks_of(rules)
    if not checks:
        return None
    from flatproxy.flatten.health.probes import Prober  # noqa: PLC0415 - an HTTP client, only where it is needed
    from flatproxy.flatten.health.tls import contexts_for  # noqa: PLC0415 - likewise

    return Prober(contexts_for(checks))
