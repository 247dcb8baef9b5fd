"""Dashboard, alert rules, metrics page and code speak of the same metrics with the same labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from .expressions import METRICS_PAGE, ROOT, RULE_TESTS, RULES, Expression, of_panels, of_rules, of_the_rest
from .observe.fakes import registry_of, sources

if TYPE_CHECKING:
    from collections.abc import Iterator

OF_PROMETHEUS = {"job", "instance"}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",), "info": ("_info",)}


def code() -> dict[str, set[str]]:
    """Give each metric that can be asked for, with its labels, as a busy proxy exposes it."""
    found: dict[str, set[str]] = {}
    for family in registry_of(sources()).collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def families() -> dict[str, set[str]]:
    """Give each family by the name that people use for it: a histogram without its suffixes."""
    names = {}
    for family in registry_of(sources()).collect():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        names[family.name + suffix] = {label for sample in family.samples for label in sample.labels} - {"le"}
    return names


def page() -> Iterator[tuple[str, set[str], str, str]]:
    """Give each row of the page: name, labels, meaning, advice."""
    for line in METRICS_PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"`\w+`", cells[0]):
            yield cells[0].strip("`"), set(re.findall(r"`(\w+)`", cells[1])), cells[2], cells[3]


ALL = [*of_panels(), *of_the_rest(), *of_rules()]


@pytest.mark.parametrize("expression", ALL, ids=lambda expression: expression.where)
def test_what_is_asked_for_exists(expression: Expression) -> None:
    known = code() | {"up": set()}
    for name, labels in expression.metrics().items():
        assert name in known
        assert labels <= known[name] | OF_PROMETHEUS, name


@pytest.mark.parametrize("expression", ALL, ids=lambda expression: expression.where)
def test_labels_that_are_grouped_by_or_shown_exist(expression: Expression) -> None:
    known = code()
    labels = {label for name in expression.metrics() for label in known[name]} | OF_PROMETHEUS
    assert expression.grouped() <= labels
    kept = expression.grouped() - {"le"} if " by (" in expression.text else labels
    assert expression.shown <= kept


def test_the_dashboard_leaves_no_metric_out() -> None:
    asked = {name for expression in of_panels() for name in expression.metrics()}
    shown = {family for family in families() if any(name.startswith(family) for name in asked)}
    assert {family for family in families() if family.startswith("flatproxy_")} <= shown


def test_the_page_has_every_metric_once_and_no_other() -> None:
    names = [name for name, *_ in page()]
    assert len(names) == len(set(names))
    assert {name for name in names if not name.startswith("process_")} == {
        name for name in families() if not name.startswith("process_")
    }
    assert {name for name in families() if name.startswith("process_")} <= set(names)  # none but on Linux


def test_the_page_has_the_labels_of_every_metric() -> None:
    known = families()
    assert {name: labels for name, labels, *_ in page() if name in known} == known


def test_the_page_says_what_each_metric_means_and_what_to_do() -> None:
    for name, _labels, meaning, advice in page():
        assert meaning, name
        assert advice or not name.startswith("flatproxy_"), name


def test_the_page_speaks_of_no_metric_that_is_not_there() -> None:
    said = set(re.findall(r"\bflatproxy_\w+", METRICS_PAGE.read_text()))
    assert said <= families().keys()


def test_the_page_has_every_event_of_the_log_and_no_other() -> None:
    code = "\n".join(file.read_text() for file in (ROOT / "flatproxy").rglob("*.py"))
    table = METRICS_PAGE.read_text().split("| Event |", 1)[1]
    first_cells = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    said = set(re.findall(r"`(\w+)`", first_cells))
    assert said == set(re.findall(r'\bevent="(\w+)"', code))


def test_every_alert_says_what_to_do_and_is_tested_both_ways() -> None:
    alerts = re.split(r"\n +- alert: ", RULES.read_text())[1:]
    assert alerts
    tests = "".join(each.read_text() for each in RULE_TESTS)
    for alert in alerts:
        name = alert.split("\n", 1)[0]
        for key in ("summary", "description", "severity"):
            assert re.search(rf"^ +{key}: ", alert, re.MULTILINE), (name, key)
        cases = re.findall(rf"alertname: {name}\n +exp_alerts:(.*)", tests)
        assert " []" in cases, f"{name} is never expected to be silent"
        assert "" in cases, f"{name} is never expected to fire"


def test_names_follow_the_conventions() -> None:
    for family in registry_of(sources()).collect():
        if not family.name.startswith("flatproxy_"):
            continue
        assert family.documentation.endswith("."), family.name
        assert not re.search(r"_(counter|gauge|histogram|ms|milliseconds|minutes|percent)(_|$)", family.name)
        for sample in family.samples:
            assert sample.name.removeprefix(family.name) in SUFFIXES[family.type], sample.name
