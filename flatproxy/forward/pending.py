"""Queries under way on one upstream socket, by the ID they were sent with. No socket and no clock lives here.

IDs are random (RFC 5452 section 9.2) and told apart from the client's, so that clients with one ID do not collide.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flatproxy.forward.socket_addresses import Client, address_of
from flatproxy.wire.peek import HEADER, QR, answers

Send = Callable[[bytes, Any], object]
"""Sends a reply to a client: the reply, and the client in whatever form the listener uses."""

Query = tuple[bytes, bytes, Send, Any, float, tuple[object, ...], bool]
"""The query as the client sent it, its lower-cased question (empty where it has no plain one), how and to whom to
reply, when it was sent (monotonic seconds), the servers asked so far, and whether it keeps its ID. A bare tuple,
because one is made for each packet."""

_RANDOM_OCTETS = 8192


class Back(NamedTuple):
    """The way back to a client whom the nameserver is told of."""

    octets: Client
    client: tuple[str, int]
    """Who asked: the sender, or whom a trusted PROXY header named."""
    asked: tuple[str, int]


def host_of(query: Query) -> str:
    """Return the address of the client who asked over UDP."""
    client = query[3]
    if type(client) is Back:
        return client.client[0]
    return address_of(client)[0] if type(client) is bytes else str(client[0])


def random_ids() -> Iterator[bytes]:
    """Yield message IDs of two octets without end, fetched in bulk from the kernel's random source."""
    while True:
        octets = os.urandom(_RANDOM_OCTETS)
        for start in range(0, _RANDOM_OCTETS, 2):
            yield octets[start : start + 2]


class Pending:
    """The table of one socket, in the order in which the queries were sent."""

    __slots__ = ("_ids", "_queries")

    def __init__(self, ids: Iterator[bytes]) -> None:
        self._queries: dict[bytes, Query] = {}
        self._ids = ids

    def __len__(self) -> int:
        return len(self._queries)

    def __iter__(self) -> Iterator[Query]:
        return iter(self._queries.values())

    def admit(self, query: Query) -> bytes:
        """Keep the query and return the ID to send it with; the caller keeps the table well below 65,536."""
        queries = self._queries
        message_id = next(self._ids)
        while message_id in queries:
            message_id = next(self._ids)
        queries[message_id] = query
        return message_id

    def match(self, reply: bytes) -> Query | None:
        """Take out and return the query that this reply answers; a reply that answers none takes out nothing."""
        message_id = reply[:2]
        query = self._queries.get(message_id)
        if query is None:
            return None
        # Almost every reply repeats a question in lower case; the others are looked at more closely.
        # Without a question (QDCOUNT 0) the same octets may stand there as a record.
        plain = reply.startswith(query[1], HEADER) and reply[2] & QR and reply[5]
        if not plain and not answers(reply, query[1]):
            return None
        del self._queries[message_id]
        return query

    def expire(self, before: float) -> list[Query]:
        """Take out and return the queries sent before this time, oldest first."""
        expired = []
        for message_id, query in self._queries.items():
            if query[4] >= before:
                break
            expired.append(message_id)
        return [self._queries.pop(message_id) for message_id in expired]

    def sent_between(self, after: float, before: float) -> list[tuple[bytes, Query]]:
        """Return the queries sent in [after, before), oldest first, each with the ID it was sent with."""
        found = []
        for message_id, query in self._queries.items():
            if query[4] >= before:
                break
            if query[4] >= after:
                found.append((message_id, query))
        return found

    def take_all(self) -> list[Query]:
        """Take out and return every query."""
        taken = list(self._queries.values())
        self._queries.clear()
        return taken
