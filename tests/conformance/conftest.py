"""Options and fixtures of the conformance suite. The subject is chosen with `--subject`, flatproxy by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fixtures import KINDS
from tests.support.scripted import Scripted, plain

from .arena import Arena, Launch, MakeStub, Pair
from .proxies import SUBJECTS
from .scorecard import Scorecard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.nameserver import Nameserver
    from tests.support.scripted import Answer, Query

    from .subject import Subject


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--subject", choices=sorted(SUBJECTS), default="flatproxy", help="what is tested")
    group.addoption("--subject-host", default="127.0.0.1", help="address of an external subject")
    group.addoption("--subject-port", type=int, default=53, help="port of an external subject, UDP and TCP")
    group.addoption("--subject-http-port", type=int, default=0, help="port of its metrics; 0: it has none")
    group.addoption("--backend-port", type=int, default=0, help="the one port that an external subject forwards to")
    group.addoption("--report", help="write the outcome of each requirement to this file, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "must: the requirement is a MUST")
    config.addinivalue_line("markers", "should: the requirement is a SHOULD")
    config.addinivalue_line("markers", "late: the test looks at what has aged while the others ran")
    config.pluginmanager.register(Scorecard(config), "conformance-scorecard")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests marked `late` last: the others' time is theirs to wait."""
    items.sort(key=lambda item: item.get_closest_marker("late") is not None)


@pytest.fixture(scope="session")
def arena(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """The backends and subjects that tests share; all of them end with the session."""
    arena = Arena(request.config, tmp_path_factory.mktemp("conformance"))
    yield arena
    arena.stop()


@pytest.fixture
def nsd(arena: Arena) -> Nameserver:
    """The shared NSD with every zone of `zones`: tests must not change or stop it."""
    return arena.backend("nsd")


@pytest.fixture
def own_nsd(arena: Arena) -> Iterator[Nameserver]:
    """An NSD that the test may stop and start."""
    backend = arena.new_backend()
    yield backend
    backend.stop()


@pytest.fixture
def proxy(arena: Arena, nsd: Nameserver) -> Iterator[Subject]:
    """The shared subject in front of the shared NSD. It must outlive the test: P lives."""
    subject = arena.shared("nsd")
    yield subject
    arena.verify_alive("nsd")


@pytest.fixture(params=KINDS)
def pair(arena: Arena, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """The shared subject in front of each kind of shared nameserver in turn."""
    backend = arena.backend(request.param)
    yield Pair(subject=arena.shared(request.param), backend=backend)
    arena.verify_alive(request.param)


@pytest.fixture
def start(arena: Arena) -> Iterator[Launch]:
    """Start subjects of this test's own: `start(backend, transfer=())`; they end with the test."""
    launch = Launch(arena)
    yield launch
    launch.stop()


@pytest.fixture
def make_stub(arena: Arena) -> Iterator[MakeStub]:
    """Start scripted backends of this test's own; they end with the test."""
    stubs: list[Scripted] = []

    def make(answer: Callable[[Query], Answer] = plain, *, port: int = 0) -> Scripted:
        stubs.append(Scripted(answer, port=port or arena.claim_backend_port()).start())
        return stubs[-1]

    yield make
    for stub in stubs:
        stub.stop()


@pytest.fixture
def stub(make_stub: MakeStub) -> Scripted:
    """One scripted backend; set `stub.answer` to script it."""
    return make_stub()


@pytest.fixture
def stub_proxy(start: Launch, stub: Scripted) -> Subject:
    """A subject of this test's own in front of `stub`."""
    return start(stub)
