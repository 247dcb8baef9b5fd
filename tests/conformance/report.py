"""Turn the JSON of two or more runs into the page that compares them.

    python tests/conformance/report.py flatproxy.json dnsdist.json > docs/conformance.md

`notes.toml` beside this file holds what people have to say about outcomes: `[not_its_job]` the numbers that do not
apply to a subject, `[exceptions.SUBJECT]` why a requirement is deliberately not met, `[failures.SUBJECT]` what a
failure means. A note about an outcome that is not there is left out of the page, a failure without a note is told so.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

_NOTES = Path(__file__).with_name("notes.toml")
_KINDS = ("pass", "fail", "by design", "not its job", "n/a", "not run")
_HEAD = """# Conformance

What a DNS proxy is held to by the RFCs, and by what has gone wrong with proxies before, as numbered requirements. Each
is tested from outside: the suite starts the real process in front of a real nameserver (NSD, Knot, BIND) or a scripted
one, all on loopback, sends it packets and judges what comes back, what reaches the nameserver, and what the process
uses meanwhile. The same tests run against dnsdist, another proxy, to tell a hard requirement from a wrong test.

    make conformance                                                       # flatproxy
    .venv/bin/python -m pytest tests/conformance --subject dnsdist         # the other column
    .venv/bin/python tests/conformance/report.py flatproxy.json dnsdist.json   # this page, of two `--report FILE`s

Seen with {versions}.

A requirement passes where every test that bears its number does; most of them compare with the nameserver's own answer,
octet for octet. MUST and SHOULD are the requirement's level. `n/a`: the subject has no such part, or the test has no
way to bring it about. `not its job`: the requirement is about flattening, which dnsdist does not do; where it was run,
a rule that answers with fixed addresses stood in for it. Each column is one run on two shared processor cores, which
matters to what depends on time.
"""


def page(reports: list[dict[str, Any]], notes: dict[str, Any]) -> str:
    """Return the Markdown page for the reports, one column each."""
    subjects = [str(report["subject"]) for report in reports]
    by_subject = [{int(line["number"]): line for line in report["requirements"]} for report in reports]
    outcomes: list[dict[int, str]] = [{} for _ in reports]
    rows = []
    for number in sorted(set().union(*by_subject)):
        for subject, found, out in zip(subjects, by_subject, outcomes, strict=True):
            out[number] = _outcome(subject, number, found.get(number), notes)
        first = next(found[number] for found in by_subject if number in found)
        cells = " | ".join(f"**{out[number]}**" if out[number] == "fail" else out[number] for out in outcomes)
        rows.append(f"| {number} | {first['level']} | {first['title']} | {cells} |")
    totals = [f"- {subject}: {_total(out)}" for subject, out in zip(subjects, outcomes, strict=True)]
    table = [
        f"| # | level | requirement | {' | '.join(subjects)} |",
        "| ---: " + "| --- " * (2 + len(subjects)) + "|",
    ]
    parts = [_HEAD.format(versions=notes["versions"]), *totals, "", *table, *rows]
    for subject, out in zip(subjects, outcomes, strict=True):
        parts += _remarks(subject, out, notes)
    for subject, found, out in zip(subjects, by_subject, outcomes, strict=True):
        left_out = [f"- {number}: {'; '.join(found[number]['reasons'])}." for number in out if out[number] == "n/a"]
        parts += ["", f"## {subject}: not applicable", "", *left_out] if left_out else []
    return "\n".join(parts) + "\n"


def _outcome(subject: str, number: int, line: dict[str, Any] | None, notes: dict[str, Any]) -> str:
    if number in notes.get("not_its_job", {}).get(subject, []):
        return "not its job"
    if line is None:
        return "not run"
    outcome = str(line["outcome"]).lower()
    excused = str(number) in notes.get("exceptions", {}).get(subject, {})
    return "by design" if outcome == "fail" and excused else outcome


def _total(outcomes: dict[int, str]) -> str:
    found = [*outcomes.values()]
    return ", ".join(f"{found.count(kind)} {kind}" for kind in _KINDS if kind in found)


def _remarks(subject: str, outcomes: dict[int, str], notes: dict[str, Any]) -> list[str]:
    """Return a list for each kind of outcome that wants explaining."""
    why = {key: notes.get(key, {}).get(subject, {}) for key in ("failures", "exceptions")}
    failed = [number for number, outcome in outcomes.items() if outcome == "fail"]
    meant = [number for number, outcome in outcomes.items() if outcome == "by design"]
    out = ["", f"## {subject}: failures", ""]
    out += [f"- {number}: {why['failures'].get(str(number), 'not looked into.')}" for number in failed] or ["None."]
    out += ["", f"## {subject}: requirements that it deliberately does not meet", ""] if subject == "flatproxy" else []
    if subject == "flatproxy":
        out += [f"- {number}: {why['exceptions'][str(number)]}" for number in meant] or ["None."]
    return out


def main(paths: list[str]) -> None:
    reports = [json.loads(Path(path).read_text()) for path in paths]
    sys.stdout.write(page(reports, tomllib.loads(_NOTES.read_text())))


if __name__ == "__main__":
    main(sys.argv[1:])
