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
    full, growth, safety, before, refresh = (
        json.loads(path.read_text()) if (path := RESULTS / f"{name}.json").exists() else None
        for name in ("full", "growth", "safety", "before", "refresh")
    )
    blocks = {
        "circumstances": full and tables.circumstances(full),
        "targets": full and tables.targets(full),
        "figures": full and tables.figures(full),
        "others": full and tables.others(full),
        "growth": growth and tables.growth(growth) + "\n\n" + tables.circumstances(growth),
        "reloads": growth and tables.reloads(growth),
        "safety": safety and tables.safety(safety),
        "before": before and tables.before(before) + "\n\n" + tables.circumstances(before),
        "refresh": refresh and tables.refresh(refresh) + "\n\n" + tables.circumstances(refresh),
    }
    text = tables.filled(DOCUMENT.read_text(), {name: block or "Not measured yet." for name, block in blocks.items()})
    DOCUMENT.write_text(text)
    if full and growth and not arguments.no_plots:
        plots.write(full, growth, PLOTS)
    print(f"written: {DOCUMENT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
