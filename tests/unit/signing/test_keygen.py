from __future__ import annotations

import re
from pathlib import Path

import pytest

from flatproxy import cli
from flatproxy.signing import keys
from flatproxy.signing.keygen import instructions
from tests.unit.signing.keyring import ALGORITHMS, ZONE, key

DOCS = Path(__file__).parents[3] / "docs" / "dnssec.md"


def test_a_pair_is_written_and_its_record_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["keygen", "Example.COM.", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    (public,) = tmp_path.glob("*.key")
    base = Path(str(public).removesuffix(".key"))
    made = keys.read(base, ZONE)
    assert (made.algorithm, made.dnskey.flags) == (13, 256)
    assert f"    {made.record}\n" in printed
    assert f'    [dnssec."example.com"]\n    key = "{base}"\n' in printed


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm(algorithm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["keygen", "example.com", "--out", str(tmp_path), "--algorithm", algorithm]) == 0
    (public,) = tmp_path.glob("*.key")
    made = keys.read(public, ZONE)
    assert keys.algorithm_name(made) == algorithm
    assert made.record in capsys.readouterr().out


@pytest.mark.parametrize("zone", ["*.example.com", "exa mple.com", "192.0.2.1", ""])
def test_a_name_that_is_no_zone(zone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["keygen", zone, "--out", str(tmp_path)]) == 2
    assert "; write " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_algorithm_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["keygen", "example.com", "--algorithm", "RSASHA1"])
    assert ended.value.code == 2
    assert "ECDSAP256SHA256" in capsys.readouterr().err


def test_a_directory_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["keygen", "example.com", "--out", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.endswith(".private: No such file or directory\n")


def test_every_command_is_one_of_the_documentation() -> None:
    ours = key("ECDSAP256SHA256")
    base = Path("/etc/flatproxy/keys") / f"Kexample.com.+013+{ours.tag:05}"
    documented = DOCS.read_text()
    shown = [re.sub(r"[A-Za-z0-9+/]{40,}=*", "oJMR…", line) for line in instructions(ours, base)]
    commands = [line.replace(f"+{ours.tag:05}", "+34567") for line in shown if line.startswith("    ")]
    assert len(commands) > 15
    assert [line for line in commands if f"{line}\n" not in documented] == []


def test_no_windows_command_for_an_algorithm_that_windows_does_not_have() -> None:
    assert "Windows" not in "\n".join(instructions(key("ED25519"), Path("K")))
