"""What `check` has to say: findings, each with what to do about it, and how every target resolved. Values only."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from flatproxy.diagnose.traces import Walk


class Severity(IntEnum):
    """How bad it is, worst first. Only an error makes `check` fail."""

    ERROR = 0
    WARNING = 1
    INFO = 2
    OK = 3


@frozen(kw_only=True)
class Finding:
    """One thing found. `key` is a key path of the configuration, `value` what stands or is found there.

    `what` and `do` name neither, so that findings that differ only in their place can be told as one.
    """

    severity: Severity
    key: str
    value: str = ""
    what: str
    do: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as JSON has it."""
        return {
            "severity": self.severity.name.lower(),
            "key": self.key,
            "value": self.value,
            "what": self.what,
            "do": self.do,
        }


def error(key: str, value: str, what: str, do: str) -> Finding:
    """Return an error."""
    return Finding(severity=Severity.ERROR, key=key, value=value, what=what, do=do)


def warning(key: str, value: str, what: str, do: str) -> Finding:
    """Return a warning."""
    return Finding(severity=Severity.WARNING, key=key, value=value, what=what, do=do)


def info(key: str, value: str, what: str, do: str = "") -> Finding:
    """Return something that is worth knowing."""
    return Finding(severity=Severity.INFO, key=key, value=value, what=what, do=do)


def fine(key: str, value: str, what: str) -> Finding:
    """Return what is as it should be."""
    return Finding(severity=Severity.OK, key=key, value=value, what=what)


@frozen(kw_only=True)
class TargetReport:
    """One target: the flagged names that have it (text form), and its walk for each type that they are flagged for."""

    target: str
    names: tuple[str, ...]
    walks: tuple[Walk, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "target": self.target,
            "names": list(self.names),
            "types": {walk.rdtype: walk.as_json() for walk in self.walks},
        }


@frozen(kw_only=True)
class Report:
    """All that `check` found."""

    file: str
    findings: tuple[Finding, ...]
    targets: tuple[TargetReport, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no error among the findings."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "ok": self.ok,
            "findings": [finding.as_json() for finding in self.findings],
            "targets": [target.as_json() for target in self.targets],
        }
