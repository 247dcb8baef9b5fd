from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from flatproxy.flatten.stores.sqlite import SqliteStore, read_keys, read_rows, write
from flatproxy.flatten.stores.store import Row

if TYPE_CHECKING:
    from pathlib import Path

ROW = Row(b"\2lb\4test\0", 1, (b"\xc0\0\2\1", b"\xc0\0\2\2"), 60, ("lb.test", "a.test"), 1e9)
LATER = Row(b"\2lb\4test\0", 1, (b"\xc0\0\2\3",), 30, ("lb.test",), 2e9)
EMPTY = Row(b"\4none\4test\0", 28, (), 5, ("none.test",), 1e9)


async def _written(store: SqliteStore) -> bool:
    """Wait for the flush under way; tell whether there was one."""
    task = store._task
    if task is not None:
        await task
    return task is not None


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    write(path, [ROW, EMPTY])
    assert sorted(read_rows(path), key=lambda row: row.target) == [ROW, EMPTY]
    write(path, [LATER])
    assert sorted(read_rows(path), key=lambda row: row.target) == [LATER, EMPTY]


KEY = (b"\7example\3com\0", 13, 34567, "waiting", 1e9, 1e9 + 60.5, 60, "")


def test_keys_are_kept_beside_answers(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    write(path, [ROW], [KEY])
    write(path, [], [(*KEY[:3], "active", *KEY[4:])])
    assert read_keys(path) == [(*KEY[:3], "active", *KEY[4:])]
    assert read_rows(path) == [ROW]


def test_keys_alone_are_written_too(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "answers.sqlite")

    async def script() -> None:
        store.save_keys([KEY])
        store.tick(1.0)
        assert await _written(store)
        await store.stop()

    asyncio.run(script())
    assert SqliteStore(store.path).load_keys() == [KEY]


def test_a_row_of_a_key_that_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    write(path, [], [KEY, (*KEY[:2], 2, "active", "yesterday", *KEY[5:])])
    assert read_keys(path) == [KEY]


def test_what_is_held_is_kept_until_there_are_addresses_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    held = evolve(ROW, rdatas=(), held=ROW.rdatas, seen_at=1.5e9, absent_since=1.6e9)
    write(path, [held])
    assert read_rows(path) == [held]
    history = held.history(now=100.0, wall=1.6e9 + 60)
    assert (history.addresses, history.seen_at, history.absent_since) == (ROW.rdatas, 40.0 - 1e8, 40.0)
    write(path, [LATER])
    assert read_rows(path) == [LATER]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM held").fetchone() == (0,)
        connection.execute("INSERT INTO held VALUES (x'00', 1, 'no list', 'x', 0)")
    connection.close()
    assert read_rows(path) == [LATER], "damage there hurts nobody else"


def test_a_missing_file_holds_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "none")
    assert (store.load(), store.errors) == ([], 0)


def test_a_file_of_the_first_format_is_read(tmp_path: Path) -> None:
    """As the first version wrote it, to the letter: this text must never be changed."""
    path = tmp_path / "answers.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE answers (
                target BLOB NOT NULL, rdtype INTEGER NOT NULL, rdatas TEXT NOT NULL, ttl INTEGER NOT NULL,
                names TEXT NOT NULL, resolved_at REAL NOT NULL, PRIMARY KEY (target, rdtype)
            ) WITHOUT ROWID;
            INSERT INTO answers VALUES
                (x'026c62047465737400', 1, '["c0000201", "c0000202"]', 60, '["lb.test", "a.test"]', 1000000000.0);
            PRAGMA user_version = 1;
            """
        )
    connection.close()
    assert read_rows(path) == [ROW]
    assert read_keys(path) == []


HTTPS = Row(b"\2lb\4test\0", 65, (b"\0\1\0", b"\0\2\3lb1\0\0\1\0\3\2h2"), 60, ("lb.test",), 1e9)


def test_rdatas_of_any_type_and_length_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    write(path, [ROW, HTTPS])
    assert sorted(read_rows(path), key=lambda row: row.rdtype) == [ROW, HTTPS]


@pytest.mark.parametrize(("rdtype", "rdata"), [(1, b"\xc0\0\2"), (28, b"\xc0\0\2\1"), (65, b"\0")])
def test_what_is_no_rdata_of_its_type_makes_no_sense(tmp_path: Path, rdtype: int, rdata: bytes) -> None:
    path = tmp_path / "answers.sqlite"
    write(path, [ROW, Row(b"\0", rdtype, (rdata,), 60, (), 1e9)])
    assert read_rows(path) == [ROW]


@pytest.mark.parametrize("damage", [b"noise" * 1000, b"SQLite format 3\0" + bytes(500)], ids=["noise", "cut"])
def test_a_damaged_file_is_put_aside(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(damage)
    store = SqliteStore(path)
    assert (store.load(), store.errors) == ([], 1)
    assert (tmp_path / "answers.sqlite.damaged").read_bytes() == damage
    write(path, [ROW])
    assert read_rows(path) == [ROW]


def test_a_file_of_a_later_version_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    write(path, [ROW])
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    store = SqliteStore(path)
    assert (store.load(), store.errors) == ([], 1)
    with pytest.raises(sqlite3.NotSupportedError):
        write(path, [LATER])
    assert path.read_bytes() == before


def test_a_locked_file_costs_a_count_and_is_written_later(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    write(path, [ROW])

    async def script() -> None:
        store = SqliteStore(path)
        store.save(LATER)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        await store._flush()
        assert store.errors == 1
        other.execute("ROLLBACK")
        other.close()
        await store.stop()

    asyncio.run(script())
    assert read_rows(path) == [LATER]


def test_a_directory_that_is_missing_costs_a_count(tmp_path: Path) -> None:
    async def script() -> int:
        store = SqliteStore(tmp_path / "no" / "answers.sqlite")
        store.save(ROW)
        await store.stop()
        return store.errors

    assert asyncio.run(script()) == 1


def test_a_tick_writes_at_most_once_a_second(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"

    async def script() -> None:
        store = SqliteStore(path)
        store.save(ROW)
        store.tick(100.0)
        await _written(store)
        store.save(LATER)
        store.tick(100.5)
        assert not await _written(store)
        store.tick(101.0)
        assert await _written(store)

    asyncio.run(script())
    assert read_rows(path) == [LATER]


@pytest.mark.parametrize(("wall", "resolved_at"), [(1e9 + 30, 470.0), (1e9, 500.0), (1e9 - 7200, 500.0)])
def test_times_are_carried_over_to_the_clock_of_this_run(wall: float, resolved_at: float) -> None:
    """The last one: the wall clock was set back, so the row seems to come from the future."""
    assert ROW.resolution(500.0, wall).resolved_at == resolved_at


def test_rows_that_make_no_sense_are_left_out(tmp_path: Path) -> None:
    """A file that was cut short and written to again has such beside good ones."""
    path = tmp_path / "answers.sqlite"
    write(path, [ROW])
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO answers VALUES (x'01', 1, '[', 1, '[]', 1.0)")
    connection.close()
    assert read_rows(path) == [ROW]
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM answers WHERE target != x'01'")
    connection.close()
    with pytest.raises(ValueError, match="none of its rows"):
        read_rows(path)


def test_a_file_that_is_damaged_in_use_is_put_aside_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    store = SqliteStore(path)

    async def save(now: float) -> None:
        store.save(ROW)
        store.tick(now)
        await store.stop()

    asyncio.run(save(10.0))
    path.write_bytes(bytes(range(256)) * 40)
    asyncio.run(save(20.0))
    assert store.errors == 1
    asyncio.run(save(30.0))
    assert read_rows(path) == [ROW]
    assert path.with_name("answers.sqlite.damaged").exists()
