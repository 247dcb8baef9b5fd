"""Serves DNS on loopback for the stand-ins: octets in, a question answered, octets out, over UDP and TCP on one port.

It knows messages and sockets, no zone. It never listens on anything but loopback.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
from attrs import define, field

from flatproxy.config.settings import Endpoint
from flatproxy.forward.listeners.sockets import bind
from flatproxy.wire import edns

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPBACK = Endpoint("127.0.0.1", 0)
"""Octets of the largest datagram sent (what the DNS flag day of 2020 settled on)."""
_HEADER = 12
_MIN_PAYLOAD = 512
_MAX_PAYLOAD = 65_535


class Answers(Protocol):
    """Who knows the answers."""

    def answer(self, query: dns.message.Message, response: dns.message.Message) -> None:
        """Fill in the response to a query that has exactly one question; it already has QR, ID, question and OPT."""


def reply(wire: bytes, answers: Answers, *, udp: bool) -> bytes | None:
    """Return the reply to a message, cut to what its sender takes (RFC 2181 section 9); None where none is due."""
    if len(wire) < _HEADER or wire[2] & 0x80:
        return None
    try:
        query = dns.message.from_wire(wire, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return _bare(wire, dns.rcode.FORMERR)
    if query.opcode() != dns.opcode.QUERY:
        return _bare(wire, dns.rcode.NOTIMP)
    if len(query.question) != 1:
        return _bare(wire, dns.rcode.FORMERR)
    response = dns.message.make_response(query, our_payload=edns.MAX_UDP_SIZE)
    response.ednsflags |= query.ednsflags & dns.flags.DO
    if query.edns > 0:
        response.set_rcode(dns.rcode.BADVERS)
    else:
        answers.answer(query, response)
    limit = max(_MIN_PAYLOAD, min(query.payload, edns.MAX_UDP_SIZE)) if udp else _MAX_PAYLOAD
    return _fitted(response, limit)


def _bare(wire: bytes, rcode: dns.rcode.Rcode) -> bytes:
    """Return a reply that is a header alone, with ID, opcode and RD of the query."""
    return wire[:2] + bytes((0x80 | wire[2] & 0x79, rcode)) + bytes(_HEADER - 4)


def _fitted(response: dns.message.Message, limit: int) -> bytes:
    try:
        # Always in the same order: whoever asks twice may compare.
        return response.to_wire(max_size=limit, want_shuffle=False)
    except dns.exception.TooBig:
        for section in (response.answer, response.authority, response.additional):
            section.clear()
        response.flags |= dns.flags.TC
        return response.to_wire(max_size=limit)


class _Datagrams(asyncio.DatagramProtocol):
    """The UDP side."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - a DatagramTransport, declared wider
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        out = reply(data, self._answers, udp=True)
        if out is not None:
            self._transport.sendto(out, addr)


@define(eq=False)
class Server:
    """A stand-in that listens at `endpoint`, from `serve` to `close`."""

    endpoint: Endpoint
    _answers: Answers
    _close: list[Callable[[], object]] = field(factory=list)
    _streams: set[asyncio.Task[None]] = field(factory=set)

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes over one connection, in order, until its client ends it (RFC 7766 section 6.2.1)."""
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                out = reply(await reader.readexactly(size), self._answers, udp=False)
                if out is not None:
                    writer.write(len(out).to_bytes(2, "big") + out)
                    await writer.drain()
        except (OSError, EOFError, asyncio.CancelledError):  # the client, or `close`, has had enough
            pass
        finally:
            self._streams.discard(task)
            writer.close()

    async def close(self) -> None:
        """Close every socket and end every connection."""
        for close in self._close:
            close()
        streams = list(self._streams)
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, return_exceptions=True)


async def serve(answers: Answers) -> Server:
    """Listen on a port of loopback that is free for UDP and TCP; `FlatproxyError` where there is none."""
    loop = asyncio.get_running_loop()
    udp, tcp = (bound.socket for bound in bind(LOOPBACK))
    server = Server(Endpoint(*udp.getsockname()[:2]), answers)
    transport, _protocol = await loop.create_datagram_endpoint(lambda: _Datagrams(answers), sock=udp)
    listener = await asyncio.start_server(server.stream, sock=tcp)
    server._close += [transport.close, listener.close]  # noqa: SLF001 - its own constructor, which cannot await
    return server
