"""Who may read_rows and write the state file: its owner alone, since what stands in it is served."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from flatproxy.flatten.stores.sqlite import SqliteStore, read_rows, write
from flatproxy.flatten.stores.store import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")

_ROW = Row(b"\2lb\4test\0", 1, (b"\xc0\0\2\1",), 60, ("lb.test",), 1_700_000_000.0)


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    write(path, [_ROW])
    assert _mode(path) == 0o600
    assert read_rows(path) == [_ROW]


def test_permissions_that_were_given_stay(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    write(path, [])
    path.chmod(0o640)
    write(path, [_ROW])
    assert _mode(path) == 0o640
    assert read_rows(path) == [_ROW]


@pytest.mark.parametrize("mode", [0o602, 0o666, 0o646])
def test_what_everybody_can_write_is_not_believed(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "answers.sqlite"
    write(path, [_ROW])
    path.chmod(mode)
    store = SqliteStore(path)
    assert store.load() == []
    assert store.errors == 1
    assert not path.exists()
    assert (tmp_path / "answers.sqlite.damaged").exists()
    write(path, [_ROW])
    assert _mode(path) == 0o600
    assert SqliteStore(path).load() == [_ROW]


def test_a_folder_that_is_not_there_is_an_error_to_the_caller(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        write(tmp_path / "nowhere" / "answers.sqlite", [_ROW])
