"""A nameserver's own CNAME that lands on a flagged name: find it in a reply, and put the records right.

`www CNAME example.com` in a zone makes the nameserver answer with the placeholder address of `example.com`. This is
the one place where a forwarded reply is changed, so whatever is signed, truncated or not understood is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from attrs import frozen

from flatproxy.wire import names
from flatproxy.wire.peek import first_answer_type
from flatproxy.wire.types import QUESTIONS, TYPE_CNAME, TYPE_DNAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_HOPS = 16
"""A longer chain of CNAMEs is not followed, here nor when a target is resolved."""

_ALIASES = (TYPE_CNAME, TYPE_DNAME)


@frozen
class Landing:
    """A parsed reply whose CNAME chain reaches the flagged name `name` (wire form)."""

    message: dns.message.QueryMessage
    name: bytes
    rdtype: dns.rdatatype.RdataType


def may_land(reply: bytes, question: bytes) -> bool:
    """Tell cheaply whether a reply to this question is worth a `find`: most are not."""
    end = 12 + len(question)
    # The first owner is nearly always a pointer of two octets, with the type behind it.
    if len(reply) > end + 4 and reply[end] >= 0xC0 and reply[end + 3] not in _ALIASES:
        return False
    if question[-4:] not in QUESTIONS or reply[6:8] == b"\0\0" or reply[2] & 0x02 or len(reply) < end + 4:
        return False
    return first_answer_type(reply, end) in _ALIASES


def find(reply: bytes, is_flagged: Callable[[bytes], bool]) -> Landing | None:
    """Return where the reply's chain lands on a flagged name, None where it does not or must not be touched."""
    try:
        message = dns.message.from_wire(reply)
    except (dns.exception.DNSException, ValueError):
        return None
    if not isinstance(message, dns.message.QueryMessage) or not message.question:
        return None
    if message.had_tsig or any(rrset.rdtype == dns.rdatatype.RRSIG for rrset in message.answer):
        return None
    rdtype = message.question[0].rdtype
    name = message.question[0].name
    for _ in range(MAX_HOPS):
        step = _cname(message, name)
        if step is None:
            return None
        name = step
        wire = names.to_wire(name)
        if is_flagged(wire):
            return Landing(message, wire, rdtype)
    return None


def _cname(message: dns.message.Message, name: dns.name.Name) -> dns.name.Name | None:
    rrset = message.get_rrset(message.answer, name, dns.rdataclass.IN, dns.rdatatype.CNAME)
    target: dns.name.Name | None = rrset[0].target if rrset else None
    return target


def rewrite(landing: Landing, ttl: int, rdatas: Sequence[bytes], soa: bytes | None, limit: int) -> bytes:
    """Return the reply with the flagged name's records in place of the nameserver's.

    Without `rdatas` the flagged name has no record of this type: its records go, and `soa` (one record in wire form,
    owner uncompressed) says so (RFC 2308 section 2.2). With them, an SOA that denied them goes. `limit` is in octets.
    """
    message = landing.message
    chain = _chain_to(message, landing)
    owner = chain[-1][0].target
    message.answer = list(chain)
    message.authority = [rrset for rrset in message.authority if rrset.rdtype != dns.rdatatype.SOA]
    if rdatas:
        message.answer.append(
            dns.rrset.from_rdata_list(
                owner,
                ttl,
                [dns.rdata.from_wire(dns.rdataclass.IN, landing.rdtype, rdata, 0, len(rdata)) for rdata in rdatas],
            )
        )
    elif soa is not None:
        message.authority = [_rrset(soa)]
    message.set_rcode(dns.rcode.NOERROR)
    try:
        return message.to_wire(max_size=limit)
    except dns.exception.TooBig:
        message.answer, message.authority, message.additional = [], [], []
        message.flags |= dns.flags.TC
        return message.to_wire(max_size=limit)


def _chain_to(message: dns.message.Message, landing: Landing) -> list[dns.rrset.RRset]:
    """Return the CNAME (and DNAME) sets from the question to the landing, in order."""
    chain: list[dns.rrset.RRset] = []
    name = message.question[0].name
    while names.to_wire(name) != landing.name or not chain:
        for rrset in message.answer:
            if rrset.rdtype == dns.rdatatype.DNAME and rrset not in chain and name.is_subdomain(rrset.name):
                chain.append(rrset)
        cname = message.find_rrset(message.answer, name, dns.rdataclass.IN, dns.rdatatype.CNAME)
        chain.append(cname)
        name = cname[0].target
    return chain


def _rrset(wire: bytes) -> dns.rrset.RRset:
    name, used = dns.name.from_wire(wire, 0)
    rdtype = dns.rdatatype.RdataType(int.from_bytes(wire[used : used + 2], "big"))
    ttl = int.from_bytes(wire[used + 4 : used + 8], "big")
    start = used + 10
    rdata = dns.rdata.from_wire(dns.rdataclass.IN, rdtype, wire, start, len(wire) - start)
    return dns.rrset.from_rdata(name, ttl, rdata)
