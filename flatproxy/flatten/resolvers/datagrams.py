"""Asks questions over plain UDP, thousands at a time, without a task or a timer for each. It parses nothing.

What is for a resolver over TLS, HTTPS or QUIC goes its way in a task, and arrives at the same place.

As hard to spoof as with a socket for each query (RFC 5452): each query has a random ID and goes out on a random one of
`PORTS` connected sockets, whose ports the kernel draws, and which are used for few queries and a short time. A reply
must come from the server to that port with that ID, and repeat the question.

What comes is put into `arrived`, for whoever does one piece of work after the other; nobody is called back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import dns.message
from attrs import define, field

from flatproxy.config.settings import Endpoint
from flatproxy.errors import ChainBroken, FlatproxyError, UpstreamTimeout
from flatproxy.wire.peek import answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flatproxy.flatten.resolvers.encrypted import EncryptedResolver
    from flatproxy.flatten.resolvers.servers import AnyServer

Reply = bytes | dns.message.Message
"""A reply as it came over UDP, or parsed where a library has read it."""

PORTS = 16
"""Sockets to one server that new queries are spread over."""
PORT_QUERIES = 32
PORT_LIFE_S = 1.0
"""Then a socket takes no new query, and is closed with its last one."""
_READ_AT_ONCE = 64
"""Datagrams read from one socket before others have their turn."""
_MAX_DATAGRAM = 65_535
_RANDOM_OCTETS = 3 * 2048


class PortReaders(Protocol):
    """The loop's side: who reads sockets."""

    def add(self, readable: Port) -> None:
        """Have `read` called whenever there is something to read."""

    def remove(self, readable: Port) -> None:
        """Stop doing so; to be called before the descriptor is closed."""


def _draws() -> Iterator[tuple[bytes, int]]:
    """Yield an ID and a number below `PORTS` without end, fetched in bulk from the kernel's random source."""
    while True:
        octets = os.urandom(_RANDOM_OCTETS)
        for start in range(0, _RANDOM_OCTETS, 3):
            yield octets[start : start + 2], octets[start + 2] % PORTS


@define(eq=False)
class Inquiry:
    """One question to one server. `message` lacks its ID; `question` is lower case, in wire form."""

    asker: Any
    """Whoever takes the reply from `arrived` knows what this is."""
    endpoint: AnyServer
    header: bytes
    message: bytes
    question: bytes
    timeout_s: float
    deadline: float = 0.0
    is_again: bool = False
    """Whether it was sent a second time."""
    is_over: bool = False
    port: Port | None = None
    message_id: bytes = b""

    @property
    def sent_at(self) -> float:
        """When it was sent first."""
        return self.deadline - self.timeout_s


class Port:
    """One socket, on a port of its own, with its own table of IDs."""

    __slots__ = ("_client", "_descriptor", "_left", "_until", "pending", "sock")

    def __init__(self, client: DatagramClient, endpoint: Endpoint, now: float) -> None:
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self.sock.setblocking(False)  # noqa: FBT003 - the socket module's signature
            self.sock.connect((endpoint.host, endpoint.port))
        except OSError:
            self.sock.close()
            raise
        self.pending: dict[bytes, Inquiry] = {}
        self._client = client
        self._descriptor = self.sock.fileno()
        self._left = PORT_QUERIES
        self._until = now + PORT_LIFE_S

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def takes_more(self, now: float) -> bool:
        """Tell whether it may be used for another query."""
        return self._left > 0 and now < self._until

    def put(self, query: Inquiry, message_id: bytes) -> None:
        """Send a query under this ID, which is free; `OSError` as send(2)."""
        self._left -= 1
        self.pending[message_id] = query
        query.port, query.message_id = self, message_id
        with contextlib.suppress(BlockingIOError):  # lost, as any datagram may be
            self.sock.send(query.header + message_id + query.message)

    def put_again(self, query: Inquiry) -> None:
        """Send a query once more as it was: the first datagram, or its reply, may be lost."""
        with contextlib.suppress(OSError):
            self.sock.send(query.header + query.message_id + query.message)

    def retire(self) -> None:
        """Take no more queries."""
        self._left = 0

    def read(self, now: float) -> None:  # noqa: ARG002 - as the loop calls it
        """Read what has come: an end of each query that a reply answers."""
        pending, heard = self.pending, self._client.heard
        try:
            for _ in range(_READ_AT_ONCE):
                reply = self.sock.recv(_MAX_DATAGRAM)
                heard(pending.get(reply[:2]), reply)
                if not pending:
                    break
        except BlockingIOError:
            return
        except OSError as error:
            self._client.refused(self, error)
        if not self._left and not pending:
            self._client.close_port(self)


@define(eq=False)
class DatagramClient:
    """Every socket of this path. `wake` is called when something has arrived."""

    readers: PortReaders
    wake: Callable[[], None]
    arrived: deque[tuple[Inquiry, Reply | FlatproxyError]] = field(factory=deque)
    """Queries that are over, each with its reply or why there is none."""
    mismatched: int = 0
    """Datagrams that answer no query."""
    _slots: dict[Endpoint, list[Port | None]] = field(factory=dict)
    _open: set[Port] = field(factory=set)
    _deadlines: list[tuple[float, int, Inquiry]] = field(factory=list)
    _numbers: Iterator[int] = field(factory=count)
    _draws: Iterator[tuple[bytes, int]] = field(factory=_draws)
    _tasks: set[asyncio.Task[None]] = field(factory=set)

    def send(self, query: Inquiry, now: float) -> None:
        """Ask; what comes of it arrives later, within the query's `timeout_s`. After half of it, it is sent again."""
        query.deadline = now + query.timeout_s
        if not isinstance(query.endpoint, Endpoint):
            task = asyncio.get_running_loop().create_task(self._ask(query, query.endpoint))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        slots = self._slots.get(query.endpoint)
        if slots is None:
            slots = self._slots[query.endpoint] = [None] * PORTS
        message_id, number = next(self._draws)
        port = slots[number]
        try:
            if port is None or not port.takes_more(now):
                port = self._renew(slots, number, query.endpoint, now)
            while message_id in port.pending:
                message_id = next(self._draws)[0]
            port.put(query, message_id)
        except ConnectionRefusedError as error:
            assert port is not None
            self.refused(port, error)
        except OSError as error:
            if query.port is not None:
                del query.port.pending[query.message_id]
            self._end(query, _broken(query, error))
        else:
            heappush(self._deadlines, (now + query.timeout_s / 2, next(self._numbers), query))

    async def _ask(self, query: Inquiry, resolver: EncryptedResolver) -> None:
        result: Reply | FlatproxyError
        try:
            result = await resolver.ask(dns.message.from_wire(b"\0\0" + query.message), query.timeout_s)
        except FlatproxyError as error:
            result = error.with_traceback(None)
        self._end(query, result)

    def _renew(self, slots: list[Port | None], number: int, endpoint: Endpoint, now: float) -> Port:
        """Put a new socket in the place of one that takes no more queries."""
        before, slots[number] = slots[number], None
        if before is not None:
            self._retire(before)
        port = slots[number] = Port(self, endpoint, now)
        self._open.add(port)
        self.readers.add(port)
        return port

    def _retire(self, port: Port) -> None:
        port.retire()
        if not port.pending:
            self.close_port(port)

    def close_port(self, port: Port) -> None:
        """Close a socket that nothing is under way on."""
        if port in self._open:
            self._open.remove(port)
            self.readers.remove(port)
            port.sock.close()

    def heard(self, query: Inquiry | None, reply: bytes) -> None:
        """Take a datagram that came with the ID of this query."""
        if query is None or not answers(reply, query.question):
            self.mismatched += 1
            return
        assert query.port is not None
        del query.port.pending[query.message_id]
        self._end(query, reply)

    def _end(self, query: Inquiry, result: Reply | FlatproxyError) -> None:
        query.is_over = True
        self.arrived.append((query, result))
        self.wake()

    def put_back(self, query: Inquiry) -> None:
        """Go on waiting: what arrived turned out to be no reply. Its time runs on."""
        port = query.port
        if port is not None and port in self._open and query.message_id not in port.pending:
            port.pending[query.message_id] = query
        query.is_over = False
        heappush(self._deadlines, (query.deadline, next(self._numbers), query))

    def refused(self, port: Port, error: OSError) -> None:
        """End all that is under way on a socket: the host says that nobody listens, or that there is no way there."""
        queries = list(port.pending.values())
        port.pending.clear()
        self._retire(port)
        for query in queries:
            self._end(query, _broken(query, error))

    def expire(self, now: float) -> None:
        """End what took too long, and let go of sockets whose time is over."""
        deadlines = self._deadlines
        while deadlines and (deadlines[0][0] <= now or deadlines[0][2].is_over):
            query = heappop(deadlines)[2]
            if query.is_over:
                continue
            port = query.port
            assert port is not None
            if not query.is_again and now < query.deadline:
                query.is_again = True
                port.put_again(query)
                heappush(deadlines, (query.deadline, next(self._numbers), query))
                continue
            if port.pending.get(query.message_id) is query:
                del port.pending[query.message_id]
                if not port.takes_more(now):
                    self._retire(port)
            self._end(query, UpstreamTimeout(f"{query.endpoint}: no answer within {query.timeout_s:g} s"))
        for endpoint, slots in list(self._slots.items()):
            for number, port in enumerate(slots):
                if port is not None and not port.takes_more(now):
                    slots[number] = None
                    self._retire(port)
            if not any(slots):
                del self._slots[endpoint]

    def close(self) -> None:
        """Close every socket; what is under way is forgotten."""
        for port in list(self._open):
            self.close_port(port)
        self._slots.clear()
        self._deadlines.clear()
        for task in self._tasks:
            task.cancel()
        self.arrived.clear()


def _broken(query: Inquiry, error: OSError) -> ChainBroken:
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return ChainBroken(f"{query.endpoint}: {reason}")
