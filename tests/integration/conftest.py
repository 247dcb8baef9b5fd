"""Fixtures: the three nameservers once a session, and what a test starts for itself, ended with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .harness.bind import Bind
from .harness.internet import FakeInternet
from .harness.knot import Knot
from .harness.nsd import Nsd
from .harness.proxy import Proxy
from .harness.zones import Zones

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .harness.nameserver import Nameserver

KINDS: dict[str, type[Nameserver]] = {kind.kind: kind for kind in (Nsd, Knot, Bind)}


@pytest.fixture(scope="session")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Zones:
    return Zones(tmp_path_factory.mktemp("zones"))


@pytest.fixture(scope="session", params=KINDS)
def nameserver(
    request: pytest.FixtureRequest, zones: Zones, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nameserver]:
    """Each of NSD, Knot and BIND in turn. A test must leave its zones as they are, `dynamic.test` excepted."""
    server = KINDS[request.param](folder=tmp_path_factory.mktemp(request.param), zones=zones)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def nsd(zones: Zones, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nsd]:
    """NSD alone, for what no other nameserver would make different."""
    server = Nsd(folder=tmp_path_factory.mktemp("nsd-alone"), zones=zones)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def internet() -> Iterator[FakeInternet]:
    """A resolver with no name in it yet. A test uses names of its own, or tidies up."""
    resolver = FakeInternet()
    resolver.start()
    yield resolver
    resolver.stop()


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Proxy]]:
    """Start the proxy with a configuration; at the end of the test each must still run, and end well."""
    started: list[Proxy] = []

    def begin(config: str, *, ready: bool = True, descriptors: int | None = None) -> Proxy:
        proxy = Proxy(tmp_path_factory.mktemp("proxy"), config, descriptors)
        started.append(proxy)
        proxy.start(ready=ready)
        return proxy

    yield begin
    ended = [proxy for proxy in started if not proxy.alive and not proxy.expected_to_end]
    for proxy in started:
        if proxy.alive:
            proxy.stop()
    assert not ended, ended[0].log
