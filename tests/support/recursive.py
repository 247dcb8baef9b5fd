"""A recursive resolver as a child process: on a free port, and ready when it answers what it knows by itself."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import dns.exception
import dns.message
import dns.query
from attrs import define, field

from .child import Child, program, start_until
from .lifetime import Startable
from .ports import Address, free_port

if TYPE_CHECKING:
    from pathlib import Path


@define(eq=False, kw_only=True)
class RecursiveResolver(Startable):
    kind: ClassVar[str]
    """The program."""
    knows: ClassVar[tuple[str, str, str]] = ("localhost", "A", "IN")
    """A question for which it asks nobody."""

    folder: Path
    host: str = "127.0.0.1"
    port: int = field(default=0, init=False)
    child: Child | None = field(default=None, init=False)

    @property
    def address(self) -> Address:
        return self.host, self.port

    @abstractmethod
    def configure(self) -> list[str]:
        """Write the configuration for `port`, and return the command."""

    def start(self) -> None:
        program(self.kind)
        start_until(self._begin, self._answers)

    def _begin(self) -> Child:
        self.port = free_port(self.host)
        self.child = Child.start(self.configure(), self.folder / f"{self.kind}.log")
        return self.child

    def _answers(self) -> bool:
        try:
            dns.query.udp(dns.message.make_query(*self.knows), self.host, timeout=0.5, port=self.port)
        except (dns.exception.DNSException, OSError):
            return False
        return True

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
