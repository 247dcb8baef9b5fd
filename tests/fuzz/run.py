"""Coverage-guided fuzzing of one target after the other: `python -m tests.fuzz.run [--seconds N] [TARGET ...]`.

Each target runs in a process of its own under atheris, from the committed corpus; new inputs go to a scratch folder,
a finding to `crash-*` in the working directory, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
MAX_OCTETS = 2_048


def _fuzz(name: str) -> None:
    """Be the fuzzing process; libFuzzer's arguments are the rest of the command line."""
    import atheris  # noqa: PLC0415 - instruments what is imported after it

    with atheris.instrument_imports(include=["flatproxy", "dns"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415

    atheris.Setup([sys.argv[0], *sys.argv[3:]], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    if sys.argv[1:2] == ["--be"]:
        _fuzz(sys.argv[2])
        return 0
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - not before atheris

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], default=[], metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="in all, shared out among the targets")
    options = parser.parse_args()
    chosen = options.targets or list(TARGETS)
    failed = []
    for name in chosen:
        with tempfile.TemporaryDirectory() as scratch:
            seconds = max(options.seconds // len(chosen), 1)
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "tests.fuzz.run", "--be", name, scratch, str(CORPUS / name)),
                    *(f"-max_total_time={seconds}", f"-max_len={MAX_OCTETS}", "-timeout=10", "-rss_limit_mb=2048"),
                    *("-print_final_stats=1", "-verbosity=0"),
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
        executed = [line for line in done.stdout.splitlines() if "number_of_executed_units" in line]
        print(f"{name}: {executed[0].split()[-1] if executed else 'no'} inputs, exit {done.returncode}")
        if done.returncode:
            failed.append(name)
            print(done.stdout[done.stdout.find(" === Uncaught") :][:6_000])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
