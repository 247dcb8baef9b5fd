"""The record that a query's data travels in, and what its two ends must offer: the listener, and the exchange.

Nothing here does anything. A client's address is its host everywhere in `forward`: the 4 or 16 octets of it. The way
back to a client is its listener's own affair; nobody else looks into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import define

if TYPE_CHECKING:
    from flatproxy.counts import Verdicts


class Link(Protocol):
    """A client connection's own connection to a nameserver."""

    def send(self, query: Query) -> None:
        """Send a query under its own ID."""


class Listener(Protocol):
    """Where a query came in, and its reply goes out: a socket for datagrams, or one connection of a stream."""

    datagrams: bool
    """Whether each message is a datagram: then the sender may be forged, and a reply has a largest size."""
    verdicts: Verdicts
    """What became of the queries of its transport."""
    rcodes: list[int]
    """Replies by response code; whoever sends them counts them there."""
    waiting: int
    """Queries that wait for a cold target."""
    gone: bool
    """Whether nobody can be sent anything any more."""

    @property
    def link(self) -> Link | None:
        """The connection to the nameserver that belongs to this one; None for datagrams."""

    def send(self, reply: bytes, back: Any) -> None:  # noqa: ANN401 - the listener's own
        """Send a reply; `OSError` where that cannot be done."""

    def proxy_header(self, back: Any) -> bytes:  # noqa: ANN401 - the listener's own
        """Return the PROXY header that names the client."""


@define(eq=False, weakref_slot=False, init=False)
class Query:
    """A query on its way to a nameserver: see `query_from`."""

    message: bytes
    """As the client sent it."""
    question: bytes
    """In lower case; empty where the message has no plain one."""
    host: bytes
    """The client's address, 4 or 16 octets."""
    listener: Listener
    back: Any
    """The way back to the client, in whatever form the listener uses."""
    sent_at: float
    """When it was last sent, monotonic seconds."""
    preserved: bool
    """Whether it keeps its ID."""
    tried: tuple[object, ...]
    """The nameservers asked so far over UDP."""
    attempts: int
    """Connections that it went out on; a link's alone."""
    begun: bool
    """Whether it is a transfer whose first message has come; a link's alone."""


def query_from(
    message: bytes,
    question: bytes,
    host: bytes,
    listener: Listener,
    back: Any,  # noqa: ANN401 - the listener's own
    sent_at: float,
    *,
    preserved: bool = False,
) -> Query:
    """Return the record of a query that nobody was asked yet.

    The exchange fills in that of an ordinary one by itself: arguments would cost 3 % of forwarding it.
    """
    query = Query()
    query.message, query.question, query.host = message, question, host
    query.listener, query.back, query.sent_at, query.preserved, query.tried = listener, back, sent_at, preserved, ()
    return query


class Outcome(Protocol):
    """What a nameserver calls when a query has ended."""

    def deliver(self, query: Query, reply: bytes, now: float) -> None:
        """Take the reply, with the ID it came with."""

    def give_up(self, query: Query, now: float) -> None:
        """Take note that this nameserver sent no reply."""

    def overload(self, query: Query) -> None:
        """Take note that there is no room for this query."""
