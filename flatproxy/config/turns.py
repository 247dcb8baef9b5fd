"""How a long reading beside packets lets these pass. In the main thread, where nothing waits, it costs nothing.

The thread that serves packets gives the interpreter away with each system call and, against a thread that computes,
gets it back only after the usual turn of 5 ms, every time: it would crawl.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from time import sleep
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TURN_S = 0.00002
REST_S = 0.001
RESTS = 200
"""Names between two rests: about as long as a rest."""


@contextmanager
def giving_way() -> Iterator[None]:
    """Make turns short, outside of the main thread."""
    usual = sys.getswitchinterval()
    if _is_beside():
        sys.setswitchinterval(TURN_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def rest_at(number: int) -> None:
    """Stand back for a moment after every `RESTS` names, outside of the main thread."""
    if number % RESTS == 0 and _is_beside():
        sleep(REST_S)


def _is_beside() -> bool:
    return threading.current_thread() is not threading.main_thread()
