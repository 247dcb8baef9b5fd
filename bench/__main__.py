"""`python -m bench [--quick | --tiny]`: measure, keep the results, and write the table and the plots from them."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench import rounds, servers, surroundings

RESULTS: Final = Path(__file__).parent / "results"


def measured(plan: rounds.Plan) -> dict[str, Any]:
    """Run a plan and return all that there is to say about it."""
    result: dict[str, Any] = {
        "plan": plan.name,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "machine": surroundings.machine(),
        "versions": surroundings.versions(),
        "start": surroundings.moment(),
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        result |= rounds.measure(plan, Path(folder), lambda line: print(line, flush=True))
    result["end"] = surroundings.moment()
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", dest="plan", const="quick", help="three short rounds")
    size.add_argument("--tiny", action="store_const", dest="plan", const="tiny", help="one round, to see that it runs")
    parser.add_argument("--output", type=Path, help="where the results go (default: bench/results/PLAN.json)")
    parser.set_defaults(plan="full")
    arguments = parser.parse_args()
    if lacking := servers.missing():
        print(f"not installed: {', '.join(lacking)}", file=sys.stderr)
        return 2
    result = measured(rounds.PLANS[arguments.plan])
    output = arguments.output or RESULTS / f"{arguments.plan}.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"results: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
