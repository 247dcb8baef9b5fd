"""What the fault tests ask, how they wait for replies, and the shapes of their fixtures."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flatproxy.flatten.stores.sqlite import read_rows
from tests.support.proxy import Proxy
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.load import Load

Start = Callable[..., Proxy]
Count = Callable[[str, "Load"], tuple[int, int]]
"""Note a load under a name for the table; gives how many had no reply and how many had SERVFAIL."""
Share = Callable[[str, int, int], None]
"""Note how many were asked, and how many had the right answer in the end."""
Took = Callable[[str, float], None]
"""Note how many seconds something took."""

FLAGGED, PLAIN = ("example.com", "A"), ("example.com", "MX")
FLATTEN = {"example.com": {"target": "lb.test", "fallback": ["198.51.100.200"]}}


def replies(load: Load, number: int) -> None:
    """Wait for so many more."""
    goal = len(load.asked) + number
    until(lambda: len(load.asked) >= goal, f"{number} more replies", 20)


def saved(path: str) -> bool:
    """Tell whether the state file holds addresses of type A."""
    with contextlib.suppress(sqlite3.Error, ValueError):
        return any(row.rdtype == 1 for row in read_rows(Path(path)))
    return False
