"""Both packet paths, given the same broken messages for so long: `python -m tests.fuzz.native.twins [--seconds N]`.

The first disagreement ends it with a traceback that has the message; the seed, which is printed, finds it again.
"""

from __future__ import annotations

import argparse
import random
from time import monotonic

from tests.fuzz.mutation import mutated
from tests.unit.forward.native.test_twins import ASKED, QUERIES, REPLIES
from tests.unit.forward.native.twins import Twins
from tests.unit.wire.messages import response


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    twins = Twins(random.Random(options.seed))
    until, count = monotonic() + options.seconds, 0
    while monotonic() < until:
        for _ in range(100):
            twins.query(mutated(twins.rng.choice(QUERIES), twins.rng))
            asked = twins.rng.choice(ASKED)
            twins.reply(asked, mutated(response(asked, twins.rng.choice(REPLIES)), twins.rng))
        count += 200
    twins.close()
    print(f"{count} messages met the same fate")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
