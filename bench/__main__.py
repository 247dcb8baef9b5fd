"""`python -m bench [--quick | --tiny] [--before CHECKOUT]`: measure, and keep the results."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from attrs import evolve

from bench import rounds, servers, surroundings
from bench.comparison import RESULTS, record
from bench.works import WORKS, beside_before


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", dest="plan", const="quick", help="three short rounds")
    size.add_argument("--tiny", action="store_const", dest="plan", const="tiny", help="one round, to see that it runs")
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT", help="flatproxy beside one of before: a folder with its own .venv"
    )
    parser.add_argument("--work", action="append", choices=[work.name for work in WORKS], help="these works alone")
    parser.add_argument("--output", type=Path, help="where the results go (default: bench/results/PLAN.json)")
    parser.set_defaults(plan="full")
    arguments = parser.parse_args()
    if lacking := servers.missing():
        print(f"not installed: {', '.join(lacking)}", file=sys.stderr)
        return 2
    works = tuple(work for work in WORKS if not arguments.work or work.name in arguments.work)
    plan = evolve(rounds.PLANS[arguments.plan], works=works)
    if arguments.before:
        interpreter = arguments.before.absolute() / ".venv" / "bin" / "python"
        plan = evolve(plan, works=beside_before(works), before=(str(interpreter),))

    def measure() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            found = rounds.measure(plan, Path(folder), lambda line: print(line, flush=True))
        return found | ({"before": surroundings.commit(arguments.before)} if arguments.before else {})

    name = arguments.plan if not arguments.before else {"full": "before"}.get(plan.name, f"before-{plan.name}")
    record(arguments.output or RESULTS / f"{name}.json", measure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
