from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.update
import pytest

from flatproxy.demo import asking
from flatproxy.demo.serving import Server, reply, serve
from flatproxy.wire.edns import MAX_UDP_SIZE

from .asks import ask, query

if TYPE_CHECKING:
    from flatproxy.config.settings import Endpoint


class Sized:
    """Answers every question with a TXT of so many octets."""

    def __init__(self, octets: int = 10) -> None:
        self._octets = octets

    def answer(self, query: dns.message.Message, response: dns.message.Message) -> None:
        strings = ['"' + "x" * 200 + '"'] * (self._octets // 200) or ['"x"']
        response.flags |= dns.flags.AA
        response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "TXT", " ".join(strings)))


def test_a_reply_echoes_id_question_and_rd() -> None:
    asked = query("ExAmPle.com", "TXT")
    wire = reply(asked.to_wire(), Sized(), udp=True)
    assert wire is not None
    assert wire[:2] == asked.id.to_bytes(2, "big")
    assert b"\7ExAmPle\3com\0" in wire
    response = dns.message.from_wire(wire)
    assert response.flags == dns.flags.QR | dns.flags.RD | dns.flags.AA
    assert response.edns == -1


def test_edns_is_answered_in_kind_with_do() -> None:
    response = ask(Sized(), "example.com", "TXT", want_dnssec=True)
    assert (response.edns, response.payload) == (0, MAX_UDP_SIZE)
    assert response.ednsflags & dns.flags.DO


def test_a_later_edns_version_is_bad() -> None:
    response = ask(Sized(), "example.com", "TXT", use_edns=1)
    assert response.rcode() == dns.rcode.BADVERS
    assert not response.answer


@pytest.mark.parametrize(
    ("octets", "payload", "cut"),
    [(400, None, False), (600, None, True), (600, 1000, False), (1000, 600, True), (1400, 4096, True)],
)
def test_a_datagram_is_no_larger_than_its_client_takes(octets: int, payload: int | None, *, cut: bool) -> None:
    edns: dict[str, Any] = {} if payload is None else {"use_edns": 0, "payload": payload}
    response = ask(Sized(octets), "example.com", "TXT", **edns)
    assert bool(response.flags & dns.flags.TC) == cut
    assert bool(response.answer) != cut
    assert response.flags & dns.flags.AA
    assert response.question


def test_tcp_takes_everything() -> None:
    response = ask(Sized(1400), "example.com", "TXT", udp=False)
    assert not response.flags & dns.flags.TC
    assert response.answer


def test_what_is_no_query_gets_no_reply() -> None:
    response = query("example.com")
    response.flags |= dns.flags.QR
    assert reply(response.to_wire(), Sized(), udp=True) is None
    assert reply(query("example.com").to_wire()[:11], Sized(), udp=True) is None


@pytest.mark.parametrize(
    ("wire", "rcode"),
    [
        (query("example.com").to_wire()[:-1], dns.rcode.FORMERR),
        (bytes.fromhex("abcd 0100 0001 0000 0000 0000 c00c 0001 0001"), dns.rcode.FORMERR),
        (bytes.fromhex("abcd 0100 0000 0000 0000 0000"), dns.rcode.FORMERR),
        (bytes.fromhex("abcd 0100 0002 0000 0000 0000") + bytes.fromhex("00 0001 0001") * 2, dns.rcode.FORMERR),
        (dns.update.UpdateMessage("example.com").to_wire(), dns.rcode.NOTIMP),
        (bytes.fromhex("abcd 1000 0000 0000 0000 0000"), dns.rcode.NOTIMP),
    ],
)
def test_what_is_not_understood_gets_a_header(wire: bytes, rcode: dns.rcode.Rcode) -> None:
    out = reply(wire, Sized(), udp=True)
    assert out is not None
    assert len(out) == 12
    response = dns.message.from_wire(out)
    assert (response.id, response.rcode()) == (int.from_bytes(wire[:2], "big"), rcode)
    assert response.flags & dns.flags.QR
    assert response.opcode() == (wire[2] >> 3) & 0x0F


def test_udp_and_tcp_share_a_port_of_loopback_and_agree() -> None:
    async def both() -> tuple[Endpoint, bytes, bytes]:
        server = await serve(Sized())
        try:
            wire = query("example.com", "TXT").to_wire()
            return (
                server.endpoint,
                await asking.reply_to(wire, server.endpoint, tcp=False),
                await asking.reply_to(wire, server.endpoint, tcp=True),
            )
        finally:
            await server.close()

    endpoint, udp, tcp = asyncio.run(both())
    assert endpoint.host == "127.0.0.1"
    assert endpoint.port > 0
    assert udp == tcp


def test_one_connection_takes_many_queries() -> None:
    async def pipeline(server: Server) -> list[str]:
        reader, writer = await asyncio.open_connection(server.endpoint.host, server.endpoint.port)
        for name in ("one.test", "two.test"):
            wire = query(name, "TXT").to_wire()
            writer.write(len(wire).to_bytes(2, "big") + wire)
        names = []
        for _ in range(2):
            out = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            names.append(str(dns.message.from_wire(out).question[0].name))
        writer.close()
        return names

    async def run() -> list[str]:
        server = await serve(Sized())
        try:
            return await pipeline(server)
        finally:
            await server.close()

    assert asyncio.run(run()) == ["one.test.", "two.test."]


def test_close_ends_connections_and_frees_the_port() -> None:
    async def run() -> tuple[bytes, Endpoint]:
        server = await serve(Sized())
        reader, writer = await asyncio.open_connection(server.endpoint.host, server.endpoint.port)
        await asking.reply_to(query("example.com").to_wire(), server.endpoint, tcp=True)  # so the first was accepted
        await server.close()
        async with asyncio.timeout(5):
            rest = await reader.read()
        writer.close()
        return rest, server.endpoint

    rest, endpoint = asyncio.run(run())
    assert rest == b""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind((endpoint.host, endpoint.port))
