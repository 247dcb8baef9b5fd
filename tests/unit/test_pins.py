"""`requirements.txt`, what a deployment installs: it fits `pyproject.toml`, is whole, and every file in it is known."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

import pytest
from attrs import frozen
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
PYTHONS: Final = ("3.11", "3.12", "3.13")
_PIN: Final = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[0-9][^\s;]*)$")
_HASH: Final = re.compile(r"^--hash=sha256:[0-9a-f]{64}$")


@frozen
class Pin:
    version: str
    hashes: tuple[str, ...]


def _pins() -> dict[str, Pin]:
    found: dict[str, Pin] = {}
    for entry in _entries():
        words = entry.split()
        matched = _PIN.match(words[0])
        assert matched, f"not one exact version: {words[0]}"
        assert all(_HASH.match(word) for word in words[1:]), f"more than hashes: {entry}"
        assert matched["name"] not in found
        found[matched["name"]] = Pin(matched["version"], tuple(words[1:]))
    return found


def _entries() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    joined = "\n".join(line for line in lines if not line.lstrip().startswith("#")).replace("\\\n", " ")
    return [entry for entry in joined.splitlines() if entry.strip()]


def _direct() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(each) for each in project["dependencies"]]


def _fits(requirement: Requirement, pins: dict[str, Pin]) -> bool:
    pin = pins.get(canonicalize_name(requirement.name))
    return pin is not None and requirement.specifier.contains(pin.version)


def test_what_the_project_needs_is_pinned_within_its_bounds() -> None:
    pins = _pins()
    assert [str(each) for each in _direct() if not _fits(each, pins)] == [], "run `make pins`"


def _as_installed(pins: dict[str, Pin]) -> dict[str, list[Requirement]]:
    """Return what each pinned one needs, for those that are installed in just that version."""
    found = {}
    for name, pin in pins.items():
        with suppress(PackageNotFoundError):
            if version(name) == pin.version:
                found[name] = [Requirement(each) for each in requires(name) or ()]
    return found


def _applies(requirement: Requirement, python: str) -> bool:
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    return requirement.marker is None or requirement.marker.evaluate(environment)


@pytest.mark.parametrize("python", PYTHONS)
def test_what_the_pinned_need_is_pinned_too(python: str) -> None:
    pins = _pins()
    missing = [
        f"{name} needs {each}"
        for name, needed in _as_installed(pins).items()
        for each in needed
        if _applies(each, python) and not _fits(each, pins)
    ]
    assert missing == [], "run `make pins`"


def test_nothing_is_pinned_that_nothing_needs() -> None:
    pins = _pins()
    installed = _as_installed(pins)
    if others := pins.keys() - installed.keys():
        pytest.skip(f"installed in another version than the pinned: {', '.join(sorted(others))}")
    needed = [*_direct(), *(each for of_one in installed.values() for each in of_one)]
    names = {canonicalize_name(each.name) for each in needed if any(_applies(each, python) for python in PYTHONS)}
    assert pins.keys() == names


def test_each_has_the_hashes_of_its_source_and_its_wheel() -> None:
    for name, pin in _pins().items():
        assert len(pin.hashes) >= 2, name
        assert len(set(pin.hashes)) == len(pin.hashes), name


def test_where_from_is_the_installers_business() -> None:
    text = (ROOT / "requirements.txt").read_text()
    assert "://" not in text
    assert [line for line in text.splitlines() if line.startswith("-")] == []
