"""Conversations over TCP, read as scripts: what a client and a nameserver say, and what each of them gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import dns.message
import dns.rcode
import pytest
from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from flatproxy.config.settings import Endpoint
from flatproxy.counts import Traffic
from flatproxy.forward.access import Networks
from flatproxy.forward.bounds import IDLE_S, PIPELINE, STALLED_S
from flatproxy.forward.exchange import Exchange
from flatproxy.forward.listeners.connections import Connections
from flatproxy.forward.listeners.stream import ClientConnection
from flatproxy.forward.nameservers.health import Health
from flatproxy.forward.nameservers.stream import StreamUpstream
from tests.unit.forward.surroundings import ZONE, Fixed, everyone, policy
from tests.unit.wire.messages import framed, query, response

if TYPE_CHECKING:
    from twisted.internet.protocol import ClientFactory

WWW = query("www.example.com", id=1)
MAIL = query("mail.example.com", id=2)
AXFR = query(rdtype="AXFR", id=3)
FLAGGED = query(id=4)


class Transport(StringTransport):
    """A connection that is cut in memory, and has the options of a real one."""

    def __init__(self) -> None:
        peer, here = IPv4Address("TCP", "192.0.2.7", 4000), IPv4Address("TCP", "192.0.2.53", 53)
        super().__init__(here, peer)  # type: ignore[no-untyped-call]

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 - Twisted's signature
        pass


@define(eq=False)
class Nameservers:
    """The servers of a pool, as TCP sees them."""

    servers: list[StreamUpstream]
    timeout_s: float = 2.0

    def next_stream(self, tried: list[object]) -> StreamUpstream | None:
        return next((server for server in self.servers if server not in tried), None)


@define(eq=False)
class Talk:
    """One client connection, and the connections that it opens to nameservers."""

    table: dict[bytes, Any] = field(factory=dict)
    count: int = 1
    nameservers: Nameservers = field(init=False)
    dials: list[ClientFactory] = field(factory=list)
    upstream: list[tuple[Any, Transport]] = field(factory=list)
    exchange: Exchange = field(init=False)
    client: ClientConnection = field(init=False)
    transport: Transport = field(factory=Transport)

    def __attrs_post_init__(self) -> None:
        self.nameservers = Nameservers([self._server(number) for number in range(self.count)])
        self.exchange = Exchange(Traffic())
        self.exchange.policy = policy(table=self.table, transfer=everyone())
        self.exchange.nameservers = cast("Any", self.nameservers)
        self.client = ClientConnection(
            self.exchange, Connections(self.exchange.traffic), Networks(()), self.exchange.traffic.tcp
        )
        self.client.makeConnection(self.transport)  # type: ignore[no-untyped-call]

    def _server(self, number: int) -> StreamUpstream:
        return StreamUpstream(
            endpoint=Endpoint(f"192.0.2.{54 + number}", 53),
            health=Health(over_tcp=True),
            tells_client=False,
            connector=cast("Any", self),
            timeout_s=2.0,
            probe_question=b"",
        )

    def connectTCP(self, host: str, port: int, factory: ClientFactory, timeout: float) -> object:  # noqa: ARG002, N802
        self.dials.append(factory)
        return object()  # a connector, of which nothing is asked here

    def accept(self) -> None:
        """The nameserver takes the connection."""
        protocol = self.dials[-1].buildProtocol(None)
        assert protocol is not None
        transport = Transport()
        self.upstream.append((protocol, transport))
        protocol.makeConnection(transport)

    def refuse(self) -> None:
        self.dials[-1].clientConnectionFailed(cast("Any", None), Failure(ConnectError()))  # type: ignore[no-untyped-call]

    def ask(self, *messages: bytes) -> None:
        self.client.dataReceived(b"".join(map(framed, messages)))

    def say(self, *messages: bytes) -> None:
        """The nameserver says so on its newest connection."""
        self.upstream[-1][0].dataReceived(b"".join(map(framed, messages)))

    def hang_up(self) -> None:
        self.upstream[-1][0].connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]

    @property
    def got(self) -> list[bytes]:
        """What the client has got so far."""
        return messages_of(self.transport.value())  # type: ignore[no-untyped-call]

    @property
    def heard(self) -> list[bytes]:
        """What the nameserver has heard on its newest connection."""
        return messages_of(self.upstream[-1][1].value())  # type: ignore[no-untyped-call]


def messages_of(stream: bytes) -> list[bytes]:
    messages = []
    while stream:
        size = int.from_bytes(stream[:2], "big")
        messages.append(stream[2 : 2 + size])
        stream = stream[2 + size :]
    return messages


def rcodes(messages: list[bytes]) -> list[int]:
    return [dns.message.from_wire(message).rcode() for message in messages]


def test_queries_go_out_as_they_came_and_replies_in_any_order() -> None:
    talk = Talk()
    talk.ask(WWW, MAIL)
    assert len(talk.dials) == 1
    talk.accept()
    assert talk.heard == [WWW, MAIL]
    talk.say(response(MAIL), response(WWW))
    assert talk.got == [response(MAIL), response(WWW)]
    assert not talk.client.busy


def test_nothing_is_opened_for_what_is_answered_here() -> None:
    made = response(FLAGGED, ["example.com. 60 IN A 198.51.100.1"])
    talk = Talk({ZONE + b"\0\1\0\1": Fixed(made)})
    talk.ask(FLAGGED, query("example.org"))
    assert talk.dials == []
    assert rcodes(talk.got) == [dns.rcode.NOERROR, dns.rcode.REFUSED]


def test_a_reply_that_fits_no_query_goes_nowhere() -> None:
    talk = Talk()
    talk.ask(WWW)
    talk.accept()
    talk.say(response(MAIL), b"\0\1" + response(MAIL)[2:], WWW, b"x", response(WWW), response(WWW))
    assert talk.got == [response(WWW)]
    assert talk.nameservers.servers[0].mismatched == 5


def test_a_nameserver_that_closes_after_each_answer_is_connected_to_again() -> None:
    talk = Talk()
    for number in range(3):
        talk.ask(WWW)
        talk.accept()
        talk.say(response(WWW))
        talk.hang_up()
        assert len(talk.got) == number + 1


def test_a_query_that_was_lost_with_its_connection_is_asked_once_more_then_servfail() -> None:
    talk = Talk()
    talk.ask(WWW)
    talk.accept()
    talk.hang_up()
    talk.accept()
    assert talk.heard == [WWW]
    talk.hang_up()
    assert rcodes(talk.got) == [dns.rcode.SERVFAIL]
    assert not talk.client.busy


def test_the_next_nameserver_is_tried_then_servfail() -> None:
    talk = Talk(count=2)
    talk.ask(WWW)
    talk.refuse()
    assert (len(talk.dials), talk.got) == (2, [])
    talk.refuse()
    assert rcodes(talk.got) == [dns.rcode.SERVFAIL]


def test_silence_is_servfail_after_the_timeout_and_a_late_reply_goes_nowhere() -> None:
    talk = Talk()
    talk.ask(WWW)
    talk.accept()
    began = talk.client.active_at
    talk.client.sweep(began + 1.9)
    assert talk.got == []
    talk.client.sweep(began + 2.1)
    assert rcodes(talk.got) == [dns.rcode.SERVFAIL]
    talk.say(response(WWW))
    assert len(talk.got) == 1


def test_a_transfer_streams_and_the_connection_stays_usable() -> None:
    talk = Talk()
    talk.ask(AXFR)
    talk.accept()
    part = response(AXFR, ["example.com. 60 IN NS ns.example.com."])
    bare = part[:4] + b"\0\0" + part[6:12] + part[len(AXFR) :]
    talk.say(part)
    assert talk.got == [part]
    talk.client.sweep(talk.client.active_at + 20)  # a pause
    talk.say(bare)
    assert talk.got == [part, bare]
    talk.ask(WWW)
    talk.say(response(WWW))
    assert talk.got[-1] == response(WWW)


def test_a_transfer_that_is_cut_closes_the_client() -> None:
    talk = Talk()
    talk.ask(AXFR)
    talk.accept()
    talk.say(response(AXFR))
    talk.hang_up()
    assert talk.transport.disconnecting


def test_a_client_that_closed_its_half_gets_its_answers_first() -> None:
    talk = Talk()
    talk.ask(WWW)
    talk.accept()
    talk.client.readConnectionLost()
    assert not talk.transport.disconnecting
    talk.say(response(WWW))
    assert talk.got == [response(WWW)]
    assert talk.transport.disconnecting


def test_no_more_is_read_while_too_much_is_under_way() -> None:
    talk = Talk()
    talk.ask(*([WWW] * (PIPELINE + 10)))
    assert talk.transport.producerState == "paused"
    talk.accept()
    assert len(talk.heard) == PIPELINE
    talk.say(response(WWW))
    assert len(talk.heard) == PIPELINE + 1
    assert talk.transport.producerState == "paused"
    talk.say(*([response(WWW)] * 20))
    assert len(talk.heard) == PIPELINE + 10
    assert talk.transport.producerState == "producing"


def test_whoever_reads_slowly_stops_both_sides() -> None:
    talk = Talk()
    talk.ask(WWW)
    talk.accept()
    producer = talk.transport.producer
    assert producer is not None
    producer.pauseProducing()
    assert (talk.transport.producerState, talk.upstream[0][1].producerState) == ("paused", "paused")
    producer.resumeProducing()
    assert (talk.transport.producerState, talk.upstream[0][1].producerState) == ("producing", "producing")


@pytest.mark.parametrize(("busy", "after_s"), [(False, IDLE_S), (True, STALLED_S)])
def test_who_is_idle_or_stalled_is_cut_off(busy: bool, after_s: float) -> None:
    talk = Talk()
    if busy:
        talk.ask(WWW)
        talk.accept()
        talk.client.output_held(held=True)
    talk.client.sweep(talk.client.active_at + after_s - 0.1)
    assert not talk.transport.disconnected
    talk.client.sweep(talk.client.active_at + after_s + 0.1)
    assert talk.transport.disconnected


def test_when_the_client_goes_so_does_the_upstream_connection() -> None:
    talk = Talk()
    talk.ask(WWW)
    talk.accept()
    assert talk.exchange.traffic.tcp_connections == 1
    talk.client.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    assert talk.upstream[0][1].disconnected
    assert talk.exchange.traffic.tcp_connections == 0
