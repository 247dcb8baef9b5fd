"""`python -m bench.report`: the tables and plots of `docs/performance.md`, from what is in `bench/results`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from bench import plots, tables

ROOT: Final = Path(__file__).parent.parent
RESULTS: Final = ROOT / "bench" / "results"
DOCUMENT: Final = ROOT / "docs" / "performance.md"
PLOTS: Final = ROOT / "docs" / "performance"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.report", description=__doc__)
    parser.add_argument("--no-plots", action="store_true", help="tables only: the plots need the extra 'bench'")
    arguments = parser.parse_args()
    result = json.loads((RESULTS / "full.json").read_text())
    growth, safety = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("growth", "safety"))
    blocks = {
        "circumstances": tables.circumstances(result),
        "targets": tables.targets(result),
        "figures": tables.figures(result),
        "others": tables.others(result),
        "growth": tables.growth(growth) + "\n\n" + tables.circumstances(growth),
        "reloads": tables.reloads(growth),
        "safety": tables.safety(safety),
    }
    DOCUMENT.write_text(tables.filled(DOCUMENT.read_text(), blocks))
    if not arguments.no_plots:
        plots.write(result, growth, PLOTS)
    print(f"written: {DOCUMENT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
