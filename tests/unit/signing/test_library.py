from __future__ import annotations

import subprocess
import sys

import pytest

from flatproxy.errors import ConfigError
from flatproxy.signing import library

WITHOUT = "import sys; sys.modules['cryptography'] = None; "


def test_where_it_is_there_nothing_is_said() -> None:
    assert library.require("dnssec") is None  # type: ignore[func-returns-value]


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True, check=False)


def test_where_it_is_missing_the_error_says_what_to_install() -> None:
    ended = run("from flatproxy.signing.library import require; require('dnssec')")
    assert "ConfigError: dnssec: signing needs the package cryptography" in ended.stderr
    assert "pip install 'flatproxy[dnssec]'" in ended.stderr


def test_the_command_line_does_without_it_until_keygen() -> None:
    ended = run("from flatproxy.cli import main; sys.exit(main(['keygen', 'example.com']))")
    assert ended.returncode == 2
    assert ended.stderr.startswith("flatproxy keygen: signing needs the package cryptography")
    assert "pip install 'flatproxy[dnssec]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_error_without_a_place_needs_none() -> None:
    with pytest.raises(ConfigError, match=r"^signing needs"):
        raise library._missing("")
