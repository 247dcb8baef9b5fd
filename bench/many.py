"""flatproxy with many flagged names: their files, and what is waited for before it is loaded."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from time import monotonic
from typing import TYPE_CHECKING, Final

from attrs import define

from bench import load
from bench.servers import PLACEHOLDERS, ZONE, Flatproxy
from tests.support.waiting import let_pass, until

if TYPE_CHECKING:
    from pathlib import Path

TARGETS: Final = 1000
ASKED: Final = 20_000
"""Distinct questions, at most, that must have addresses before a load begins: spread over all names."""
READY_WITHIN_S: Final = 180.0
QUIET_OVER_S: Final = 0.5
QUIET_SHARE: Final = 0.15
_RELOADED: Final = '"event": "reloaded"'
_LOAD: Final = """
import sys, time
from pathlib import Path
from flatproxy.config.load import load
began = time.perf_counter()
load(Path(sys.argv[1]))
print(time.perf_counter() - began)
"""


def target(number: int) -> str:
    return f"t{number}.cloud.test"


def flagged(count: int, targets: int, first: int = 0) -> str:
    """Return lines for so many flagged names, the first of which has the `first` target."""
    return "".join(f"n{number}.{ZONE} {target((number + first) % targets)}\n" for number in range(count))


def queries(count: int, path: Path) -> Path:
    """Write the questions: names at equal distances through all that are flagged."""
    step = max(1, count // ASKED)
    path.write_text("".join(f"n{number}.{ZONE} A\n" for number in range(0, count, step)))
    return path


def shuffled(count: int, path: Path) -> Path:
    """Write a question about each name, in random order, so that no cache of a processor holds what comes next."""
    numbers = list(range(count))
    random.Random(count).shuffle(numbers)
    path.write_text("".join(f"n{number}.{ZONE} A\n" for number in numbers))
    return path


@define(eq=False, kw_only=True)
class Many(Flatproxy):
    """flatproxy with many flagged names, which it includes from a file of lines.

    None of them is the apex, so its first right answer is forwarded.
    """

    count: int
    targets: int = TARGETS
    flatten: str = ""
    apex: frozenset[str] = PLACEHOLDERS

    def configure(self) -> list[str]:
        command = super().configure()
        self.list_names()
        path = self.folder / "flatproxy.toml"
        path.write_text('include = ["names.txt"]\n' + path.read_text())
        return command

    def list_names(self, first: int = 0) -> None:
        """Write the file of names, all with another target where `first` is another one."""
        (self.folder / "names.txt").write_text(flagged(self.count, self.targets, first))

    def load_s(self) -> float:
        """Return how long the configuration takes to load, in a process of its own."""
        done = subprocess.run(
            [*self.interpreter, "-c", _LOAD, self.folder / "flatproxy.toml"], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    def reload(self) -> float:
        """Give every name another target, have that read, and return how many seconds it took."""
        self.list_names(first=1)
        log = self.folder / "log"
        before = log.read_text().count(_RELOADED)
        began = monotonic()
        os.kill(self.group, signal.SIGHUP)
        until(lambda: log.read_text().count(_RELOADED) > before, "reloaded", READY_WITHIN_S)
        return monotonic() - began

    def wait_until_ready(self) -> None:
        """Wait for its word that every name has an answer, if only the nameserver's."""
        until(lambda: '"event": "ready"' in (self.folder / "log").read_text(), "ready", READY_WITHIN_S)

    def wait_until_flattened(self) -> None:
        """Wait until every question asked has addresses; the nameserver says NXDOMAIN to all of them."""
        asked = queries(self.count, self.folder / "queries.txt")
        until(
            lambda: _all_noerror(load.dnsperf(self, asked, READY_WITHIN_S, ["-n", "1", "-Q", "20000"])),
            "every name flattened",
            READY_WITHIN_S,
        )

    def wait_until_quiet(self) -> None:
        """Wait until it uses little CPU: what is left then is the measured asking about zones, 2 % of a core."""
        used = sum(self.cpu_s)

        def quiet() -> bool:
            nonlocal used
            let_pass(QUIET_OVER_S)
            before, used = used, sum(self.cpu_s)
            return used - before < QUIET_SHARE * QUIET_OVER_S

        until(quiet, "little CPU used", READY_WITHIN_S)


def _all_noerror(made: load.Load) -> bool:
    return made.lost == 0 and made.rcodes == f"NOERROR {made.completed} (100.00%)"
