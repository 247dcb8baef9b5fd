"""Loads a configuration file beside packets, which must not wait for it. What a file means is not decided here.

The thread that serves packets gives the interpreter away with each system call. Against a thread that computes it gets
it back only after the switch interval, 5 ms by default, every time. So a reload makes that interval short, and rests.
"""

from __future__ import annotations

import gc
import sys
import threading
from contextlib import contextmanager
from time import sleep
from typing import TYPE_CHECKING

from flatproxy.config.load import load
from flatproxy.forward.native.choice import installed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flatproxy.config.rules import Rules
    from flatproxy.config.settings import Settings

SWITCH_INTERVAL_S = 0.00002
REST_S = 0.001


def load_settings(path: Path, before: Rules | None = None, *, listening: bool = True) -> Settings:
    """Return the settings in a file and in those that it includes; `ConfigError` with every problem in them.

    Without `listening`, a file with `[sync]` needs no `[listen]`.
    What is equal in the rules `before` is taken from there. In the main thread, where nothing waits, it never rests.
    """
    core = installed().core
    quick = core.take_lines if core is not None else None
    with _without_collection():
        if threading.current_thread() is threading.main_thread():
            return load(path, listening=listening, quick=quick)
        with _short_switch_interval():
            return load(path, rest=lambda: sleep(REST_S), before=before, listening=listening, quick=quick)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the garbage collector away: with many names it walks all of them over and over, and there are no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _short_switch_interval() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
