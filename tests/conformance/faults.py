"""What goes wrong around a proxy: a clock that jumps, a full file system, packets that the kernel loses.

What needs root or a tool that is not there skips the test and says so. Nothing here touches the machine's own clock,
network or file systems: a library in front of the C library, network and mount namespaces.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.network import run_or_skip


class Clock:
    """The time of day as a subject sees it, shifted by `offset_s`; `env` makes a process see it so.

    The C library's clock functions are put in front of by a small library that is built here. The monotonic clock
    goes on, as it does when an administrator sets the time.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler here to build the library that shifts the clock")
        self.library = folder / "clock.so"
        source = Path(__file__).with_name("clock.c")
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(self.library), str(source)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            pytest.skip(f"the library that shifts the clock cannot be built: {built.stderr[-300:]}")
        self._offset = folder / "offset"
        self.shift(0)
        self.env = {"LD_PRELOAD": str(self.library), "CLOCK_OFFSET_FILE": str(self._offset)}
        self._verify()

    def shift(self, offset_s: int) -> None:
        """Set how far the clock is off, in place: the file stays mapped."""
        with self._offset.open("r+b" if self._offset.exists() else "w+b") as file:
            file.write(struct.pack("=q", offset_s))

    def _verify(self) -> None:
        self.shift(-86400)
        said = subprocess.run(["date", "+%s"], env={**os.environ, **self.env}, capture_output=True, check=False)
        self.shift(0)
        if not said.stdout or abs(int(said.stdout) + 86400 - time.time()) > 60:
            pytest.skip("the library that shifts the clock has no effect here")

    def is_seen_by(self, pids: list[int]) -> bool:
        """Tell whether every process has the library."""
        return bool(pids) and all(str(self.library) in Path(f"/proc/{pid}/maps").read_text() for pid in pids)


def full_folder(folder: Path) -> tuple[str, ...]:
    """Return what to put in front of a command so that `folder` is a full file system of 16 KiB to it alone."""
    folder.mkdir(parents=True)
    script = (
        f'mount -t tmpfs -o size=16k tmpfs "{folder}" || exit 97; '
        f'dd if=/dev/zero of="{folder}/full" bs=1k 2>/dev/null; exec "$@"'
    )
    wrapper = ("unshare", "--mount", "sh", "-c", script, "sh")
    tried = subprocess.run([*wrapper, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no file system of one's own can be mounted here: {tried.stderr.strip()[-200:]}")
    return wrapper


def lose_packets(percent: int) -> None:
    """Have the kernel drop that share of the UDP packets of this thread's network, at random."""
    run_or_skip("nft", "add table inet weather")
    run_or_skip("nft", "add chain inet weather in { type filter hook input priority 0 ; }")
    run_or_skip("nft", f"add rule inet weather in meta l4proto udp numgen random mod 100 < {percent} counter drop")


def packets_lost() -> int:
    """Return how many packets the kernel has dropped so."""
    said = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    return int(said.split("counter packets ")[1].split()[0])
