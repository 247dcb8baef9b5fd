"""The bench itself, as small as it gets, so that it cannot rot. What it measures here means nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench import growth, safety, servers, tables
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
    output = tmp_path_factory.mktemp("bench") / "tiny.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--tiny", "--output", str(output)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    written: Mapping[str, Any] = json.loads(output.read_text())
    return written


def test_every_server_answers_every_work(result: Mapping[str, Any]) -> None:
    for work in WORKS:
        assert list(result["works"][work.name]) == list(work.servers)
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
    assert all(resident > 10 * 1024 * 1024 for resident in result["rss_idle_bytes"].values()), result["rss_idle_bytes"]
    used = [
        rounds[0]["server_user_s"] + rounds[0]["server_system_s"]
        for rounds in result["works"]["forwarded UDP"].values()
    ]
    assert all(used), used


def test_the_tables_can_be_written_from_it(result: Mapping[str, Any]) -> None:
    judged = tables.targets(dict(result)).splitlines()
    assert len(judged) == 2 + len(TARGETS) + 2
    assert tables.figures(dict(result)).count("\n") == 1 + sum(len(work.servers) for work in WORKS)
    assert all(server in tables.others(dict(result)) for server in result["rss_idle_bytes"])
    assert "load average" in tables.circumstances(dict(result))


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
