"""One resolution without a task: a chain walk that is told replies as they come.

It asks servers in the order and with the time that `Servers.ask` gives them. What plain UDP cannot do (a cut reply is
asked for again over TCP) it leaves to whoever drives it, by `is_cut`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
from attrs import define, field

from flatproxy.errors import FlatproxyError
from flatproxy.flatten.chain import Ask, Chain
from flatproxy.flatten.reply_memo import Memo, learn
from flatproxy.flatten.resolvers.datagrams import Inquiry
from flatproxy.flatten.resolvers.servers import FINAL, Servers, told_of
from flatproxy.wire import edns, names
from flatproxy.wire.plain_reply import addresses_of
from flatproxy.wire.types import CLASS_IN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flatproxy.flatten.chain import Found, Scope
    from flatproxy.flatten.resolvers.datagrams import Reply
    from flatproxy.flatten.resolvers.servers import AnyServer
    from flatproxy.table.target import Target

_COUNTS = b"\0\1\0\0\0\0\0\1"
_RD, _NO_RD = b"\1\0" + _COUNTS, b"\0\0" + _COUNTS
_RD_AD = b"\1\x20" + _COUNTS
"""Say whether it is validated (RFC 6840 section 5.7)."""
_UNREADABLE = (dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED)
_OPT = edns.opt_record(dnssec_ok=False)


class Sender(Protocol):
    """Who sends queries, and has their replies arrive."""

    def send(self, query: Inquiry, now: float) -> None:
        """Ask; what comes of it arrives later."""

    def put_back(self, query: Inquiry) -> None:
        """Go on waiting: what arrived turned out to be no reply."""


@define(eq=False)
class TargetWalk:
    """The way from a target to its records. `rest` is called between two pieces of work."""

    target: Target
    began: float
    memo: Memo | None
    _resolvers: Servers
    _upstream: Servers
    _scope: Scope
    _client: Sender
    _rest: Callable[[], None]
    _chain: Chain | None = None
    is_cut: bool = False
    """Whether a reply came that was cut: the question is to be asked over TCP."""
    _servers: Servers = field(init=False)
    _question: bytes = b""
    _order: Sequence[AnyServer] = ()
    _number: int = 0
    """Which of them is asked."""
    _other: dns.message.Message | None = None
    _failures: list[FlatproxyError] = field(factory=list)
    _replies: int = 0
    """How many were parsed."""

    def begin(self, now: float) -> None:
        """Ask the first question; `FlatproxyError` where that cannot be done."""
        memo = self.memo
        if memo is not None and (memo.scope is self._scope or memo.holds(self.chain, self._scope)):
            self._ask(self.target.name, now, upstream=memo.upstream)
            return
        self.memo = None
        self._ask_on(now)

    @property
    def chain(self) -> Chain:
        """The walk itself, made when it is needed first: an equal reply needs none."""
        if self._chain is None:
            rdtype = dns.rdatatype.RdataType(self.target.rdtype)
            self._chain = Chain.to(names.to_name(self.target.name), rdtype, self._scope)
        return self._chain

    @property
    def _asked(self) -> Ask:
        assert self.chain.ask is not None, "the walk is over"
        return self.chain.ask

    def _ask_on(self, now: float) -> None:
        """Ask what the chain asks next."""
        asked = self._asked
        self._ask(names.to_wire(asked.name), now, upstream=asked.upstream)

    def _ask(self, name: bytes, now: float, *, upstream: bool) -> None:
        self._servers = self._upstream if upstream else self._resolvers
        self._question = name + self.target.rdtype.to_bytes(2, "big") + CLASS_IN
        self._order, self._number, self._other = self._servers.order(now), 0, None
        self._failures.clear()
        self._put(now)

    @property
    def has_parsed(self) -> bool:
        """Whether a reply was parsed, which takes many times as long as all the rest."""
        return self._replies > 0

    def _put(self, now: float) -> Found | None:
        """Ask the server whose turn it is; where all had theirs, go on with what they said."""
        servers = self._servers
        if self._number == len(self._order):
            return self._receive(
                servers.last_resort(self._asked.name, self.chain.rdtype, self._other, self._failures), now
            )
        flags = (_RD_AD if servers.require_ad else _RD) if servers.recursion else _NO_RD
        message = flags + self._question + _OPT
        server = self._order[self._number]
        query = Inquiry(self, server, servers.header, message, self._question, servers.share_s)
        self._client.send(query, now)
        if servers.tap is not None and servers.recursion:
            servers.tap.tell(told_of(server, "resolver_query", (query.message_id or b"\0\0") + message))
        return None

    def _tell(self, query: Inquiry, result: Reply) -> None:
        """Have the query log know of a reply."""
        servers = self._servers
        if servers.tap is not None and servers.recursion:
            octets = result if isinstance(result, bytes) else b"\0\0" + result.to_wire()[2:]
            servers.tap.tell(told_of(query.endpoint, "resolver_response", octets))

    def hear(self, query: Inquiry, result: Reply | FlatproxyError, now: float) -> Found | None:
        """Take what came of a query; return what was found, None while it goes on. Raises as a chain and as `ask`."""
        servers, octets = self._servers, result if isinstance(result, bytes) else b""
        if isinstance(result, FlatproxyError):
            servers.note(query.endpoint, result, now - query.sent_at)
            return self._ask_next(result, now)
        self._tell(query, result)
        if octets and (found := self._unparsed(octets)) is not None:
            servers.note(query.endpoint, octets, now - query.sent_at)
            servers.answered(self._number, self._order, now)
            return found
        response = _parsed(result) if isinstance(result, bytes) else result
        if response is None:
            self._client.put_back(query)
            return None
        servers.note(query.endpoint, result, now - query.sent_at)
        self._rest()
        if response.flags & dns.flags.TC:
            self.is_cut = True
            return None
        if response.rcode() not in FINAL:
            self._other = response
            return self._ask_next(None, now)
        if servers.require_ad and not response.flags & dns.flags.AD:
            return self._ask_next(servers.not_validated(query.endpoint), now)
        servers.answered(self._number, self._order, now)
        return self._receive(response, now, octets)

    def _unparsed(self, reply: bytes) -> Found | None:
        """Return what a reply leads to that is like the last one, or plain; None where it must be parsed."""
        if self._servers.require_ad and _is_not_validated(reply):
            return None
        if self.memo is not None and (found := self.memo.found(reply, self._question)) is not None:
            return found
        plain = addresses_of(reply, self._question)
        if plain is None:
            return None
        chain, upstream = self.chain, self._asked.upstream
        chain.receive_addresses(*plain)
        is_one_step = not self._replies and len(chain.visited) == 1
        self.memo = Memo(upstream, self._scope) if is_one_step else None
        return chain.found

    def _ask_next(self, failure: FlatproxyError | None, now: float) -> Found | None:
        """Go on to the next server."""
        if failure is not None:
            self._failures.append(failure)
        self._number += 1
        return self._put(now)

    def _receive(self, response: dns.message.Message, now: float, reply: bytes = b"") -> Found | None:
        """Have the chain take an answer, and ask what it asks then."""
        chain, upstream = self.chain, self._asked.upstream
        self._replies += 1
        chain.receive(response)
        self._rest()
        if chain.ask is not None:
            self.memo = None
            self._ask_on(now)
            return None
        self.memo = learn(reply, chain, self._scope, upstream=upstream) if reply and self._replies == 1 else None
        return chain.found


def _is_not_validated(reply: bytes) -> bool:
    """Tell whether a whole answer that says yes or no has AD=0."""
    return reply[3] & 0x0F in FINAL and not reply[3] & 0x20 and not reply[2] & 0x02


def _parsed(reply: bytes) -> dns.message.Message | None:
    """Return the response, None where it is none: whoever sent it, the answer may still come.

    ID and question were compared before. Errors may lack the question, as dnspython's `is_response` has it.
    """
    try:
        response = dns.message.from_wire(reply, ignore_trailing=True)
    except dns.exception.DNSException:
        return None
    if response.opcode() != dns.opcode.QUERY or not (response.question or response.rcode() in _UNREADABLE):
        return None
    return response
