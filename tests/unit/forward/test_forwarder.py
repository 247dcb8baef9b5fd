"""Settings in two phases: what fails, or is given back, leaves no trace; what does not change is kept."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, evolve

from flatproxy.config.settings import Access, Endpoint, Limits, Listen, Settings, Upstream
from flatproxy.errors import FlatproxyError
from flatproxy.forward.forwarder import Forwarder
from flatproxy.forward.listeners.sockets import bind
from flatproxy.forward.readers import Readers
from flatproxy.table.table import Table
from tests.unit.forward.surroundings import ZONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNREACHABLE = Endpoint("255.255.255.255", 53)
"""A socket cannot be connected to the broadcast address without being asked to."""
SETTINGS = Settings(
    listen=Listen(dns=(Endpoint("127.0.0.1", 0),)),
    upstream=Upstream(servers=(Endpoint("127.0.0.1", 9),)),
    access=Access(zones=(ZONE,)),
    limits=Limits(queries_per_second=5),
)
OTHER = Upstream(servers=(Endpoint("127.0.0.2", 9),))
BROKEN = evolve(SETTINGS, upstream=Upstream(servers=(Endpoint("127.0.0.2", 9), UNREACHABLE)))


@define(eq=False)
class _Port:
    sock: socket.socket

    def stopListening(self) -> None:  # noqa: N802 - Twisted's
        self.sock.close()


class _Reactor:
    """Listens on a duplicate, as the real one does."""

    def adoptStreamPort(self, descriptor: int, family: int, factory: object) -> _Port:  # noqa: ARG002, N802 - as the real one
        return _Port(socket.socket(fileno=os.dup(descriptor)))


@define(eq=False)
class _Stand:
    readers: Readers
    forwarder: Forwarder

    def state(self) -> tuple[object, ...]:
        """Return every attribute of the parts, every descriptor, and every socket that is read from."""
        forwarder = self.forwarder
        parts = (forwarder, forwarder._exchange, forwarder._listening, forwarder._connections)
        held = [
            {
                name: list(value) if isinstance(value, list) else value
                for name, value in ((name, getattr(part, name)) for name in _names(part))
            }
            for part in parts
        ]
        return held, sorted(Path("/proc/self/fd").iterdir()), set(self.readers._selector.get_map())


def _names(part: object) -> list[str]:
    return [attribute.name for attribute in getattr(type(part), "__attrs_attrs__", ())] or list(vars(part))


@pytest.fixture
def run() -> Iterator[Callable[[Callable[[_Stand], None]], None]]:
    """Run a function on a loop that reads packets."""
    loop = asyncio.SelectorEventLoop()
    with ExitStack() as stack:

        def begin(test: Callable[[_Stand], None]) -> None:
            async def play() -> None:
                readers = Readers(loop)
                stand = _Stand(readers, Forwarder(_Reactor(), Table(), readers))
                try:
                    test(stand)
                finally:
                    await stand.forwarder.stop()
                    readers.close()

            loop.run_until_complete(play())

        yield begin
        stack.callback(loop.close)


def test_a_failed_reload_changes_nothing_to_the_last_attribute_and_descriptor(run: Any) -> None:
    def test(stand: _Stand) -> None:
        stand.forwarder.prepare(SETTINGS)
        stand.forwarder.commit()
        before = stand.state()
        with pytest.raises(FlatproxyError, match="cannot open a socket"):
            stand.forwarder.prepare(BROKEN)
        assert stand.state() == before

    run(test)


@pytest.mark.parametrize("committed", [False, True], ids=["the start", "a reload"])
def test_what_was_prepared_is_given_back(run: Any, *, committed: bool) -> None:
    def test(stand: _Stand) -> None:
        if committed:
            stand.forwarder.prepare(SETTINGS)
            stand.forwarder.commit()
        before = stand.state()
        stand.forwarder.prepare(evolve(SETTINGS, upstream=OTHER))
        assert stand.state() != before
        stand.forwarder.abort()
        after = stand.state()
        stand.forwarder.abort()
        assert stand.state() == after
        assert after[1:] == before[1:]
        if committed:
            assert after == before

    run(test)


def test_a_start_that_fails_closes_what_it_bound(run: Any) -> None:
    def test(stand: _Stand) -> None:
        with ExitStack() as stack:
            taken = bind(Endpoint("127.0.0.1", 0))
            for bound in taken:
                stack.enter_context(bound.socket)
            address = Endpoint(*taken[0].socket.getsockname())
            before = stand.state()
            listen = Listen(dns=(Endpoint("127.0.0.1", 0), address))
            with pytest.raises(FlatproxyError, match="in use"):
                stand.forwarder.prepare(evolve(SETTINGS, listen=listen))
            assert stand.state() == before

    run(test)


def test_a_reload_keeps_what_it_does_not_change(run: Any) -> None:
    """The sockets to the nameservers, and the token buckets: nobody gets a second helping."""

    def test(stand: _Stand) -> None:
        stand.forwarder.prepare(SETTINGS)
        stand.forwarder.commit()
        exchange = stand.forwarder._exchange
        pool, limits, policy = exchange.nameservers, exchange.limits, exchange.policy
        assert limits is not None
        stand.forwarder.prepare(evolve(SETTINGS, access=Access(zones=(ZONE, b"\3net\0"))))
        stand.forwarder.commit()
        assert (exchange.nameservers, exchange.limits) == (pool, limits)
        assert exchange.policy is not policy
        stand.forwarder.prepare(evolve(SETTINGS, upstream=OTHER, limits=Limits(queries_per_second=6)))
        stand.forwarder.commit()
        assert exchange.nameservers is not pool
        assert exchange.limits is not limits
        assert list(stand.forwarder._pools()) == [exchange.nameservers, pool], "the old one ends what it began"

    run(test)
