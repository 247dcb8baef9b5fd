"""What the packet path in C hands over, as the exchange sees it: a listener for each transport, and the way back.

It judges nothing: the exchange says what becomes of a message, and the path carries it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.logger import Logger

from flatproxy.counts import worth_a_line
from flatproxy.forward.query import query_from
from flatproxy.wire.peek import question_end, question_of

if TYPE_CHECKING:
    from flatproxy.counts import Verdicts
    from flatproxy.forward.exchange import Exchange
    from flatproxy.forward.native import _core
    from flatproxy.forward.query import Query

log = Logger()


@define(eq=False)
class _PathLink:
    """Has the path forward a query, but for datagrams that keep their ID: those are Python's to send."""

    exchange: Exchange

    def send(self, query: Query) -> None:
        """Send a query on."""
        if query.preserved and query.listener.datagrams:
            self.exchange.forward_datagram(query)
        else:
            query.back.forward()


@define(eq=False)
class HandedListener:
    """Where the path's clients of one transport are replied to; the way back is what was handed over."""

    datagrams: bool
    verdicts: Verdicts
    link: _PathLink
    rcodes: list[int] = field(factory=list)
    """None: the path counts what it sends."""
    waiting: int = 0
    gone: bool = False

    def send(self, reply: bytes, back: _core.Handed) -> None:
        """Send a reply; the path counts what cannot be sent."""
        back.reply(reply)

    def proxy_header(self, back: _core.Handed) -> bytes:
        """Return the PROXY header that names a datagram's client; a connection's is the path's to send."""
        return back.proxy_header()


@define(eq=False)
class PathLimits:
    """The path's rate limits: one bucket for a client, whoever takes its query."""

    path: _core.Path

    def excess(self, host: bytes, now: float, *, own: bool) -> int:  # noqa: ARG002 - the path has a clock
        """Say what is to become of a query: 0 goes on as if there were no limit."""
        return self.path.excess(host, own)


@define(eq=False)
class Handover:
    """Brings what is handed over to the exchange."""

    exchange: Exchange
    core: Any
    """The extension."""
    _udp: HandedListener = field(init=False)
    _tcp: HandedListener = field(init=False)
    _cold: int = field(init=False)
    _landing: int = field(init=False)
    _failures: int = 0

    def __attrs_post_init__(self) -> None:
        link, traffic = _PathLink(self.exchange), self.exchange.traffic
        self._udp = HandedListener(datagrams=True, verdicts=traffic.udp, link=link)
        self._tcp = HandedListener(datagrams=False, verdicts=traffic.tcp, link=link)
        self._cold = self.core.HANDED_COLD
        self._landing = self.core.HANDED_LANDING

    def take(self, path: _core.Path, now: float) -> None:
        """See to everything that was handed over; what breaks something gets no reply."""
        for handed in path.take():
            listener = self._tcp if handed.tcp else self._udp
            try:
                self._see_to(handed, listener, now)
            except Exception:  # noqa: BLE001 - no message may stop the service
                listener.verdicts.dropped += 1
                self._failures += 1
                if worth_a_line(self._failures):
                    log.failure("a message that was handed over was not understood", event="query_failed")

    def _see_to(self, handed: _core.Handed, listener: HandedListener, now: float) -> None:
        message, host = handed.message, handed.host
        if handed.kind == self._landing:
            question = question_of(message, question_end(message))
            query = query_from(message, question, host, listener, handed, handed.arrived_s)
            self.exchange.land(query, handed.came, now)
        else:  # a cold answer's query has taken its token already
            self.exchange.receive(message, host, listener, handed, now, within_limits=handed.kind == self._cold)
