"""Prometheus' own tool judges the rules, the scrape example, the metrics and the queries of the dashboard."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from prometheus_client.parser import text_string_to_metric_families

from tests.support.child import program, run
from tests.unit.expressions import RULE_TESTS, RULES, SCRAPE, of_panels, of_the_rest
from tests.unit.observe.fakes import FakeServer, FakeStatus, names_of, scrape, sources

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flatproxy.observe.sources import Sources

FOLDER = RULES.parent
MONOTONIC = ("_total", "_bucket", "_sum", "_count")


@pytest.fixture(autouse=True)
def _promtool() -> None:
    program("promtool")


def busy() -> Sources:
    """Give a proxy in which every panel of the dashboard has something to show, bad things too."""
    names = (FakeStatus(), FakeStatus(name='odd"na\\\\me\\032.example.com', rung="stale"))
    return evolve(sources(), **names_of(*names), servers=lambda: [FakeServer(up=False)])


def concrete(expression: str) -> str:
    """Give what Grafana would send: every variable at All, the intervals as on a screen of some hours."""
    for variable in ("$job", "$instance", "$name"):
        expression = expression.replace(variable, ".*")
    return expression.replace("$__rate_interval", "1m")


def test_rules() -> None:
    run(["promtool", "check", "rules", "--lint=all", "--lint-fatal", str(RULES)])


def test_scrape_example() -> None:
    run(["promtool", "check", "config", "--lint=all", "--lint-fatal", str(SCRAPE)])


def test_rules_do_what_their_tests_say() -> None:
    run(["promtool", "test", "rules", *(each.name for each in RULE_TESTS)], folder=FOLDER)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("flatproxy_rung == 1", "flatproxy_rung == 2"),
        ("for: 5m", "for: 15m"),
        ("flatproxy_upstream_up == 0", "flatproxy_upstream_up == 1"),
        ("min by (job, instance, name)", "max by (job, instance, name)"),
        ("_total[15m]", "_total[1h]"),
        ("severity: critical", "severity: warning"),
    ],
)
def test_rules_that_are_wrong_do_not_pass(tmp_path: Path, right: str, wrong: str) -> None:
    rules = RULES.read_text()
    assert right in rules
    (tmp_path / RULES.name).write_text(rules.replace(right, wrong))
    for tests in RULE_TESTS:
        shutil.copy(tests, tmp_path)
    said = run(["promtool", "test", "rules", *(each.name for each in RULE_TESTS)], folder=tmp_path, check=False)
    assert "FAILED" in said


def test_a_scrape_is_well_formed_and_well_named() -> None:
    said = run(["promtool", "check", "metrics"], stdin=scrape(busy()).decode(), check=False)
    complaints = [line for line in said.splitlines() if line.startswith("flatproxy_")]
    assert not complaints
    assert "error" not in said.lower()


def quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def series(read: Sources) -> list[dict[str, str]]:
    """Give a scrape as promtool wants its input: counters that climb, everything else as it is."""
    inputs = []
    for family in text_string_to_metric_families(scrape(read).decode()):
        for sample in family.samples:
            labels = {**sample.labels, "job": "flatproxy", "instance": "192.0.2.1:9353"}
            selector = ", ".join(f"{name}={quoted(value)}" for name, value in labels.items())
            climbs = sample.name.endswith(MONOTONIC) and sample.value > 0
            values = f"0+{sample.value}x40" if climbs else f"{sample.value}x40"
            inputs.append({"series": f"{sample.name}{{{selector}}}", "values": values})
    return inputs


def evaluated(folder: Path, expressions: Iterable[str]) -> str:
    """Have each expression evaluated on a busy scrape; one that gives nothing is a failure. Return promtool's words."""
    test: dict[str, Any] = {
        "interval": "15s",
        "input_series": series(busy()),
        "promql_expr_test": [
            {"expr": f"count({text}) > bool 0", "eval_time": "5m", "exp_samples": [{"labels": "{}", "value": 1}]}
            for text in expressions
        ],
    }
    file = folder / "panels.yml"
    file.write_text(json.dumps({"rule_files": [], "evaluation_interval": "15s", "tests": [test]}))  # JSON is YAML too
    return run(["promtool", "test", "rules", str(file)], check=False)


def test_every_panel_has_something_to_show(tmp_path: Path) -> None:
    asked = [concrete(expression.text) for expression in (*of_panels(), *of_the_rest())]
    assert not [text for text in asked if "$" in text]
    said = evaluated(tmp_path, asked)
    assert "SUCCESS" in said, said


def test_a_panel_without_data_would_be_noticed(tmp_path: Path) -> None:
    assert "FAILED" in evaluated(tmp_path, ["flatproxy_rung", "flatproxy_nothing"])
