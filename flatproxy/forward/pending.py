"""Queries under way on one upstream socket, by the ID they were sent with. No socket and no clock lives here.

IDs are random (RFC 5452 section 9.2) and told apart from the client's, so that clients with one ID do not collide.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flatproxy.wire.peek import HEADER, QR, answers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.forward.query import Query

_RANDOM_OCTETS = 8192


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
        question = query.question
        plain = reply.startswith(question, HEADER) and reply[2] & QR and reply[5]
        if not plain and not answers(reply, question):
            return None
        del self._queries[message_id]
        return query

    def expire(self, before: float) -> list[Query]:
        """Take out and return the queries sent before this time, oldest first."""
        expired = []
        for message_id, query in self._queries.items():
            if query.sent_at >= before:
                break
            expired.append(message_id)
        return [self._queries.pop(message_id) for message_id in expired]

    def sent_between(self, after: float, before: float) -> list[tuple[bytes, Query]]:
        """Return the queries sent in [after, before), oldest first, each with the ID it was sent with."""
        found = []
        for message_id, query in self._queries.items():
            if query.sent_at >= before:
                break
            if query.sent_at >= after:
                found.append((message_id, query))
        return found

    def take_all(self) -> list[Query]:
        """Take out and return every query."""
        taken = list(self._queries.values())
        self._queries.clear()
        return taken
