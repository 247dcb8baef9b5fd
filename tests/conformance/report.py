"""Turn the JSON of two or more runs into the page that compares them.

    python tests/conformance/report.py flatproxy.json dnsdist.json > docs/conformance.md

`exceptions.toml` beside this file says why a requirement is deliberately not met: `[flatproxy] 11 = "the reason"`.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

_EXCEPTIONS = Path(__file__).with_name("exceptions.toml")
_HEAD = """# Conformance

Each line is one numbered requirement, tested from outside against the running process (`make conformance`).
MUST and SHOULD are the requirement's level; `n/a` means that the subject has no such part.
"""


def page(reports: list[dict[str, object]], exceptions: dict[str, dict[str, str]]) -> str:
    """Return the Markdown page for the reports, one column each."""
    subjects = [str(report["subject"]) for report in reports]
    by_subject = [_by_number(report) for report in reports]
    numbers = sorted(set().union(*by_subject))
    rows, reasons = [], []
    for number in numbers:
        lines = [found.get(number) for found in by_subject]
        first = next(line for line in lines if line is not None)
        cells = []
        for subject, line in zip(subjects, lines, strict=True):
            why = exceptions.get(subject, {}).get(str(number))
            outcome = "not run" if line is None else str(line["outcome"]).lower()
            if outcome == "fail" and why:
                outcome = "by design"
                reasons.append(f"- {number}, {subject}: {why}")
            cells.append(f"**{outcome}**" if outcome == "fail" else outcome)
        rows.append(f"| {number} | {first['level']} | {first['title']} | {' | '.join(cells)} |")
    table = [
        f"| # | level | requirement | {' | '.join(subjects)} |",
        "| ---: " + "| --- " * (2 + len(subjects)) + "|",
    ]
    totals = [f"- {subject}: {_total(found)}" for subject, found in zip(subjects, by_subject, strict=True)]
    parts = [_HEAD, *totals, "", *table, *rows]
    if reasons:
        parts += ["", "## Deliberate exceptions", "", *reasons]
    return "\n".join(parts) + "\n"


def _by_number(report: dict[str, object]) -> dict[int, dict[str, object]]:
    lines = report["requirements"]
    assert isinstance(lines, list)
    return {int(line["number"]): line for line in lines}


def _total(found: dict[int, dict[str, object]]) -> str:
    outcomes = [str(line["outcome"]).lower() for line in found.values()]
    return ", ".join(f"{outcomes.count(kind)} {kind}" for kind in ("pass", "fail", "n/a"))


def main(paths: list[str]) -> None:
    exceptions = tomllib.loads(_EXCEPTIONS.read_text()) if _EXCEPTIONS.exists() else {}
    sys.stdout.write(page([json.loads(Path(path).read_text()) for path in paths], exceptions))


if __name__ == "__main__":
    main(sys.argv[1:])
