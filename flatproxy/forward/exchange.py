"""The road of a UDP query: judged, sent on or answered; and the way back of its reply. TCP shares the landing rule.

`Road.policy` is the one thing that a reload changes, in one assignment.
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.forward.policy import DROP, FLATTEN, FORWARD, REFUSE
from flatproxy.forward.rate_limits import SLIP
from flatproxy.wire import edns, landing, reply
from flatproxy.wire.peek import HEADER, question_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.counts import Traffic
    from flatproxy.forward.pending import Query, Send
    from flatproxy.forward.policy import Policy
    from flatproxy.table.answers import Answer


@define(eq=False)
class Road:
    """What every listener shares: the policy of the moment, and the counts."""

    traffic: Traffic
    policy: Policy = field(init=False)

    def query(self, message: bytes, host: bytes, send: Send, client: object, now: float) -> None:
        """Take a datagram from a client at `host` (its octets); `send(reply, client)` is the way back.

        May cost one judgement, and for a query that is forwarded one tuple.
        """
        policy = self.policy
        verdict, end, answer, question = policy.judge(message, host)
        counts = self.traffic.udp
        if policy.limits is not None and verdict != DROP:
            excess = policy.limits.excess(host, now, own=verdict in (FLATTEN, REFUSE))
            if excess:
                self.traffic.limited += 1
                if excess == SLIP:
                    self.reply(reply.truncated(message), send, client)
                return
        if verdict == FORWARD:
            counts.forwarded += 1
            self.forward(message, question, send, client, now)
        elif verdict == FLATTEN and answer is not None:
            counts.flattened += 1
            made = answer.reply(message, end, now, udp=True)
            if made is not None:
                self.reply(made, send, client)
            elif not answer.wait(now, partial(self._after_wait, answer, message, end, send, client)):
                self.forward(message, question, send, client, now)
        elif verdict == REFUSE:
            counts.refused += 1
            self.reply(reply.error(message, reply.REFUSED), send, client)
        elif verdict == DROP:
            counts.dropped += 1
            self.traffic.malformed += 1
        else:
            counts.forwarded += 1
            self.preserve(message, question, send, client, now)

    def forward(self, message: bytes, question: bytes, send: Send, client: object, now: float) -> None:
        """Send a query to the nameserver under an ID of our own."""
        upstream = self.policy.upstreams.current
        if upstream is None:
            self._fail(message, send, client)
        else:
            upstream.send((message, question, send, client, now, upstream.itself, False))

    def preserve(self, message: bytes, question: bytes, send: Send, client: object, now: float) -> None:
        """Send a query to the nameserver under its own ID."""
        self.traffic.malformed += not question and not message[2] & 0x78
        upstream = self.policy.upstreams.current
        if upstream is None:
            self._fail(message, send, client)
        else:
            upstream.send_preserved((message, question, send, client, now, upstream.itself, True))

    def deliver(self, query: Query, came: bytes, now: float) -> None:
        """Send a nameserver's reply back to the client under the client's ID.

        May cost one copy of the reply and one look at its first record; a landing is parsed, and is rare.
        """
        message, question, send, client, sent_at, _tried, _preserved = query
        self.traffic.latency.add(now - sent_at)
        back = message[:2] + came[2:]
        if question and landing.may_land(back, question):
            end = HEADER + len(question)
            limit = edns.udp_limit(message, end) if edns.is_whole(message, end) else edns.PLAIN_UDP_SIZE
            self.land(back, max(limit, len(back)), now, lambda made: self.reply(made, send, client))
        else:
            self.reply(back, send, client)

    def give_up(self, query: Query, now: float) -> None:
        """Ask the next server, or say SERVFAIL."""
        message, question, send, client, _sent_at, tried, preserved = query
        upstream = self.policy.upstreams.next_after(tried)
        if upstream is None:
            self._fail(message, send, client)
            return
        again = (message, question, send, client, now, (*tried, upstream), preserved)
        if preserved:
            upstream.send_preserved(again)
        else:
            upstream.send(again)

    def overload(self, query: Query) -> None:
        """Say SERVFAIL: there is no room for this query."""
        self.traffic.overloaded += 1
        self._fail(query[0], query[2], query[3])

    def land(self, came: bytes, limit: int, now: float, respond: Callable[[bytes], None]) -> None:
        """Respond with a reply whose CNAME chain may reach a flagged name, with that name's addresses put right."""
        table = self.policy.table
        end = question_end(came)
        type_and_class = came[end - 4 : end]
        found = landing.find(came, lambda name: table.get(name + type_and_class) is not None)
        answer = table.get(found.name + type_and_class) if found is not None else None
        if found is None or answer is None:
            respond(came)
            return
        settle = partial(_settle, answer, found, came, limit, respond)
        if answer.rrset(now) is not None or not answer.wait(now, settle):
            settle()

    def reply(self, made: bytes, send: Send, client: object) -> None:
        """Send a reply to a client; a client that cannot be reached is no reason to stop."""
        # An extended rcode comes without records: see `reply.rcode`.
        code = made[3] & 0x0F if made[7] else reply.rcode(made)
        if code < len(self.traffic.rcodes):
            self.traffic.rcodes[code] += 1
        try:
            send(made, client)
        except OSError:
            self.traffic.unsent += 1

    def _fail(self, message: bytes, send: Send, client: object) -> None:
        self.reply(self.servfail(message), send, client)

    def servfail(self, message: bytes) -> bytes:
        """Return SERVFAIL for a query that no nameserver answered, 22 for a flagged name, else 23 (RFC 8914)."""
        flagged = self.policy.table.get(message[HEADER : question_end(message)].lower()) is not None
        code = edns.EDE_NO_REACHABLE_AUTHORITY if flagged else edns.EDE_NETWORK_ERROR
        return reply.error(message, reply.SERVFAIL, code)

    def _after_wait(self, answer: Answer, message: bytes, end: int, send: Send, client: object) -> None:
        now = monotonic()
        made = answer.reply(message, end, now, udp=True)
        if made is None:
            self.forward(message, message[HEADER:end].lower(), send, client, now)
        else:
            self.reply(made, send, client)


def _settle(answer: Answer, found: landing.Landing, came: bytes, limit: int, respond: Callable[[bytes], None]) -> None:
    """Respond with the landing put right, or with the reply as it came where the flagged name has no answer now."""
    rrset = answer.rrset(monotonic())
    if rrset is None:
        respond(came)
    else:
        ttl, rdatas = rrset
        respond(landing.rewrite(found, ttl, rdatas, answer.soa(found.name), limit))
