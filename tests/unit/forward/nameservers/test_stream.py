"""Connections to one nameserver: how many are set up at once, what a failed one tells, and the probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from attrs import define, field
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from flatproxy.config.settings import Endpoint
from flatproxy.forward.bounds import SETTING_UP, SETTLED_S
from flatproxy.forward.nameservers.health import PROBES_TO_DOWN, Health
from flatproxy.forward.nameservers.stream import StreamUpstream
from tests.unit.wire.messages import framed

if TYPE_CHECKING:
    from twisted.internet.protocol import ClientFactory

    from flatproxy.forward.nameservers.stream import Connection

QUESTION = b"\7example\3com\0\0\6\0\1"


class Transport(StringTransport):
    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 - Twisted's name
        pass


@define(eq=False)
class Wire:
    """Opens connections when it is told to."""

    dials: list[ClientFactory] = field(factory=list)
    given_up: int = 0

    def connectTCP(self, host: str, port: int, factory: ClientFactory, timeout: float) -> Wire:  # noqa: ARG002, N802 - as the real one
        self.dials.append(factory)
        return self

    def disconnect(self) -> None:
        self.given_up += 1

    def accept(self, number: int = -1) -> Any:
        protocol = self.dials[number].buildProtocol(None)
        assert protocol is not None
        protocol.makeConnection(Transport())  # type: ignore[no-untyped-call]
        return protocol

    def refuse(self, number: int = -1) -> None:
        self.dials[number].clientConnectionFailed(cast("Any", None), Failure(ConnectError()))  # type: ignore[no-untyped-call]


@define(eq=False)
class Caller:
    """Who wants a connection, and remembers what became of it."""

    got: list[str] = field(factory=list)

    def connected(self, connection: Connection) -> None:  # noqa: ARG002 - as the real one
        self.got.append("connected")

    def failed(self) -> None:
        self.got.append("failed")

    def came(self, message: bytes) -> None:
        self.got.append(message.decode())

    def lost(self, connection: Connection) -> None:  # noqa: ARG002 - as the real one
        self.got.append("lost")


def upstream(wire: Wire, **more: Any) -> StreamUpstream:
    return StreamUpstream(
        endpoint=Endpoint("192.0.2.53", 53),
        health=Health(over_tcp=True),
        tells_client=False,
        connector=cast("Any", wire),
        timeout_s=2.0,
        probe_question=QUESTION,
        **more,
    )


def test_few_are_set_up_at_once_and_each_answer_lets_the_next_begin() -> None:
    wire, callers = Wire(), [Caller() for _ in range(200)]
    server = upstream(wire)
    for caller in callers:
        server.dial(caller)
    assert len(wire.dials) == SETTING_UP
    for number in range(200):
        wire.accept(number).dataReceived(framed(b"answer"))
        assert len(wire.dials) == min(SETTING_UP + number + 1, 200)
    assert all(caller.got == ["connected", "answer"] for caller in callers)


def test_one_on_which_nothing_comes_keeps_nobody_waiting_for_long() -> None:
    wire = Wire()
    server = upstream(wire)
    dials = [server.dial(Caller()) for _ in range(SETTING_UP + 1)]
    for number in range(SETTING_UP):
        wire.accept(number)
    at = dials[0].connected_at
    assert at is not None
    server.sweep(at + SETTLED_S / 2, wary=False)
    assert len(wire.dials) == SETTING_UP
    server.sweep(at + SETTLED_S + 1, wary=False)
    assert len(wire.dials) == SETTING_UP + 1


def test_one_that_fails_or_closes_or_is_not_wanted_any_more_gives_its_place_away() -> None:
    wire, callers = Wire(), [Caller() for _ in range(SETTING_UP + 4)]
    server = upstream(wire)
    dials = [server.dial(caller) for caller in callers]
    dials[-1].cancel()
    wire.refuse(0)
    wire.accept(1).connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    dials[2].cancel()
    assert len(wire.dials) == SETTING_UP + 3, "all but the one that was given up before its turn"
    assert [caller.got for caller in callers[:3]] == [["failed"], ["connected", "lost"], []]
    assert wire.given_up == 1


def test_a_refused_connection_is_silence_and_a_probe_settles_it() -> None:
    wire = Wire()
    server = upstream(wire)
    server.sweep(100.0, wary=False)
    assert wire.dials == [], "nobody asks for what works"
    server.dial(Caller())
    wire.refuse()
    assert server.health.suspect
    server.sweep(1e9, wary=False)
    probe = wire.accept()
    sent = probe.transport.value()
    assert sent[14:] == QUESTION
    probe.dataReceived(framed(sent[2:4] + b"\x84\5" + bytes(8)))
    assert (server.health.suspect, server.health.up) == (False, True)
    assert probe.transport.disconnected


def test_it_is_down_when_so_many_probes_fail_each_in_its_own_way() -> None:
    wire = Wire()
    server = upstream(wire)
    for number in range(PROBES_TO_DOWN):
        assert server.health.up
        server.sweep(1e9 + 3 * number, wary=True)
        if number % 3 == 0:
            wire.refuse()
        elif number % 3 == 1:
            wire.accept().connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
        else:
            wire.accept()
            server.sweep(1e9 + 3 * number + 2, wary=True)
    assert not server.health.up


def test_closing_sends_who_waits_elsewhere() -> None:
    wire, callers = Wire(), [Caller() for _ in range(SETTING_UP + 1)]
    server = upstream(wire)
    for caller in callers:
        server.dial(caller)
    wire.accept(0)
    server.close()
    assert callers[0].got == ["connected"], "it has its connection"
    assert all(caller.got == ["failed"] for caller in callers[1:])
