"""The bench itself, as small as it gets, so that it cannot rot. What it measures here means nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench import growth, refresh, safety, servers, tables, works
from bench.verdicts import TARGETS
from bench.works import WORKS
from tests.support.child import program

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    for name in servers.PROGRAMS:
        program(name)
    return measured(tmp_path_factory.mktemp("bench") / "tiny.json")


def measured(output: Path, *options: str) -> Mapping[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--tiny", "--output", str(output), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    written: Mapping[str, Any] = json.loads(output.read_text())
    return written


def test_every_server_answers_every_work(result: Mapping[str, Any]) -> None:
    for work in WORKS:
        here = [name for name in work.servers if servers.HAS_THREADS or not name.endswith(works.THREADS)]
        assert list(result["works"][work.name]) == here
        for server, rounds in result["works"][work.name].items():
            assert len(rounds) == 1
            assert rounds[0]["completed"] > 0
            assert rounds[0]["rcodes"] == f"NOERROR {rounds[0]['completed']} (100.00%)", (work.name, server)


def test_latencies_are_of_single_replies(result: Mapping[str, Any]) -> None:
    for work in WORKS:
        for rounds in result["works"][work.name].values():
            if work.latency:
                assert 0 < rounds[0]["median_ms"] <= rounds[0]["p99_ms"] <= rounds[0]["p999_ms"]


def test_every_process_is_accounted_for(result: Mapping[str, Any]) -> None:
    idle = {name: size for name, size in result["rss_idle_bytes"].items() if not name.startswith("C ")}
    assert all(resident > 10 * 1024 * 1024 for resident in idle.values()), idle
    used = dict.fromkeys(idle, 0.0)
    for servers_of in result["works"].values():
        for name, rounds in servers_of.items():
            if (server := works.server_of(name)) in used:
                used[server] += rounds[0]["server_user_s"] + rounds[0]["server_system_s"]
    assert all(used.values()), used


def test_the_tables_can_be_written_from_it(result: Mapping[str, Any]) -> None:
    judged = tables.targets(dict(result)).splitlines()
    assert len(judged) == 2 + len(TARGETS) + 2
    assert tables.figures(dict(result)).count("\n") == 1 + sum(map(len, result["works"].values()))
    assert all(server in tables.others(dict(result)) for server in result["rss_idle_bytes"])
    assert "load average" in tables.circumstances(dict(result))


def test_one_of_before_is_run_by_the_python_of_its_own_folder(tmp_path: Path) -> None:
    for name in servers.PROGRAMS:
        program(name)
    interpreter = tmp_path / ".venv" / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text(f'#!/bin/sh\ntouch {tmp_path}/ran\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    beside = measured(tmp_path / "before.json", "--before", str(tmp_path), "--work", "flattened TCP")
    assert {work: list(each) for work, each in beside["works"].items()} == {
        "flattened TCP": [works.PYTHON, works.BEFORE]
    }
    assert (tmp_path / "ran").exists()
    rows = [line for line in tables.before(dict(beside)).splitlines() if "not measured" not in line]
    assert [line.split(" | ")[:3] for line in rows[2:]] == [
        ["| flattened TCP: CPU a query", works.PYTHON, works.BEFORE]
    ]


def test_growth(tmp_path: Path) -> None:
    for name in ("nsd", "unbound", "dnsperf"):
        program(name)
    measured = growth.measured([1, 50], 1, 0.1)
    assert [names["rounds"][0]["rcodes"].split()[0] for names in measured["names"].values()] == ["NOERROR"] * 2
    assert len(tables.growth(measured).splitlines()) == 4
    assert all(names["reload"]["lost"] == 0 for names in measured["names"].values())
    assert len(tables.reloads(measured).splitlines()) == 4


def test_safety() -> None:
    measured = safety.measure(1, 0.2)
    assert all(case["rounds"][0]["completed"] > 0 for case in measured.values())
    lines = tables.safety({"cases": measured}).splitlines()
    assert len(lines) == 2 + len(measured)
    assert [line.count(f"1.00 {tables.TIMES}") for line in lines[2:] if line.startswith("| plain")] == [2, 2, 2]


def test_refresh() -> None:
    for name in ("nsd", "dnsperf", "gcc"):
        program(name)
    seen = refresh.measure(refresh.Size(targets=60, ttl=2, start=2, steady=2, outage=6, after=2))
    phases = seen["phases"]
    assert phases["steady"]["asked_most"] > 0
    assert phases["outage"]["samples"]["stale"] > 0
    assert all(each[load]["median_ms"] > 0 for each in phases.values() for load in ("forwarded", "hot"))
    assert len(tables.refresh({**seen}).splitlines()) == 2 + len(phases) + 2
