"""The backends and subjects of one session: who is started, who is shared, and who has to give way.

An external subject has one backend address: whoever is started there makes the one before give way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest
from attrs import evolve, frozen

from tests.support.fixtures import KINDS
from tests.support.nameserver import Nameserver
from tests.support.scripted import plain

from . import zones
from .proxies import SUBJECTS
from .subject import Options, Subject

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.ports import Address
    from tests.support.scripted import Answer, Query, Scripted


class Placed(Protocol):
    """Whatever a subject can be started in front of: a nameserver, real or scripted, or a relay to one."""

    @property
    def address(self) -> Address: ...


@frozen(kw_only=True)
class Pair:
    """A subject, and the nameserver that it stands in front of."""

    subject: Subject
    backend: Nameserver


class Arena:
    """What the session has running."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self.kind: str = config.getoption("--subject")
        self.folder = folder
        self._config = config
        self._zones = zones.ConformanceZones(folder)
        self._backends: dict[str, Nameserver] = {}
        self._subjects: dict[str, Subject] = {}
        self._count = 0

    def new_folder(self, name: str) -> Path:
        self._count += 1
        return self.folder / f"{self._count:03d}-{name}"

    def claim_backend_port(self) -> int:
        """Return the port where the next backend has to be, 0 for any; whoever is there ends."""
        if self.kind != "external":
            return 0
        port = int(self._config.getoption("--backend-port"))
        if not port:
            raise pytest.UsageError("an external subject needs --backend-port: where it forwards to")
        for backend in self._backends.values():
            backend.stop()
        self._backends.clear()
        self._subjects.clear()
        return port

    def backend(self, kind: str = "nsd") -> Nameserver:
        """Return the shared nameserver of a kind, starting it first where needed."""
        if kind not in self._backends:
            self._backends[kind] = self.new_backend(kind)
        return self._backends[kind]

    def new_backend(self, kind: str = "nsd") -> Nameserver:
        """Start a nameserver that the caller may change and must stop."""
        port = self.claim_backend_port()
        backend = KINDS[kind](folder=self.new_folder(kind), zones=self._zones, port=port, generous=True)
        backend.start()
        return backend

    def shared(self, kind: str = "nsd") -> Subject:
        """Return the shared subject in front of a shared nameserver."""
        backend = self.backend(kind)
        if kind not in self._subjects:
            self._subjects[kind] = self.subject(Options(backends=(backend.address,), probe=zones.PLAIN))
        return self._subjects[kind]

    def verify_alive(self, kind: str) -> None:
        """Fail where the shared subject has ended or has stopped serving; the next test gets a new one."""
        subject = self._subjects.get(kind)
        if subject is None:
            return
        alive, serves = subject.alive(), subject.serves(zones.PLAIN)
        if not (alive and serves):
            end = subject.log()[-2000:]
            subject.stop()
            del self._subjects[kind]
            pytest.fail(f"after the test the subject is {'deaf' if alive else 'dead'}; its log ends:\n{end}")

    def subject(self, options: Options) -> Subject:
        """Start a subject that the caller stops."""
        kind = SUBJECTS[self.kind]
        if options.flatten and not kind.can_flatten:
            pytest.skip(f"{self.kind} does not flatten")
        if self.kind == "external":
            plain = Options(backends=options.backends, probe=options.probe)
            if options != plain:
                pytest.skip("an external subject cannot be set up otherwise")
            get = self._config.getoption
            where = {"host": str(get("--subject-host")), "port": str(get("--subject-port"))}
            options = evolve(options, env={**where, "http_port": str(get("--subject-http-port"))})
        subject = kind(options, self.new_folder(self.kind))
        subject.start()
        return subject

    def subject_before(self, *backends: Placed, **options: Any) -> Subject:
        """Start a subject in front of the backends, with `Options` fields by name; the caller stops it."""
        return self.subject(Options(backends=tuple(backend.address for backend in backends), **options))

    def stop(self) -> None:
        for subject in self._subjects.values():
            subject.stop()
        for backend in self._backends.values():
            backend.stop()


class Launch:
    """Starts subjects for one test: `launch(backend, ..., option=value)`."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._running: list[Subject] = []

    def __call__(self, *backends: Placed, **options: Any) -> Subject:
        """Start a subject in front of the backends, with `Options` fields by name, and return it once it is ready."""
        real = all(isinstance(backend, Nameserver) for backend in backends)
        subject = self._arena.subject_before(*backends, **{"probe": zones.PLAIN if real else None, **options})
        self._running.append(subject)
        return subject

    def stop(self) -> None:
        for subject in self._running:
            subject.stop()


class MakeStub(Protocol):
    """What the fixture `make_stub` gives."""

    def __call__(self, answer: Callable[[Query], Answer] = plain, *, port: int = 0) -> Scripted: ...
