"""What probes need, made while settings are prepared: of the optional parts only what these settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flatproxy.config.problems import join
from flatproxy.errors import ConfigError, Problem
from flatproxy.wire import names

if TYPE_CHECKING:
    from flatproxy.config.settings import Check, Rules
    from flatproxy.flatten.health.http import Trust
    from flatproxy.flatten.health.probes import Prober


def checks_of(rules: Rules) -> dict[Check, bytes]:
    """Return the checks of all rules, each with the first name that has it."""
    found: dict[Check, bytes] = {}
    for group in rules.groups:
        for rule in (group.rule, *(each for _view, each in group.rule.views if each is not None)):
            if rule.health is not None:
                found.setdefault(rule.health.check, group.first)
    return found


def prober_for(rules: Rules, reactor: Any) -> Prober | None:  # noqa: ANN401 - many interfaces
    """Return what makes the probes of these rules, None where there are none; `ConfigError` where that cannot be."""
    checks = checks_of(rules)
    if not checks:
        return None
    from flatproxy.flatten.health.probes import Prober  # noqa: PLC0415 - an HTTP client, only where it is needed

    return Prober(reactor, _trust(checks) if any(check.kind == "https" for check in checks) else None)


def _trust(checks: dict[Check, bytes]) -> Trust:
    try:
        from flatproxy.flatten.health.tls import Certificates  # noqa: PLC0415 - an extra
    except ImportError as error:
        name = next(name for check, name in checks.items() if check.kind == "https")
        place = f"{join('flatten', names.to_text(name))}.health.check"
        reason = f"checks by https need packages that are not installed: {error.name}"
        write = "the same, after: pip install 'flatproxy[tls]'"
        raise ConfigError(problems=(Problem(key=place, reason=reason, write=write),)) from None
    return Certificates.load(checks)
