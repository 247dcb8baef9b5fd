"""Which packet path takes the packets: the one in C where it is there and able to, else the one in Python.

It reads `FLATPROXY_NATIVE` and looks for the extension; nothing here touches a packet.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from flatproxy.errors import FlatproxyError

if TYPE_CHECKING:
    from flatproxy.config.settings import Settings

VARIABLE: Final = "FLATPROXY_NATIVE"
NATIVE: Final = "C"
PYTHON: Final = "Python"
NO_TAP: Final = "[dnstap] can tell only of packets that Python takes"
NO_HEADERS: Final = "PROXY headers are read in Python"


@frozen
class Choice:
    """The path that takes packets. `core` is the extension, None for the path in Python, and `why` says why not C."""

    core: Any
    threads: int = 1
    why: str = ""

    @property
    def text(self) -> str:
        """`C` or `Python`."""
        return PYTHON if self.core is None else NATIVE


def installed() -> Choice:
    """Return what this installation and its environment choose.

    `FlatproxyError` where the path in C is asked for and missing.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "0":
        return Choice(None, why=f"{VARIABLE}=0")
    try:
        return Choice(import_module("flatproxy.forward.native._core"))
    except ImportError as error:
        if wanted == "1":
            raise FlatproxyError(
                f"{VARIABLE}=1, but the packet path in C cannot be loaded ({error}): install flatproxy on Linux with "
                f"gcc and python3-dev, or from a wheel for this machine; or leave {VARIABLE} out"
            ) from None
        return Choice(None, why="this installation has none in C")


def choose(settings: Settings) -> Choice:
    """Return the path for these settings, with its threads; `FlatproxyError` where the two do not go together."""
    choice = installed()
    if choice.core is not None and settings.listen.proxy_from:
        choice = Choice(None, why=NO_HEADERS)
    if choice.core is not None and settings.dnstap is not None:
        choice = Choice(None, why=NO_TAP)
    threads = settings.listen.threads or (cores() if choice.core is not None else 1)
    if threads > 1 and choice.core is None:
        raise FlatproxyError(
            f"[listen] threads = {threads} needs the packet path in C ({choice.why}): write threads = 1"
        )
    return Choice(choice.core, threads, choice.why)


def cores() -> int:
    """Return how many cores this process may use, at most 64."""
    return min(len(os.sched_getaffinity(0)), 64) if hasattr(os, "sched_getaffinity") else 1
