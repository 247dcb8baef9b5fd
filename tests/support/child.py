"""Child processes with their output in a file, ended by their own id alone, and programs that may be missing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from attrs import define

from .waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_TRIES = 5
_SBIN = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"))


def program(name: str) -> str:
    """Return the program's path. Where it is missing the test is skipped; in CI that is a failure."""
    found = shutil.which(name, path=_SBIN)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


def run(
    command: Sequence[str], *, stdin: str = "", check: bool = True, timeout_s: float = 30, folder: Path | None = None
) -> str:
    """Run a program to its end and return what it printed, errors included."""
    done = subprocess.run(
        [program(command[0]), *command[1:]],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        timeout=timeout_s,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)} gave {done.returncode}:\n{done.stdout}")
    return done.stdout


@define(eq=False)
class Child:
    """A running process in a group of its own, so that its own children end with it."""

    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, command: Sequence[str], log: Path) -> Child:
        with log.open("ab") as out:
            process = subprocess.Popen(
                [program(command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                start_new_session=True,
            )
        return cls(process, log)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        """End it as an init system would, by force where that does not help."""
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"did not end on SIGTERM:\n{self.tail()}") from None

    def kill(self) -> None:
        """End it and its children at once."""
        if self.alive:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


def start_until(begin: Callable[[], Child], answers: Callable[[], bool]) -> None:
    """Begin a server until one stays and answers: somebody else may have taken the port that was free."""
    for _ in range(_TRIES):
        child = begin()
        try:
            until(lambda: not child.alive or answers(), child.tail, 60)  # noqa: B023 - it has ended by the next one
        except BaseException:
            child.kill()
            raise
        if child.alive:
            return
    raise AssertionError(f"{child.log.stem} did not start:\n{child.tail()}")
