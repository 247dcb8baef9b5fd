"""The outcome of each numbered requirement: a line each at the end of a run, and a JSON file with `--report`.

A requirement is what follows `test_` in the name of a test function or of a class: `test_001_ordinary_grid`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import asdict, define, field

if TYPE_CHECKING:
    import pytest

_NUMBERED = re.compile(r"test_(\d{3})_(\w+)", re.IGNORECASE)
_WORST_LAST = ("n/a", "pass", "FAIL")


@define
class Line:
    """One requirement's outcome: `n/a` (not applicable to this subject), `pass` or `FAIL`; the worst part counts."""

    number: int
    level: str
    title: str
    outcome: str = "n/a"
    seconds: float = 0.0
    reasons: list[str] = field(factory=list)

    def take(self, outcome: str, reason: str) -> None:
        self.outcome = max(self.outcome, outcome, key=_WORST_LAST.index)
        if reason and reason not in self.reasons:
            self.reasons.append(reason)


class Scorecard:
    """A pytest plugin that keeps the score."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._lines: dict[int, Line] = {}
        self._by_node: dict[str, Line] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            found = _NUMBERED.search(item.nodeid)
            if not found:
                continue
            number = int(found[1])
            level = "SHOULD" if item.get_closest_marker("should") else "MUST"
            title = found[2].replace("_", " ")
            self._by_node[item.nodeid] = self._lines.setdefault(number, Line(number, level, title))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        line = self._by_node.get(report.nodeid)
        if line is None:
            return
        line.seconds += report.duration
        if report.failed:
            line.take("FAIL", _short(report))
        elif report.skipped:
            line.take("n/a", _short(report))
        elif report.when == "call":
            line.take("pass", "")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._lines:
            return
        write = terminalreporter.write_line
        terminalreporter.section(f"requirements: {self._config.getoption('--subject')}")
        for line in sorted(self._lines.values(), key=lambda line: line.number):
            reason = f"  ({line.reasons[0][:120]})" if line.reasons else ""
            write(f"{line.number:>3} {line.level:<6} {line.outcome:<4}  {line.title}{reason}")
        write(_summary([*self._lines.values()]))
        target = self._config.getoption("--report")
        if target:
            lines = [asdict(line) for _, line in sorted(self._lines.items())]
            report = {"subject": self._config.getoption("--subject"), "requirements": lines}
            Path(target).write_text(json.dumps(report, indent=1) + "\n")


def _summary(lines: list[Line]) -> str:
    counts = Counter(line.outcome for line in lines)
    failed = Counter(line.level for line in lines if line.outcome == "FAIL")
    named = f" ({failed['MUST']} MUST, {failed['SHOULD']} SHOULD)" if failed else ""
    return f"{len(lines)} requirements: {counts['pass']} pass, {counts['FAIL']} FAIL{named}, {counts['n/a']} n/a"


def _short(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return (crash.message if crash else str(report.longrepr)).strip().split("\n")[0]
