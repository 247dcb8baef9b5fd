"""The systemd units: what they say fits the program, and systemd finds nothing wrong with them."""

from __future__ import annotations

import ipaddress
import re
import shutil
from pathlib import Path
from typing import Final

import pytest

from flatproxy.cli import parser
from flatproxy.config.load import load
from flatproxy.forward import descriptors
from tests.support.child import run

ROOT: Final = Path(__file__).parents[2]
UNITS: Final = ROOT / "config" / "systemd"
EXPOSURE: Final = 2.0
"""Of 10, as `systemd-analyze security` counts; newer versions count more. docs/systemd.md has the figures."""


def _section(file: str, wanted: str) -> dict[str, list[str]]:
    """Return the keys of a unit's section, each with all its values."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in (UNITS / file).read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section == wanted and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that is there."""
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    service = folder / "flatproxy.service"
    service.write_text(re.sub(r"^(ExecStart=)\S+", r"\1/bin/true", service.read_text(), flags=re.MULTILINE))
    return folder


def test_the_command_is_one_of_flatproxys() -> None:
    (command,) = _section("flatproxy.service", "Service")["ExecStart"]
    path, *arguments = command.split()
    assert Path(path).name == "flatproxy"
    options = parser().parse_args(arguments)
    assert options.command == "run"
    assert options.user is None, "the unit gives it a user"


def test_the_sockets_are_those_of_the_annotated_configuration() -> None:
    expected = [str(endpoint) for endpoint in load(ROOT / "config" / "flatproxy.toml").listen.dns]
    section = _section("flatproxy.socket", "Socket")
    assert section["ListenDatagram"] == expected
    assert section["ListenStream"] == expected
    assert section["BindIPv6Only"] == ["ipv6-only"]


def test_the_state_is_where_the_unit_lets_it_be() -> None:
    state = load(ROOT / "config" / "flatproxy.toml").state
    assert state is not None
    assert _section("flatproxy.service", "Service")["StateDirectory"] == [state.path.parent.name]
    assert state.path.parent.parent == Path("/var/lib")


def test_the_annotated_configuration_keeps_http_to_the_machine() -> None:
    http = load(ROOT / "config" / "flatproxy.toml").listen.http
    assert http is not None
    assert ipaddress.ip_address(http.host).is_loopback


def test_as_many_descriptors_as_are_made_use_of() -> None:
    assert _section("flatproxy.service", "Service")["LimitNOFILE"] == [str(descriptors._ENOUGH)]


def test_systemd_finds_nothing_wrong(units: Path) -> None:
    files = [str(units / name) for name in ("flatproxy.service", "flatproxy.socket")]
    assert run(["systemd-analyze", "verify", "--man=no", *files]) == ""


def test_systemd_says_so_where_something_is_wrong(units: Path) -> None:
    """What the test above rests on."""
    service = units / "flatproxy.service"
    service.write_text(service.read_text().replace("WatchdogSec=", "WatchDogSecs="))
    assert "WatchDogSecs" in run(["systemd-analyze", "verify", "--man=no", str(service)], check=False)


@pytest.mark.parametrize("with_sockets", [False, True])
def test_the_service_is_exposed_little(units: Path, *, with_sockets: bool) -> None:
    if not with_sockets:
        shutil.rmtree(units / "flatproxy.service.d")
    said = run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(units / "flatproxy.service")])
    (figure,) = re.findall(r"Overall exposure level for flatproxy\.service: ([0-9.]+)", said)
    assert float(figure) <= EXPOSURE, said
    assert ("✗ CapabilityBoundingSet=~CAP_NET_(BIND" in said) is not with_sockets, said
