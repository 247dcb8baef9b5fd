"""Networks of a test's own: namespaces that end with whoever is in them. What needs root or a tool skips without it."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000


def in_own_network(work: Callable[[], T]) -> T:
    """Run `work` in a thread with a loopback interface of its own; what it starts is in there with it."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(_CLONE_NEWNET):
                pytest.skip(f"no network namespace here: {os.strerror(ctypes.get_errno())}")
            run_or_skip("ip", "link", "set", "lo", "up")
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - pytest's outcomes, too, are raised again where pytest sees them
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def run_or_skip(*command: str) -> None:
    name = shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if name is None:
        pytest.skip(f"{command[0]} is not installed")
    tried = subprocess.run([name, *command[1:]], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"{' '.join(command)}: {tried.stderr.strip()[-200:]}")
