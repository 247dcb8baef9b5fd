"""One query's way, whatever it came by: judged, answered or forwarded, and the way back of its reply.

No socket lives here. A listener hands in octets, their sender and itself; the exchange says what is sent to whom.
A reload changes `policy`, `limits`, `nameservers` and `rehearsing`, and nothing else.
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from flatproxy.forward.policy import DROP, FLATTEN, FORWARD, REFUSE
from flatproxy.forward.query import Query, query_from
from flatproxy.forward.rate_limits import SLIP
from flatproxy.forward.rehearsal import compare
from flatproxy.forward.tapped import TappedListener
from flatproxy.wire import edns, landing, reply
from flatproxy.wire.peek import HEADER, OPCODE, question_end, question_of

if TYPE_CHECKING:
    from flatproxy.counts import Traffic
    from flatproxy.forward.nameservers.pool import Pool
    from flatproxy.forward.policy import Policy
    from flatproxy.forward.query import Listener
    from flatproxy.table.answers import Answer, Responder
    from flatproxy.table.table import Table
    from flatproxy.wire.tap import Tap, TappedTransport


class ClientLimits(Protocol):
    """The rate limits in force."""

    def excess(self, host: bytes, now: float, *, own: bool) -> int:
        """Say what is to become of a query: 0 goes on as if there were no limit. `own`: flatproxy itself responds."""


class Exchange:
    """What every listener shares: the rules of the moment, the nameservers behind us, and the counts."""

    policy: Policy
    nameservers: Pool

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.limits: ClientLimits | None = None
        self.tap: Tap | None = None
        """Who is told of every message, None for nobody."""
        self.rehearsing: Table | None = None
        """What is compared with replies, None where no name is in shadow mode."""

    def receive(
        self,
        message: bytes,
        host: bytes,
        listener: Listener,
        back: Any,  # noqa: ANN401 - the listener's own
        now: float,
        *,
        within_limits: bool = False,
    ) -> None:
        """Take a message from a client at `host`; `back` is the listener's way back to it.

        May cost one judgement, and for a query that is forwarded one record. `within_limits`: its token was taken.
        """
        if self.tap is not None:
            listener = TappedListener(listener, self.tap, host, message, self._way_of(listener))
        verdict, end, answer, question = self.policy.judge(message, host)
        if (
            self.limits is not None
            and not within_limits
            and self._is_over_limit(verdict, message, host, listener, back, now)
        ):
            return
        if verdict == FORWARD:
            listener.verdicts.forwarded += 1
            query = Query()  # as `query_from` would, without what its call costs
            query.message, query.question, query.host = message, question, host
            query.listener, query.back, query.sent_at, query.preserved = listener, back, now, False
            self._forward(query)
        elif verdict == FLATTEN and answer is not None:
            listener.verdicts.flattened += 1
            made = answer.reply(message, end, now, udp=listener.datagrams)
            if made is not None:
                self.reply(made, listener, back)
            else:
                self._wait(query_from(message, question, host, listener, back, now), answer, end)
        elif verdict == REFUSE:
            listener.verdicts.refused += 1
            self.reply(reply.error_reply(message, reply.REFUSED), listener, back)
        elif verdict == DROP:
            listener.verdicts.dropped += 1
            self.traffic.malformed += 1
        else:
            listener.verdicts.forwarded += 1
            self.traffic.malformed += not question and not message[2] & OPCODE
            self._forward(query_from(message, question, host, listener, back, now, preserved=True))

    def _way_of(self, listener: Listener) -> TappedTransport:
        if listener.datagrams:
            return "udp"
        return "tls" if listener.verdicts is self.traffic.tls else "tcp"

    def _is_over_limit(
        self,
        verdict: int,
        message: bytes,
        host: bytes,
        listener: Listener,
        back: Any,  # noqa: ANN401 - the listener's own
        now: float,
    ) -> bool:
        """Tell whether a query is above its client's rate, and do away with it where it is.

        Over a stream an address is not forged: what is answered here has no limit, and REFUSED says what is wrong.
        """
        limits, own = self.limits, verdict in (FLATTEN, REFUSE)
        if limits is None or verdict == DROP or (own and not listener.datagrams):
            return False
        excess = limits.excess(host, now, own=own)
        if not excess:
            return False
        self.traffic.limited += 1
        if not listener.datagrams:
            listener.verdicts.refused += 1
            self.reply(reply.error_reply(message, reply.REFUSED), listener, back)
        elif excess == SLIP:
            self.reply(reply.truncated(message), listener, back)
        return True

    def _forward(self, query: Query) -> None:
        """Send a query to a nameserver by the transport that it came by."""
        link = query.listener.link
        if link is not None:
            link.send(query)
        else:
            self.forward_datagram(query)

    def forward_datagram(self, query: Query) -> None:
        """Send a query to the best nameserver over UDP, or say SERVFAIL."""
        upstream = self.nameservers.current
        if upstream is None:
            self.fail(query)
            return
        query.tried = upstream.itself
        if query.preserved:
            upstream.send_preserved(query)
        else:
            upstream.send(query)

    def _wait(self, query: Query, answer: Responder, end: int) -> None:
        """Wait for a target's first resolution where that is of use, else ask the nameserver."""
        if answer.wait(query.sent_at, partial(self._after_wait, query, answer, end)):
            query.listener.waiting += 1
        else:
            self._forward(query)

    def _after_wait(self, query: Query, answer: Responder, end: int) -> None:
        listener = query.listener
        listener.waiting -= 1
        if listener.gone:
            return
        query.sent_at = now = monotonic()
        made = answer.reply(query.message, end, now, udp=listener.datagrams)
        if made is None:
            self._forward(query)
        else:
            self.reply(made, listener, query.back)

    def deliver(self, query: Query, came: bytes, now: float, *, last: bool = True) -> None:
        """Send a nameserver's reply back to the client under the client's ID. A transfer has more of them than one.

        May cost one copy of the reply and one look at its first record; a landing is parsed, and is rare.
        """
        if last:
            self.traffic.latency.add(now - query.sent_at)
        message, question = query.message, query.question
        back = message[:2] + came[2:]
        if question and (landing.may_land(back, question) or self.rehearsing is not None):
            self.land(query, back, now)
        else:
            self.reply(back, query.listener, query.back)

    def give_up(self, query: Query, now: float) -> None:
        """Ask the next nameserver over UDP, or say SERVFAIL."""
        upstream = self.nameservers.next_after(query.tried)
        if upstream is None:
            self.fail(query)
            return
        query.sent_at, query.tried = now, (*query.tried, upstream)
        if query.preserved:
            upstream.send_preserved(query)
        else:
            upstream.send(query)

    def overload(self, query: Query) -> None:
        """Say SERVFAIL: there is no room for this query."""
        self.traffic.overloaded += 1
        self.fail(query)

    def fail(self, query: Query) -> None:
        """Say SERVFAIL: no nameserver answered, code 22 for a flagged name, else 23 (RFC 8914)."""
        message, view = query.message, self.policy.view_of(query.host)
        flagged = self.policy.table.get(question_of(message, question_end(message)), view) is not None
        code = edns.EDE_NO_REACHABLE_AUTHORITY if flagged else edns.EDE_NETWORK_ERROR
        self.reply(reply.error_reply(message, reply.SERVFAIL, code), query.listener, query.back)

    def reply(self, made: bytes, listener: Listener, back: Any) -> None:  # noqa: ANN401 - the listener's own
        """Send a reply to a client; a client that cannot be reached is no reason to stop."""
        # An extended rcode comes without records: see `reply.rcode`.
        code = made[3] & 0x0F if made[7] else reply.rcode(made)
        if code < len(listener.rcodes):
            listener.rcodes[code] += 1
        try:
            listener.send(made, back)
        except OSError:
            self.traffic.unsent += 1

    def land(self, query: Query, came: bytes, now: float) -> None:
        """Send a reply whose CNAME chain may reach a flagged name, with that name's addresses put right."""
        table, view = self.policy.table, self.policy.view_of(query.host)
        if self.rehearsing is not None and self._rehearse(self.rehearsing, query, came, now):
            self.reply(came, query.listener, query.back)
            return
        end = question_end(came)
        type_and_class = came[end - 4 : end]
        found = landing.find(came, lambda name: table.get(name + type_and_class, view) is not None)
        answer = None if found is None else table.get(found.name + type_and_class, view)
        if found is None or answer is None or self.policy.must_stay(found):
            self.reply(came, query.listener, query.back)
        elif answer.rrset(now) is None and answer.wait(now, partial(self._after_landing, query, answer, found, came)):
            query.listener.waiting += 1
        else:
            made = _landed(query, answer, found, came, signed=self.policy.must_sign(found))
            self.reply(made, query.listener, query.back)

    def _rehearse(self, table: Table, query: Query, came: bytes, now: float) -> bool:
        """Compare a reply with what would be said in its place; False where its question is not rehearsed."""
        answer = table.rehearsed(query.question, self.policy.view_of(query.host))
        if answer is None:
            return False
        if not self.policy.passes(query.message, query.question):
            compared = compare(answer, query.question[:-4], came, now, table.wall())
            if compared is not None:
                table.shadows.note(*compared)
        return True

    def _after_landing(self, query: Query, answer: Answer, found: landing.Landing, came: bytes) -> None:
        listener = query.listener
        listener.waiting -= 1
        if not listener.gone:
            self.reply(_landed(query, answer, found, came, signed=self.policy.must_sign(found)), listener, query.back)


def _landed(query: Query, answer: Answer, found: landing.Landing, came: bytes, *, signed: bool) -> bytes:
    """Return the landing put right, or the reply as it came where the flagged name has no answer now."""
    records = _records(answer, found, monotonic(), signed=signed)
    if records is None:
        return came
    limit = edns.MAX_TCP_SIZE
    if query.listener.datagrams:
        message, end = query.message, HEADER + len(query.question)
        limit = edns.udp_limit(message, end) if edns.is_whole(message, end) else edns.PLAIN_UDP_SIZE
        limit = max(limit, len(came))
    return landing.rewrite(found, records, limit)


def _records(answer: Answer, found: landing.Landing, now: float, *, signed: bool) -> landing.Records | None:
    """Return what stands at the flagged name, signed where it must be; None where there is nothing to put there."""
    rrset = answer.rrset(now)
    made = answer.signed(found.name, now) if signed else None
    if rrset is None or (signed and made is None):
        return None
    ttl_s, rdatas = rrset
    if made is not None:
        return landing.Records(ttl_s=ttl_s, rdatas=rdatas, rrsigs=made.rrsigs, authority=made.authority)
    soa = answer.soa(found.name)
    return landing.Records(ttl_s=ttl_s, rdatas=rdatas, authority=() if soa is None else (landing.record_of(soa),))
