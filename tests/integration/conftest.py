"""Fixtures: the three nameservers once a session, and what a test starts for itself, ended with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fixtures import KINDS, nsd, start, zones
from tests.support.internet import FakeInternet
from tests.support.redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nameserver import Nameserver
    from tests.support.zones import Zones

__all__ = ["nsd", "start", "zones"]


@pytest.fixture(scope="session", params=KINDS)
def nameserver(
    request: pytest.FixtureRequest, zones: Zones, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nameserver]:
    """Each of NSD, Knot and BIND in turn. A test must leave its zones as they are, `dynamic.test` excepted."""
    with KINDS[request.param](folder=tmp_path_factory.mktemp(request.param), zones=zones) as server:
        yield server


@pytest.fixture(scope="module")
def internet() -> Iterator[FakeInternet]:
    """A resolver with no name in it yet. A test uses names of its own, or tidies up."""
    with FakeInternet() as resolver:
        yield resolver


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Redis]:
    """An empty store of a fleet."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with Redis(folder) as server:
        yield server
