from __future__ import annotations

from typing import TYPE_CHECKING

from flatproxy.config.settings import State
from flatproxy.diagnose.check import about_state
from flatproxy.flatten.stores import sqlite as store
from flatproxy.flatten.stores.store import Row

if TYPE_CHECKING:
    from pathlib import Path


def test_a_state_file_that_is_good_or_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    assert list(about_state(State(path=path))) == []
    assert not path.exists()
    store.write(path, [Row(b"\2lb\4test\0", 1, (b"\xc0\0\2\1",), 60, ("lb.test",), 0.0)])
    assert list(about_state(State(path=path))) == []


def test_a_state_file_that_cannot_be(tmp_path: Path) -> None:
    (finding,) = about_state(State(path=tmp_path / "missing" / "answers.sqlite"))
    assert finding.key == "state.path"
    assert "directory does not exist" in finding.what
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"this is no database" * 100)
    (finding,) = about_state(State(path=damaged))
    assert "cannot be read" in finding.what
