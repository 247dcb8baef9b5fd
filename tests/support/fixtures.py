"""Fixtures of the suites that start flatproxy in front of real nameservers: those once a session, the rest a test's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .bind import Bind
from .knot import Knot
from .nsd import Nsd
from .proxy import Proxy
from .zones import Zones

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .nameserver import Nameserver

KINDS: dict[str, type[Nameserver]] = {kind.kind: kind for kind in (Nsd, Knot, Bind)}


@pytest.fixture(scope="session")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Zones:
    return Zones(tmp_path_factory.mktemp("zones"))


@pytest.fixture(scope="session")
def nsd(zones: Zones, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nsd]:
    """NSD alone, for what no other nameserver would make different."""
    with Nsd(folder=tmp_path_factory.mktemp("nsd-alone"), zones=zones) as server:
        yield server


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
