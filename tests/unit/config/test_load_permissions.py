"""A file that others can write is not a configuration: they could send the zone's visitors anywhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from flatproxy.config.load import load
from flatproxy.errors import ConfigError

from .configs import MINIMAL

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "flatproxy.toml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize("mode", [0o602, 0o622, 0o646, 0o666, 0o777, 0o002])
def test_what_everybody_can_write_is_refused(config: Path, mode: int) -> None:
    config.chmod(mode | 0o400)
    with pytest.raises(ConfigError) as caught:
        load(config)
    said = str(caught.value)
    assert said.startswith(f"{config}: every user of this host can write it")
    assert f"write: chmod o-w {config}" in said


def test_what_the_message_says_mends_it(config: Path) -> None:
    config.chmod(0o666)
    with pytest.raises(ConfigError):
        load(config)
    config.chmod(config.stat().st_mode & ~0o002)
    assert load(config).digest


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444, 0o600, 0o640, 0o644, 0o660, 0o664])
def test_what_owner_and_group_can_write_is_loaded(config: Path, mode: int) -> None:
    config.chmod(mode)
    assert load(config).digest


def test_behind_a_link_the_file_counts(config: Path, tmp_path: Path) -> None:
    """A symbolic link itself can always be "written" by everybody, which means nothing."""
    link = tmp_path / "link.toml"
    link.symlink_to(config)
    assert load(link).digest
    config.chmod(0o666)
    with pytest.raises(ConfigError, match="every user of this host can write it"):
        load(link)


def test_nothing_of_such_a_file_is_told(config: Path) -> None:
    """Its content is not even parsed: an error message about it would be the writer's to choose."""
    config.write_text("= \x1b[31m what")
    config.chmod(0o666)
    with pytest.raises(ConfigError) as caught:
        load(config)
    assert "TOML" not in str(caught.value)
    assert len(caught.value.problems) == 1
