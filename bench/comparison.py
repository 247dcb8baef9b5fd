"""What the smaller benches share: the command that measures and writes the results, and the medians of the rounds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench import surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RESULTS: Final = Path(__file__).parent / "results"


def add_medians(measured: Iterable[dict[str, Any]]) -> None:
    """Put the medians of its rounds beside them, in each."""
    for each in measured:
        each |= {figure: median(one[figure] for one in each["rounds"]) for figure in ("qps", "cpu_us", "lost")}


def command(name: str, purpose: str | None, key: str, measure: Callable[[int, float], dict[str, Any]]) -> None:
    """Run `bench.NAME`: measure as the arguments say, and write what comes of it under `key`, with the surroundings."""
    parser = argparse.ArgumentParser(prog=f"bench.{name}", description=purpose)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--output", type=Path, default=RESULTS / f"{name}.json")
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "machine": surroundings.machine(),
        "versions": surroundings.versions(),
        "start": surroundings.moment(),
    }
    result[key] = measure(arguments.rounds, arguments.seconds)
    result["end"] = surroundings.moment()
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"results: {arguments.output}")
