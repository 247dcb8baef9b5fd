"""Several servers for one question: in which order, for how long each, and what counts as an answer.

How one of them is asked is not known here, and no octet is sent.
"""

from __future__ import annotations

from ipaddress import ip_address
from time import monotonic, time
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
from attrs import define, field

from flatproxy.config.settings import Endpoint
from flatproxy.errors import ChainBroken, ChainError, FlatproxyError, UpstreamTimeout
from flatproxy.flatten.resolvers.encrypted import EncryptedResolver
from flatproxy.flatten.resolvers.plain import exchange
from flatproxy.wire import edns
from flatproxy.wire.tap import TappedMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import dns.edns
    import dns.name

    from flatproxy.counts import ResolverCounts
    from flatproxy.wire.tap import Kind, Tap, TappedTransport

AnyServer = Endpoint | EncryptedResolver

FINAL = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
"""What a server says that knows; of others, the next one is asked."""
PREFERRED_S = 60.0
"""A server that answered where those before it did not is asked first for so long."""


def _no_rest() -> None:
    """Go on at once."""


def told_of(server: AnyServer, kind: Kind, message: bytes) -> TappedMessage:
    """Return what a query log is told of a question to a server, or its reply."""
    at = server if isinstance(server, Endpoint) else server.server.endpoint
    way: TappedTransport = "udp" if isinstance(server, Endpoint) else server.server.scheme
    return TappedMessage(kind, way, message, time(), responder=ip_address(at.host).packed, port=at.port)


@define
class Servers:
    """Servers in order of preference, all asked within `timeout_s` for one question."""

    endpoints: Sequence[AnyServer]
    timeout_s: float
    recursion: bool
    asked: AnyServer | None = None
    """Who answered last."""
    header: bytes = b""
    """Octets that come before each query, such as a PROXY header."""
    rest: Callable[[], None] = _no_rest
    require_ad: bool = False
    """Take only what a server has validated (AD=1)."""
    counts: Mapping[str, ResolverCounts] = field(factory=dict)
    """Where replies and failures are counted, by the server's text; those that are not there are not counted."""
    tap: Tap | None = None
    """Who is told of what is asked and replied outside of the shared sockets."""
    _preferred: tuple[Sequence[AnyServer], float] | None = None
    """The order of the moment, and when it ends."""

    def order(self, now: float) -> Sequence[AnyServer]:
        """Return whom to ask at `now` (monotonic seconds), one after the other."""
        if self._preferred is not None and now < self._preferred[1]:
            return self._preferred[0]
        return self.endpoints

    def answered(self, place: int, order: Sequence[AnyServer], now: float) -> None:
        """Take note of who gave an answer: asked first for a while, where it was not the first that was asked."""
        self.asked = order[place]
        if place:
            better = order[place]
            self._preferred = (better, *(each for each in self.endpoints if each is not better)), now + PREFERRED_S

    def note(self, server: AnyServer, outcome: bytes | dns.message.Message | FlatproxyError, took_s: float) -> None:
        """Count what came of asking one server."""
        counts = self.counts.get(str(server))
        if counts is None:
            return
        if isinstance(outcome, FlatproxyError):
            counts.silent("timeout" if isinstance(outcome, UpstreamTimeout) else "unreachable")
        else:
            counts.answered(outcome[3] & 0x0F if isinstance(outcome, bytes) else int(outcome.rcode()), took_s)

    def not_validated(self, server: AnyServer) -> ChainBroken:
        """Count an answer that must not be taken; return what is said of it."""
        counts = self.counts.get(str(server))
        if counts is not None:
            counts.not_validated()
        return ChainBroken(f"{server}: not validated (AD=0), and require_ad is set")

    async def ask(
        self,
        name: dns.name.Name,
        rdtype: dns.rdatatype.RdataType,
        *,
        dnssec: bool = False,
        options: Sequence[dns.edns.Option] = (),
    ) -> dns.message.Message:
        """Return the first answer that says yes or no; otherwise the last other one. `dnssec` asks with DO=1.

        Raises `UpstreamTimeout` where nobody answers in time, `ChainBroken` where nobody can be asked.
        """
        query = dns.message.make_query(
            name, rdtype, use_edns=0, payload=edns.MAX_UDP_SIZE, want_dnssec=dnssec, options=[*options]
        )
        self.rest()
        if not self.recursion:
            query.flags &= ~dns.flags.RD
        if self.require_ad:
            query.flags |= dns.flags.AD  # RFC 6840 section 5.7: say whether it is validated
        other: dns.message.Message | None = None
        failures: list[FlatproxyError] = []
        order = self.order(monotonic())
        for place, server in enumerate(order):
            try:
                response = await self._ask_one(server, query)
            except (UpstreamTimeout, ChainError) as error:
                # With its frames it would hold this one, and be held by it, until the collector finds both.
                failures.append(error.with_traceback(None))
                continue
            if self.require_ad and response.rcode() in FINAL and not response.flags & dns.flags.AD:
                failures.append(self.not_validated(server))
                continue
            if response.rcode() in FINAL:
                self.answered(place, order, monotonic())
                return response
            self.asked = server
            other = response
        return self.last_resort(name, rdtype, other, failures)

    async def _ask_one(self, server: AnyServer, query: dns.message.Message) -> dns.message.Message:
        began = monotonic()
        self._tell(server, "resolver_query", query)
        try:
            if isinstance(server, Endpoint):
                response = await exchange(query, server, self.share_s, header=self.header, rest=self.rest)
            else:
                response = await server.ask(query, self.share_s)
        except (UpstreamTimeout, ChainError) as error:
            self.note(server, error, monotonic() - began)
            raise
        self.note(server, response, monotonic() - began)
        self._tell(server, "resolver_response", response)
        return response

    def _tell(self, server: AnyServer, kind: Kind, message: dns.message.Message) -> None:
        if self.tap is not None and self.recursion:
            self.tap.tell(told_of(server, kind, message.to_wire()))

    @property
    def share_s(self) -> float:
        """The part of the time that one server has."""
        return self.timeout_s / max(len(self.endpoints), 1)

    def last_resort(
        self,
        name: dns.name.Name,
        rdtype: dns.rdatatype.RdataType,
        other: dns.message.Message | None,
        failures: Sequence[FlatproxyError],
    ) -> dns.message.Message:
        """Return the last other answer where no server said yes or no; raises as `ask` where there is none."""
        if other is not None:
            return other
        asked = f"{name.to_text(omit_final_dot=True)} {rdtype.name}"
        if not self.endpoints:
            raise ChainBroken(f"{asked}: there is no server to ask")
        if any(isinstance(failure, ChainError) for failure in failures):
            raise ChainBroken(f"{asked}: {'; '.join(map(str, failures))}")
        raise UpstreamTimeout(f"{asked}: no answer within {self.timeout_s:g} s")
