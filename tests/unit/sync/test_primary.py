from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import dns.tsig
import dns.update
import pytest
from attrs import define, field

from flatproxy.config.settings import Endpoint
from flatproxy.sync.primary import PrerequisiteFailed, Primary, ReplyLost, UpdateZone
from flatproxy.sync.signers import SyncFailed, TsigSigner
from tests.support.primaries import KEY, SECRET

from .names import FOUR, NAME, OTHER_FOUR, PLACEHOLDER, SIX, sets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Work = Callable[[Primary], Awaitable[object]]

SHARED = dns.tsig.Key(KEY, SECRET, dns.tsig.HMAC_SHA256)
ZONE = UpdateZone(dns.name.from_text("example.com"), dns.name.from_text("ns.example.com"))


@define(eq=False)
class Server:
    """Says the same to every message, on the loopback."""

    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    answer: str = ""
    authoritative: bool = True
    signed: bool = True
    raw: bytes | None = None
    heard: list[dns.message.Message] = field(factory=list)

    def ask(self, work: Work) -> object:
        async def run() -> object:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            host, port = server.sockets[0].getsockname()
            async with server:
                return await work(Primary(Endpoint(host, port), TsigSigner(SHARED), timeout_s=5.0))

        return asyncio.run(run())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        query = dns.message.from_wire(wire, keyring=SHARED)
        self.heard.append(query)
        reply = dns.message.make_response(query)
        reply.set_rcode(self.rcode)
        if self.authoritative:
            reply.flags |= dns.flags.AA
        if self.answer:
            owner, ttl, rdclass, rdtype, rdata = self.answer.split(maxsplit=4)
            reply.answer.append(dns.rrset.from_text(owner, int(ttl), rdclass, rdtype, rdata))
        if not self.signed:
            reply.keyring, reply.tsig = None, None
        octets = self.raw if self.raw is not None else reply.to_wire()
        writer.write(len(octets).to_bytes(2, "big") + octets)
        await writer.drain()
        writer.close()


async def update(primary: Primary) -> None:
    await primary.update(ZONE, NAME, sets([FOUR]), sets([OTHER_FOUR], [SIX]), 60)


def test_an_update_says_what_must_stand_there_and_replaces_what_differs() -> None:
    server = Server()
    server.ask(update)
    (sent,) = server.heard
    assert isinstance(sent, dns.update.UpdateMessage)
    assert sent.had_tsig
    assert sent.zone[0].to_text() == "example.com. IN SOA"
    assert [rrset.to_text() for rrset in sent.prerequisite] == [
        "example.com. 0 IN A 203.0.113.1",
        "example.com. NONE AAAA",
    ]
    assert [rrset.to_text() for rrset in sent.update] == [
        "example.com. ANY A",
        "example.com. 60 IN A 203.0.113.2",
        "example.com. ANY AAAA",
        "example.com. 60 IN AAAA ::7",
    ]


def test_what_does_not_differ_is_a_prerequisite_only() -> None:
    server = Server()
    server.ask(lambda primary: primary.update(ZONE, NAME, sets([FOUR], [SIX]), sets([FOUR], []), 60))
    (sent,) = server.heard
    assert isinstance(sent, dns.update.UpdateMessage)
    assert len(sent.prerequisite) == 2
    assert [rrset.to_text() for rrset in sent.update] == ["example.com. ANY AAAA"]


def test_the_trial_changes_nothing() -> None:
    server = Server()
    server.ask(lambda primary: primary.may_update(ZONE, NAME, PLACEHOLDER))
    (sent,) = server.heard
    assert isinstance(sent, dns.update.UpdateMessage)
    assert (len(sent.prerequisite), sent.update) == (2, [])


@pytest.mark.parametrize("rcode", ["NXRRSET", "YXRRSET", "NXDOMAIN", "YXDOMAIN"])
def test_a_prerequisite_that_does_not_hold(rcode: str) -> None:
    with pytest.raises(PrerequisiteFailed, match=rcode):
        Server(rcode=dns.rcode.from_text(rcode)).ask(update)


@pytest.mark.parametrize("rcode", ["REFUSED", "NOTAUTH", "SERVFAIL", "NOTIMP", "FORMERR"])
def test_a_refusal_is_told(rcode: str) -> None:
    with pytest.raises(SyncFailed, match=rcode) as caught:
        Server(rcode=dns.rcode.from_text(rcode)).ask(update)
    assert caught.type is SyncFailed


@pytest.mark.parametrize("server", [Server(signed=False), Server(raw=b""), Server(raw=bytes(5))])
def test_a_reply_that_cannot_be_believed_is_a_lost_one(server: Server) -> None:
    with pytest.raises(ReplyLost):
        server.ask(update)


def test_what_stands_at_a_name() -> None:
    server = Server(answer="example.com. 60 IN A 203.0.113.1")
    assert server.ask(lambda primary: primary.read(NAME, [1])) == {1: {FOUR}}
    assert Server(rcode=dns.rcode.NXDOMAIN).ask(lambda primary: primary.read(NAME, [1, 28])) == sets()


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (Server(answer="example.com. 60 IN CNAME www.example.com."), "a CNAME stands there"),
        (Server(authoritative=False), "is not a nameserver of its zone"),
        (Server(rcode=dns.rcode.REFUSED), "says REFUSED when asked"),
        (Server(raw=b"odd"), "gives an odd reply"),
    ],
)
def test_what_cannot_be_read(server: Server, said: str) -> None:
    with pytest.raises(SyncFailed, match=said):
        server.ask(lambda primary: primary.read(NAME, [1]))


def test_the_zone_is_the_one_of_the_soa_record() -> None:
    server = Server(answer="example.com. 60 IN SOA ns.example.com. x.example.com. 1 1 1 1 1")
    assert server.ask(lambda primary: primary.zone(NAME)) == ZONE
    with pytest.raises(SyncFailed, match="names no zone"):
        Server(answer="example.net. 60 IN SOA a. b. 1 1 1 1 1").ask(lambda primary: primary.zone(NAME))


def test_a_domain_has_controllers_below_it() -> None:
    server = Server(answer="_ldap._tcp.dc._msdcs.example.com. 60 IN SRV 0 100 389 dc1.example.com.")
    assert server.ask(lambda primary: primary.is_domain(NAME)) is True
    assert Server(rcode=dns.rcode.NXDOMAIN).ask(lambda primary: primary.is_domain(NAME)) is False
