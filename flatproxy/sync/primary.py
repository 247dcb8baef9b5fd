"""The nameserver that takes updates: what stands at a name there, and the update itself, all over TCP.

It must never decide what is to be written.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.tsig
import dns.update
from attrs import frozen

from flatproxy.sync.signers import SyncFailed
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.config.settings import Endpoint
    from flatproxy.sync.sets import Sets
    from flatproxy.sync.signers import UpdateSigner

MESSAGE_TIMEOUT_S = 5.0
"""For one message and its reply."""
_DOMAIN = dns.name.from_text("_ldap._tcp.dc._msdcs", None)
"""What an Active Directory domain has below its apex."""
_NOT_AS_SAID = frozenset({dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN, dns.rcode.NXRRSET, dns.rcode.YXRRSET})
"""Of prerequisites that do not hold (RFC 2136 section 2.2)."""
_PEER: dict[type[dns.exception.DNSException], str] = {
    dns.tsig.PeerBadKey: "it does not know {name} (BADKEY)",
    dns.tsig.PeerBadSignature: "its secret of {name} is another one (BADSIG)",
    dns.tsig.PeerBadTime: "its clock and ours differ (BADTIME)",
}


class ReplyLost(SyncFailed):
    """No reply that can be believed: the update may have been done or not."""


class PrerequisiteFailed(SyncFailed):
    """What stands at the name is not what the update says."""


@frozen
class UpdateZone:
    """The zone that a name is in: its apex, and the name of its primary nameserver (SOA MNAME)."""

    apex: dns.name.Name
    primary: dns.name.Name


@frozen
class Primary:
    """`header` begins each connection (a PROXY header, or nothing)."""

    endpoint: Endpoint
    signer: UpdateSigner
    header: bytes = b""
    timeout_s: float = MESSAGE_TIMEOUT_S

    async def read(self, name: bytes, rdtypes: Iterable[int]) -> Sets:
        """Return what stands at a name; `SyncFailed` where that cannot be said."""
        found: Sets = {}
        for rdtype in rdtypes:
            owner = names.to_name(name)
            reply = await self._ask(owner, rdtype)
            at_name = [rrset for rrset in reply.answer if names.to_wire(rrset.name) == name]
            if any(rrset.rdtype == dns.rdatatype.CNAME for rrset in at_name):
                raise SyncFailed("a CNAME stands there, and beside one there are no addresses")
            rdatas = (rdata.to_wire() or b"" for rrset in at_name if rrset.rdtype == rdtype for rdata in rrset)
            found[rdtype] = frozenset(rdatas)
        return found

    async def zone(self, name: bytes) -> UpdateZone:
        """Return the zone that a name is in; `SyncFailed` where the nameserver is not its nameserver."""
        reply = await self._ask(names.to_name(name), dns.rdatatype.SOA)
        for rrset in (*reply.answer, *reply.authority):
            if rrset.rdtype == dns.rdatatype.SOA and names.to_name(name).is_subdomain(rrset.name):
                return UpdateZone(rrset.name, rrset[0].mname)
        raise SyncFailed(f"{self.endpoint} names no zone for it")

    async def is_domain(self, name: bytes) -> bool:
        """Tell whether a name is the apex of an Active Directory domain: its controllers write its addresses."""
        try:
            question = _DOMAIN.concatenate(names.to_name(name))
        except dns.name.NameTooLong:
            return False
        reply = await self._ask(question, dns.rdatatype.SRV, authoritative=False)
        delegated = any(rrset.rdtype == dns.rdatatype.NS for rrset in reply.authority) and not reply.answer
        return bool(reply.answer) or (delegated and not reply.flags & dns.flags.AA)

    async def update(self, zone: UpdateZone, name: bytes, before: Sets, after: Sets, ttl_s: int) -> None:
        """Replace what differs (RFC 2136), provided that `before` stands there.

        Raises `PrerequisiteFailed`, `ReplyLost`, or `SyncFailed` where it was refused. Without an error it is done.
        """
        key = await self.signer.key(self._exchange, zone.primary)
        update = dns.update.UpdateMessage(
            zone.apex,
            keyring=key,
            keyname=key.name,
            keyalgorithm=key.algorithm,
        )
        owner = names.to_name(name)
        for rdtype, rdatas in after.items():
            if before[rdtype]:
                update.present(owner, _rdataset(rdtype, 0, before[rdtype]))
            else:
                update.absent(owner, dns.rdatatype.RdataType.make(rdtype))
            if rdatas != before[rdtype]:
                update.delete(owner, dns.rdatatype.RdataType.make(rdtype))
                if rdatas:
                    update.add(owner, _rdataset(rdtype, ttl_s, rdatas))
        await self._send(update)

    async def may_update(self, zone: UpdateZone, name: bytes, before: Sets) -> None:
        """Send an update that says what stands there and changes nothing; raises as `update` does."""
        await self.update(zone, name, before, before, 0)

    async def _send(self, update: dns.update.UpdateMessage) -> None:
        wire = update.to_wire()
        try:
            reply = await self._exchange(wire)
        except ReplyLost:
            raise
        except SyncFailed as error:
            raise ReplyLost(str(error)) from None
        rcode = _rcode(reply)
        believed = True
        try:
            message = dns.message.from_wire(reply, keyring=update.keyring, request_mac=update.mac)
            believed = message.had_tsig and message.id == update.id
            rcode = message.rcode()
        except dns.tsig.PeerError as error:
            why = _PEER.get(type(error), str(error)).format(name=self.signer.name)
            raise SyncFailed(f"{self.endpoint} says {dns.rcode.to_text(rcode)}: {why}") from None
        except dns.exception.DNSException:
            believed = False
        if rcode in _NOT_AS_SAID:
            raise PrerequisiteFailed(f"{self.endpoint} says {dns.rcode.to_text(rcode)}: something else stands there")
        if rcode != dns.rcode.NOERROR:
            raise SyncFailed(f"{self.endpoint} says {dns.rcode.to_text(rcode)}{_HINTS.get(rcode, '')}")
        if not believed:
            raise ReplyLost("the signature of the reply is not right")

    async def _ask(self, name: dns.name.Name, rdtype: int, *, authoritative: bool = True) -> dns.message.Message:
        query = dns.message.make_query(name, dns.rdatatype.RdataType.make(rdtype))
        query.flags &= ~dns.flags.RD
        wire = await self._exchange(query.to_wire())
        try:
            reply = dns.message.from_wire(wire)
        except dns.exception.DNSException as error:
            raise SyncFailed(f"{self.endpoint} gives an odd reply: {error}") from None
        if not query.is_response(reply):
            raise SyncFailed(f"{self.endpoint} gives a reply to another question")
        rcode = reply.rcode()
        if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise SyncFailed(f"{self.endpoint} says {dns.rcode.to_text(rcode)} when asked what stands there")
        if authoritative and not reply.flags & dns.flags.AA:
            raise SyncFailed(f"{self.endpoint} is not a nameserver of its zone")
        return reply

    async def _exchange(self, wire: bytes) -> bytes:
        """Send a message on a connection of its own and return the reply, which need not fit it."""
        host, port = self.endpoint.host, self.endpoint.port
        try:
            async with asyncio.timeout(self.timeout_s):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    writer.write(self.header + len(wire).to_bytes(2, "big") + wire)
                    await writer.drain()
                    return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                finally:
                    writer.close()
        except TimeoutError:
            raise SyncFailed(f"no reply from {self.endpoint} in {self.timeout_s:.0f} s") from None
        except (OSError, EOFError) as error:
            reason = getattr(error, "strerror", None) or "the connection was closed"
            raise SyncFailed(f"no reply from {self.endpoint}: {reason}") from None


_HINTS = {
    dns.rcode.REFUSED: ": it does not let this key write there",
    dns.rcode.NOTAUTH: ": it is not the primary of the zone, or does not accept the signature",
    dns.rcode.NOTIMP: ": it takes no updates",
}


def _rcode(reply: bytes) -> dns.rcode.Rcode:
    """Return the code in a header, for a reply that cannot be read any further."""
    if len(reply) < 12:
        raise ReplyLost("the reply is no message")
    return dns.rcode.Rcode.make(reply[3] & 0x0F)


def _rdataset(rdtype: int, ttl_s: int, rdatas: Iterable[bytes]) -> dns.rdataset.Rdataset:
    made = [
        dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType.make(rdtype), rdata, 0, len(rdata))
        for rdata in sorted(rdatas)
    ]
    return dns.rdataset.from_rdata_list(ttl_s, made)
