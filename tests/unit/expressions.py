"""The PromQL of the dashboard and of the alert rules, and what it says of metrics and labels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
DASHBOARD: Final = ROOT / "grafana" / "flatproxy.json"
RULES: Final = ROOT / "config" / "prometheus" / "alerts.yml"
RULE_TESTS: Final = tuple(ROOT / "config" / "prometheus" / name for name in ("alerts_test.yml", "alerts_day_test.yml"))
SCRAPE: Final = ROOT / "config" / "prometheus" / "scrape.yml"
METRICS_PAGE: Final = ROOT / "docs" / "metrics.md"

_METRIC: Final = re.compile(r"\b((?:flatproxy|process|python)_[a-z0-9_]+)\b(?:\{([^}]*)\})?")
_GROUPING: Final = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_MATCHER: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


@frozen
class Expression:
    """One query: where it stands, its PromQL, and the label names that its legend or annotations use."""

    where: str
    text: str
    shown: frozenset[str]

    def metrics(self) -> dict[str, set[str]]:
        """Give each metric with the labels that its selector matches on."""
        found: dict[str, set[str]] = {}
        for name, matchers in _METRIC.findall(self.text):
            found.setdefault(name, set()).update(_MATCHER.findall(matchers))
        return found

    def grouped(self) -> set[str]:
        """Give the labels named in by, on and their like."""
        return {label.strip() for labels in _GROUPING.findall(self.text) for label in labels.split(",")}


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return read


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def _legend(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\{\{\s*(\w+)\s*\}\}", text))


def of_panels() -> Iterator[Expression]:
    for panel in panels():
        for target in panel["targets"]:
            yield Expression(f"{panel['title']} {target['refId']}", target["expr"], _legend(target["legendFormat"]))


def of_the_rest() -> Iterator[Expression]:
    """Annotations and template variables."""
    for annotation in dashboard()["annotations"]["list"]:
        if "expr" in annotation:
            yield Expression(annotation["name"], annotation["expr"], _legend(annotation["titleFormat"]))
    for variable in dashboard()["templating"]["list"]:
        called = re.fullmatch(
            r"label_values\((.*), (\w+)\)",
            str(variable["query"].get("query", "")) if variable["type"] == "query" else "",
        )
        if called:
            yield Expression(variable["name"], called[1], frozenset({called[2]}))


def of_rules() -> Iterator[Expression]:
    """Each alert of the rules file, which is regular enough to be read by its lines."""
    for rule in re.split(r"\n +- alert: ", RULES.read_text())[1:]:
        name, rest = rule.split("\n", 1)
        expr = re.search(r"^ +expr: (.*)$", rest, re.MULTILINE)
        assert expr is not None, name
        yield Expression(name, expr[1], frozenset(re.findall(r"\$labels\.(\w+)", rest)))
