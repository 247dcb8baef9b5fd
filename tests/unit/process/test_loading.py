from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from flatproxy.config.flagged import RESTS
from flatproxy.config.load import load
from flatproxy.process import loading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flatproxy.config.plain_lines import Quick
    from flatproxy.config.rules import Rules
    from flatproxy.config.settings import Settings

FILE = """
include = ["names.txt"]
[listen]
dns = ["127.0.0.1:0"]
[upstream]
servers = ["192.0.2.53"]
[access]
zones = ["."]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    names = "".join(f"n{number}.example.com lb.example.net\n" for number in range(3 * RESTS))
    (tmp_path / "names.txt").write_text(names)
    path = tmp_path / "flatproxy.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def intervals(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The interpreter's switch interval at the start of the load and at each rest of it."""
    seen: list[float] = []

    def noting(
        path: Path,
        rest: Callable[[], object] = lambda: None,
        before: Rules | None = None,
        *,
        listening: bool = True,
        quick: Quick | None = None,
    ) -> Settings:
        def resting() -> None:
            seen.append(sys.getswitchinterval())
            rest()

        seen.append(sys.getswitchinterval())
        return load(path, rest=resting, before=before, listening=listening, quick=quick)

    monkeypatch.setattr(loading, "load", noting)
    return seen


def test_beside_the_main_thread_others_get_the_interpreter_soon(file: Path, intervals: list[float]) -> None:
    usual = sys.getswitchinterval()
    thread = threading.Thread(target=loading.load_settings, args=(file,))
    thread.start()
    thread.join(60)
    assert len(intervals) == 1 + 3
    assert max(intervals) < 2 * loading.SWITCH_INTERVAL_S < usual == sys.getswitchinterval()


def test_in_the_main_thread_nothing_changes(file: Path, intervals: list[float]) -> None:
    usual = sys.getswitchinterval()
    assert len(loading.load_settings(file).flatten) == 3 * RESTS
    assert set(intervals) == {usual}
