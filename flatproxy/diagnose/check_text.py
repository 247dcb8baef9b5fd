"""What `check` prints: the findings by section, worst first, those that say the same as one; then every target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatproxy.diagnose.findings import Severity
from flatproxy.diagnose.text import count, some, table, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.diagnose.findings import Finding, Report, TargetReport
    from flatproxy.diagnose.traces import Walk

_SECTIONS = {
    "listen": "Listening",
    "upstream": "Nameservers",
    "access": "Zones",
    "resolver": "Resolvers",
    "flatten": "Flagged names",
    "state": "State",
}
_LABEL = {Severity.ERROR: "ERROR", Severity.WARNING: "warning", Severity.INFO: "info", Severity.OK: "ok"}
_PLACES = 4
_TARGETS = 40
_ADDRESSES = 8
_TEXT_AT = 11


def render(report: Report) -> Iterator[str]:
    """Yield the lines."""
    for section, title in _SECTIONS.items():
        found = [finding for finding in report.findings if finding.key.startswith(section)]
        if found:
            yield title
            for group in _grouped(found):
                yield from _group(group)
            yield ""
    if report.targets:
        yield "Targets"
        yield from _targets(report.targets)
        yield ""
    yield _summary(report)


def _grouped(found: list[Finding]) -> list[list[Finding]]:
    groups: dict[tuple[Severity, str, str], list[Finding]] = {}
    for finding in found:
        groups.setdefault((finding.severity, finding.what, finding.do), []).append(finding)
    return list(groups.values())


def _group(group: list[Finding]) -> Iterator[str]:
    """Yield findings that differ in their place only."""
    first = group[0]
    label = _LABEL[first.severity]
    for finding in group[:_PLACES]:
        yield from wrapped(f"{finding.key}  {finding.value}".rstrip(), f"  {label:7}  ", _TEXT_AT)
        label = ""
    if len(group) > _PLACES:
        yield f"{'':{_TEXT_AT}}and {len(group) - _PLACES} more (--json lists them)"
    yield from wrapped(first.what, " " * (_TEXT_AT + 2), _TEXT_AT + 2)
    if first.do:
        yield from wrapped(first.do, " " * (_TEXT_AT + 2) + "→ ", _TEXT_AT + 4)


def _targets(targets: tuple[TargetReport, ...]) -> Iterator[str]:
    """Yield targets, those without addresses first."""
    ordered = sorted(targets, key=lambda target: any(walk.addresses for walk in target.walks))
    for target in ordered[:_TARGETS]:
        yield from wrapped(f"{target.target}  for {some(target.names, 3)}", "  ", 6)
        yield from table([_walk_row(walk) for walk in target.walks], indent=4)
        yield from _chains(target)
    if len(targets) > _TARGETS:
        yield f"  and {len(targets) - _TARGETS} more (--json lists them)"


def _walk_row(walk: Walk) -> tuple[str, str, str]:
    if walk.found is None:
        return walk.rdtype, "", walk.reason
    ttl = f"TTL {walk.found.ttl_s}"
    if walk.addresses:
        return walk.rdtype, ttl, some(walk.addresses, _ADDRESSES)
    return walk.rdtype, ttl, "NXDOMAIN: no such name" if walk.outcome == "nxdomain" else "no address"


def _chains(target: TargetReport) -> Iterator[str]:
    """Yield the chain of each type, once where they are the same; a target without a CNAME has none to show."""
    chains: dict[tuple[str, ...], list[str]] = {}
    for walk in target.walks:
        names = walk.found.names if walk.found is not None else tuple(hop.name for hop in walk.hops)
        if len(names) > 1:
            chains.setdefault(names, []).append(walk.rdtype)
    for names, types in chains.items():
        which = "" if len(chains) == 1 else f" ({', '.join(types)})"
        yield from wrapped(f"chain{which}: {' → '.join(names)}", "    ", 6)


def _summary(report: Report) -> str:
    severities = [finding.severity for finding in report.findings]
    errors, warnings = severities.count(Severity.ERROR), severities.count(Severity.WARNING)
    if not errors and not warnings:
        return f"{report.file}: fine"
    verdict = (
        "not as it should be"
        if errors
        else "fine, but look at the warnings"
        if warnings > 1
        else "fine, but look at the warning"
    )
    return f"{report.file}: {verdict} ({count(errors, 'error')}, {count(warnings, 'warning')})"
