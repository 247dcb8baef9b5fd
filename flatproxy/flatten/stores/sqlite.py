"""Answers on disk, so that a restart begins with what was known: a SQLite file, written behind and all or nothing.

Nothing waits for it and nothing depends on it: whatever is wrong with disk or file costs a log line and a count.
Times in the file are seconds of the wall clock, since the monotonic one begins anew.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
import sys
from contextlib import closing
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from twisted.logger import Logger

from flatproxy.flatten.stores.store import Row
from flatproxy.wire import types

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from flatproxy.flatten.stores.store import ShadowRow

log = Logger()

VERSION = 2
FLUSH_S = 1.0
LOCK_S = 0.5
"""For how long another process's lock is waited for, in the writer's thread."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    target BLOB NOT NULL, rdtype INTEGER NOT NULL, rdatas TEXT NOT NULL, ttl INTEGER NOT NULL,
    names TEXT NOT NULL, resolved_at REAL NOT NULL, PRIMARY KEY (target, rdtype)
) WITHOUT ROWID
"""
_KEYS = """
CREATE TABLE IF NOT EXISTS keys (
    zone BLOB NOT NULL, algorithm INTEGER NOT NULL, tag INTEGER NOT NULL, state TEXT NOT NULL, since REAL NOT NULL,
    held_until REAL NOT NULL, ttl INTEGER NOT NULL, off TEXT NOT NULL, PRIMARY KEY (zone, algorithm, tag)
) WITHOUT ROWID
"""
"""New in format 2."""
_KEY_TYPES = (bytes, int, int, str, float, float, int, str)
_SAVE_KEY = "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_HELD_SCHEMA = """
CREATE TABLE IF NOT EXISTS held (
    target BLOB NOT NULL, rdtype INTEGER NOT NULL, rdatas TEXT NOT NULL, seen_at REAL NOT NULL,
    absent_since REAL NOT NULL, PRIMARY KEY (target, rdtype)
) WITHOUT ROWID
"""
"""What is held in place of an answer without addresses. A table of its own: earlier versions use the file as well."""
_SAVE_HELD = "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?)"
_SHADOWS = """
CREATE TABLE IF NOT EXISTS shadows (
    name BLOB PRIMARY KEY, since REAL NOT NULL, comparisons INTEGER NOT NULL
) WITHOUT ROWID
"""
_SAVE_SHADOW = "INSERT OR REPLACE INTO shadows VALUES (?, ?, ?)"
_DROP_SHADOW = "DELETE FROM shadows WHERE name = ?"
_SAVE = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)"


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=LOCK_S, isolation_level=None)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise sqlite3.NotSupportedError(f"written by a later flatproxy (format {version}, known is {VERSION})")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def read_rows(path: Path) -> list[Row]:
    """Return what the file holds, nothing where there is none; `sqlite3.Error` or `ValueError` where it is damaged."""
    if not path.exists():
        return []
    if sys.platform != "win32" and path.stat().st_mode & stat.S_IWOTH:
        # Whoever can write it can send the zone's visitors anywhere.
        raise ValueError("every user of this host can write it")
    with closing(_connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "answers" not in tables:
            return []
        records = connection.execute("SELECT * FROM answers").fetchall()
        kept = connection.execute("SELECT * FROM held").fetchall() if "held" in tables else []
    held = {(target, rdtype): rest for target, rdtype, *rest in kept}
    # A file that was cut short and written to again has rows of nothing beside good ones.
    rows = [row for record in records if (row := _row(*record, held=held.get(record[:2], ()))) is not None]
    if records and not rows:
        raise ValueError("none of its rows makes sense")
    return rows


def _row(*record: Any, held: Sequence[Any]) -> Row | None:  # noqa: ANN401 - whatever the file holds
    """Return a row, None where it makes no sense."""
    target, rdtype, rdatas, ttl, chain, resolved_at = record
    try:
        row = Row(
            bytes(target),
            int(rdtype),
            tuple(bytes.fromhex(rdata) for rdata in json.loads(rdatas)),
            int(ttl),
            tuple(str(name) for name in json.loads(chain)),
            float(resolved_at),
        )
        if held and not row.rdatas:
            rdatas, seen_at, absent_since = held
            addresses = tuple(bytes.fromhex(rdata) for rdata in json.loads(rdatas))
            row = evolve(row, held=addresses, seen_at=float(seen_at), absent_since=float(absent_since))
    except (TypeError, ValueError):
        return None
    return row if all(types.is_rdata(row.rdtype, rdata) for rdata in row.rdatas + row.held) else None


def read_keys(path: Path) -> list[tuple[Any, ...]]:
    """Return what the file holds of keys; nothing where it has none. Raises `sqlite3.Error` where it is damaged."""
    if not path.exists():
        return []
    with closing(_connect(path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'keys'").fetchone():
            return []
        records = connection.execute("SELECT * FROM keys").fetchall()
    return [record for record in records if all(map(isinstance, record, _KEY_TYPES))]


def read_shadows(path: Path) -> dict[bytes, ShadowRow]:
    """Return what the file holds of names in shadow mode. Raises `sqlite3.Error` where it is damaged."""
    if not path.exists():
        return {}
    with closing(_connect(path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'shadows'").fetchone():
            return {}
        records = connection.execute("SELECT * FROM shadows").fetchall()
    return {record[0]: record[1:] for record in records if all(map(isinstance, record, (bytes, float, int)))}


def write(
    path: Path,
    rows: list[Row],
    keys: Sequence[tuple[Any, ...]] = (),
    shadows: Mapping[bytes, ShadowRow | None] = MappingProxyType({}),
) -> None:
    """Save these rows in one transaction; `sqlite3.Error` or `OSError` where that cannot be done.

    A new file is its owner's alone (0600); SQLite gives its journal the same permissions.
    """
    if not path.exists():
        path.touch(0o600)
    with closing(_connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_SCHEMA)
        connection.execute(_KEYS)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.executemany(
            _SAVE,
            [
                (
                    row.target,
                    row.rdtype,
                    json.dumps([r.hex() for r in row.rdatas]),
                    row.ttl_s,
                    json.dumps(row.names),
                    row.resolved_at,
                )
                for row in rows
            ],
        )
        connection.executemany(_SAVE_KEY, keys)
        if shadows:
            connection.execute(_SHADOWS)
            connection.executemany(_SAVE_SHADOW, [(name, *row) for name, row in shadows.items() if row is not None])
            connection.executemany(_DROP_SHADOW, [(name,) for name, row in shadows.items() if row is None])
        connection.execute(_HELD_SCHEMA)
        connection.executemany(
            "DELETE FROM held WHERE target = ? AND rdtype = ?", [(row.target, row.rdtype) for row in rows]
        )
        connection.executemany(
            _SAVE_HELD,
            [
                (row.target, row.rdtype, json.dumps([r.hex() for r in row.held]), row.seen_at, row.absent_since)
                for row in rows
                if row.held
            ],
        )
        connection.execute("COMMIT")


@define(eq=False)
class SqliteStore:
    """The file at `path`, and what is still to be written to it."""

    path: Path
    errors: int = 0
    failing: bool = False
    _dirty: dict[tuple[bytes, int], Row] = field(factory=dict)
    _dirty_keys: dict[tuple[Any, ...], tuple[Any, ...]] = field(factory=dict)
    _dirty_shadows: dict[bytes, ShadowRow | None] = field(factory=dict)
    _due: float = 0.0
    _task: asyncio.Task[None] | None = None

    def load(self) -> list[Row]:
        """Return what the file holds. A damaged file is put aside, so that the next write begins a new one."""
        try:
            return read_rows(self.path)
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            self._failed(error)
        return []

    def load_keys(self) -> list[tuple[Any, ...]]:
        """Return what the file holds of keys."""
        try:
            return read_keys(self.path)
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            self._failed(error)
        return []

    def load_shadows(self) -> dict[bytes, ShadowRow]:
        """Return what the file holds of names in shadow mode."""
        try:
            return read_shadows(self.path)
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            self._failed(error)
        return {}

    def save_shadows(self, rows: Mapping[bytes, ShadowRow | None]) -> None:
        """Write these rows with the next flush, and take out those of which there is nothing any more."""
        self._dirty_shadows.update(rows)

    def save_keys(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write these rows with the next flush."""
        self._dirty_keys.update((row[:3], row) for row in rows)

    def _failed(self, error: Exception) -> None:
        """Take note of an error, and put the file aside where it is damaged, not only out of reach."""
        self._note(error)
        if isinstance(error, OSError | sqlite3.OperationalError | sqlite3.NotSupportedError | sqlite3.InterfaceError):
            return
        try:
            self.path.replace(self.path.with_name(self.path.name + ".damaged"))
        except OSError as failure:
            self._note(failure)

    def save(self, row: Row) -> None:
        """Write this row with the next flush."""
        self._dirty[row.target, row.rdtype] = row

    @property
    def _is_dirty(self) -> bool:
        return bool(self._dirty or self._dirty_keys or self._dirty_shadows)

    def tick(self, now: float) -> None:
        """Begin a flush where one is due."""
        if self._is_dirty and now >= self._due and self._task is None:
            self._due = now + FLUSH_S
            self._task = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        rows, keys, shadows = dict(self._dirty), dict(self._dirty_keys), dict(self._dirty_shadows)
        try:
            await asyncio.to_thread(write, self.path, list(rows.values()), list(keys.values()), shadows)
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
        else:
            self.failing = False
            for key, row in rows.items():
                if self._dirty.get(key) is row:
                    del self._dirty[key]
            for shadow, known in shadows.items():
                if self._dirty_shadows.get(shadow) is known:
                    del self._dirty_shadows[shadow]
            for name, values in keys.items():
                if self._dirty_keys.get(name) is values:
                    del self._dirty_keys[name]
        self._task = None

    def _note(self, error: Exception) -> None:
        self.errors += 1
        if not self.failing:
            self.failing = True
            log.error(
                "state file {path} cannot be used: {reason}; answers are kept in memory only",
                event="state_unusable",
                path=str(self.path),
                reason=str(error),
            )

    async def stop(self) -> None:
        """Write what is left."""
        if self._task is not None:
            await self._task
        if self._is_dirty:
            await self._flush()
