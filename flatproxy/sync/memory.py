"""What was written to the zone, in a table of its own in the state file. `--adopt` writes it, too.

Each call opens the file anew, since other processes change it. It must never be called where packets would wait.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from attrs import frozen

from flatproxy.errors import FlatproxyError
from flatproxy.sync.sets import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flatproxy.sync.sets import Sets

SETS_KEPT = 16
"""Sets kept for each name at most."""
_LOCK_S = 2.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS synced (
    name BLOB NOT NULL, sets TEXT NOT NULL, written_at REAL NOT NULL, PRIMARY KEY (name)
) WITHOUT ROWID
"""
"""A table of its own, so that earlier versions use the file as well."""


class MemoryUnusable(FlatproxyError):
    """The state file cannot be used."""


@frozen
class Noted:
    """What is known to be ours at a name: the set that stood there last, then those that were to follow, oldest first.

    `written_at` is when an update was sent last, in Unix time; 0: never.
    """

    ours: tuple[Sets, ...]
    written_at: float = 0.0

    def with_intent(self, sets: Sets) -> Noted:
        """Return it with one more set that is about to be written, here or by another node."""
        others = tuple(each for each in self.ours if each != sets)
        return Noted((*others[-(SETS_KEPT - 1) :], sets), self.written_at)


def recall(path: Path, name: bytes) -> Noted | None:
    """Return what is noted of a name, None where nothing is; `MemoryUnusable` where the file cannot be read."""
    if not path.exists():
        return None
    with _opened(path) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'synced'").fetchone():
            return None
        row = connection.execute("SELECT sets, written_at FROM synced WHERE name = ?", (name,)).fetchone()
        return None if row is None else Noted(tuple(map(from_json, json.loads(row[0]))), float(row[1]))


def note(path: Path, name: bytes, noted: Noted) -> None:
    """Keep what is known of a name; `MemoryUnusable` where that cannot be done."""
    with _opened(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_SCHEMA)
        row = (name, json.dumps([to_json(sets) for sets in noted.ours]), noted.written_at)
        connection.execute("INSERT OR REPLACE INTO synced VALUES (?, ?, ?)", row)
        connection.execute("COMMIT")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        _make(path)
        if sys.platform != "win32" and path.stat().st_mode & stat.S_IWOTH:
            raise MemoryUnusable(f"{path}: every user of this host can write it")
        with closing(sqlite3.connect(path, timeout=_LOCK_S, isolation_level=None)) as connection:
            yield connection
    except (sqlite3.Error, OSError, ValueError, TypeError) as error:
        raise MemoryUnusable(f"{path} cannot be used: {error}") from error


def _make(path: Path) -> None:
    """Make a file that is missing, its owner's alone (0600); made by root, it is given to whose directory it is."""
    if path.exists():
        return
    path.touch(0o600)
    if sys.platform != "win32" and os.geteuid() == 0:
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid)
