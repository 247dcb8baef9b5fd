"""What probes need, made while settings are prepared: of the optional parts only what these settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flatproxy.config.problems import join
from flatproxy.config.several import rules_under
from flatproxy.errors import ConfigError, Problem
from flatproxy.wire import names

if TYPE_CHECKING:
    from flatproxy.config.settings import Check, Rules
    from flatproxy.flatten.health.http import Trust
    from flatproxy.flatten.health.probes import Prober


def checks_of(rules: Rules) -> dict[Check, str]:
    """Return the checks of all rules, each with the path of a table that has it."""
    found: dict[Check, str] = {}
    for group in rules.groups:
        path = join("flatten", names.to_text(group.first))
        for place, rule in rules_under(path, group.rule):
            if rule.health is not None:
                found.setdefault(rule.health.check, f"{place}.health")
    return found


def prober_for(rules: Rules, reactor: Any) -> Prober | None:  # noqa: ANN401 - many interfaces
    """Return what makes the probes of these rules, None where there are none; `ConfigError` where that cannot be."""
    checks = checks_of(rules)
    if not checks:
        return None
    from flatproxy.flatten.health.probes import Prober  # noqa: PLC0415 - an HTTP client, only where it is needed

    return Prober(reactor, _trust(checks) if any(check.kind == "https" for check in checks) else None)


def _trust(checks: dict[Check, str]) -> Trust:
    try:
        from flatproxy.flatten.health.tls import Certificates  # noqa: PLC0415 - an extra
    except ImportError as error:
        place = next(place for check, place in checks.items() if check.kind == "https")
        reason = f"checks by https need a package that is not installed: {error.name}"
        write = "the same, after: pip install 'flatproxy[tls]'"
        problem = Problem(key=f"{place}.check", value='"https"', reason=reason, write=write)
        raise ConfigError(problems=(problem,)) from None
    return Certificates.load(checks)
