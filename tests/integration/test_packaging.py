"""What the packages are made of: the file that is to be edited, the manual page, the completions and the manifests."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from flatproxy.cli import parser
from tests.integration.commands import run

ROOT = Path(__file__).parents[2]
COMMANDS = ("run", "check", "explain", "keygen", "demo")


def test_the_packaged_configuration_refuses_to_start_with_what_to_write(tmp_path: Path) -> None:
    file = tmp_path / "flatproxy.toml"
    command = ["packaging/unedited", "config/flatproxy.toml"]
    file.write_text(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    assert tomllib.loads(file.read_text()) == {}
    ended = run("run", "--config", str(file))
    assert ended.code == 2
    for line in ('dns = ["0.0.0.0:53"', 'servers = ["192.0.2.53:53"]', 'zones = ["example.com"]'):
        assert line in ended.err
    uncommented = [line.removeprefix("#") for line in file.read_text().splitlines() if not line.startswith("# ")]
    assert {"listen", "upstream", "access"} <= set(tomllib.loads("\n".join(uncommented)))


def test_the_manual_page_and_the_completions_have_every_command(tmp_path: Path) -> None:
    subprocess.run(
        ["packaging/documents", str(tmp_path)], cwd=ROOT, check=True, env={"BIN": str(Path(sys.executable).parent)}
    )
    page = (tmp_path / "flatproxy.8").read_text()
    bash, zsh = ((tmp_path / name).read_text() for name in ("flatproxy.bash", "_flatproxy"))
    assert all(command in parser().format_help() for command in COMMANDS)
    for command in COMMANDS:
        assert f"flatproxy {command}" in page
        assert command in bash
        assert command in zsh
    for said in ("become this user once the ports are bound", "EXIT STATUS", "SIGHUP", "/etc/flatproxy/flatproxy.toml"):
        assert said in page
    assert "--log" not in page, "hyphens are escaped, so that they can be copied"
    subprocess.run(["bash", "-n", tmp_path / "flatproxy.bash"], check=True)


def test_what_the_packages_bring_are_extras_that_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brought = set((ROOT / "packaging/extras").read_text().strip().split(","))
    # gssapi is compiled against the system's Kerberos, which most installations do without.
    assert brought == set(extras) - {"dev", "bench", "gss"}


def test_the_manifests_are_what_kubernetes_takes() -> None:
    tool = Path(sys.executable).with_name("kubernetes-validate")
    manifests = sorted(ROOT.glob("config/kubernetes/*.yaml"))
    assert len(manifests) == 4
    for manifest in manifests:
        subprocess.run([tool, "--strict", "-k", "1.31", manifest], check=True)
