"""A nameserver's own CNAME that lands on a flagged name: find it in a reply, and put the records right.

`www CNAME example.com` in a zone makes the nameserver answer with the placeholder address of `example.com`. This is
the one place where a forwarded reply is changed, so whatever is truncated or not understood is left alone, and what is
signed where no signature of ours can take the place of the nameserver's.
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
from flatproxy.wire.peek import first_answer_type, skip_name
from flatproxy.wire.types import QUESTIONS, TYPE_CNAME, TYPE_DNAME, TYPE_NSEC, TYPE_NSEC3, TYPE_RRSIG, TYPE_SOA

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_HOPS = 16
"""A longer chain of CNAMEs is not followed, here nor when a target is resolved."""

_ALIASES = (TYPE_CNAME, TYPE_DNAME)
_DENIALS = (TYPE_SOA, TYPE_NSEC, TYPE_NSEC3)


@frozen
class Landing:
    """A parsed reply whose CNAME chain reaches the flagged name `name` (wire form)."""

    message: dns.message.QueryMessage
    name: bytes
    rdtype: dns.rdatatype.RdataType

    @property
    def wants_dnssec(self) -> bool:
        """Whether whoever gets the reply looks at signatures: DO=1, or there are some."""
        return bool(self.message.ednsflags & dns.flags.DO) or any(
            rrset.rdtype == TYPE_RRSIG for rrset in self.message.answer
        )

    @property
    def was_signed(self) -> bool:
        """Whether the reply has signatures over records of the flagged name."""
        return any(
            rrset.rdtype == TYPE_RRSIG and names.to_wire(rrset.name) == self.name for rrset in self.message.answer
        )


@frozen(kw_only=True)
class Records:
    """What stands at the flagged name: TTL and rdatas, and the rdatas of the RRSIGs over them.

    Without rdatas `authority` says so: whole records (owner in wire form, type, TTL, rdata).
    """

    ttl_s: int
    rdatas: Sequence[bytes]
    rrsigs: Sequence[bytes] = ()
    authority: Sequence[tuple[bytes, int, int, bytes]] = ()


def record_of(wire: bytes) -> tuple[bytes, int, int, bytes]:
    """Return owner, type, TTL and rdata of a record in wire form, its owner uncompressed."""
    end = skip_name(wire, 0)
    rdtype, ttl_s = int.from_bytes(wire[end : end + 2], "big"), int.from_bytes(wire[end + 4 : end + 8], "big")
    return wire[:end], rdtype, ttl_s, wire[end + 10 :]


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
    if message.had_tsig:
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


def rewrite(landing: Landing, records: Records, limit: int) -> bytes:
    """Return the reply with the flagged name's records in place of the nameserver's.

    The CNAMEs keep their signatures; what the nameserver said of the flagged name goes, its denial of records included
    (but for the one which proves that a wildcard was meant). Without rdatas the authority section says so (RFC 2308
    section 2.2). `limit` is in octets.
    """
    message = landing.message
    chain = _chain_to(message, landing)
    owner = chain[-1][0].target
    message.answer = _with_signatures(chain, message.answer)
    keeps_denials = any(_is_from_wildcard(rrset) for rrset in message.answer)
    message.authority = [rrset for rrset in message.authority if not _is_about(rrset, owner, keeps_denials)]
    if records.rdatas:
        message.answer.append(_rrset(owner, landing.rdtype, records.ttl_s, records.rdatas))
        if records.rrsigs:
            message.answer.append(_rrset(owner, TYPE_RRSIG, records.ttl_s, records.rrsigs))
    elif records.authority:
        message.authority = [rrset for rrset in message.authority if keeps_denials and _is_denial(rrset)]
        message.authority += _rrsets(records.authority)
    message.set_rcode(dns.rcode.NOERROR)
    try:
        return message.to_wire(max_size=limit)
    except dns.exception.TooBig:
        message.answer, message.authority, message.additional = [], [], []
        message.flags |= dns.flags.TC
        return message.to_wire(max_size=limit)


def _is_denial(rrset: dns.rrset.RRset) -> bool:
    """Tell whether it is part of what says that something does not exist."""
    return rrset.rdtype in _DENIALS or (rrset.rdtype == TYPE_RRSIG and rrset.covers in _DENIALS)


def _is_about(rrset: dns.rrset.RRset, owner: dns.name.Name, keeps_denials: bool) -> bool:  # noqa: FBT001 - a predicate
    """Tell whether it denies records of the flagged name, so that it must not stay."""
    if not keeps_denials or TYPE_SOA in (rrset.rdtype, rrset.covers):
        return _is_denial(rrset)
    return _is_denial(rrset) and rrset.name == owner


def _is_from_wildcard(rrset: dns.rrset.RRset) -> bool:
    """Tell whether it is a signature over records that a wildcard made (RFC 4034 section 3.1.3)."""
    return rrset.rdtype == TYPE_RRSIG and rrset[0].labels < len(rrset.name.labels) - 1


def _with_signatures(chain: list[dns.rrset.RRset], answer: list[dns.rrset.RRset]) -> list[dns.rrset.RRset]:
    """Return the sets of a chain, each with its signatures behind it."""
    made: list[dns.rrset.RRset] = []
    for rrset in chain:
        made.append(rrset)
        made += [
            other
            for other in answer
            if other.rdtype == TYPE_RRSIG and (other.name, other.covers) == (rrset.name, rrset.rdtype)
        ]
    return made


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


def _rrset(owner: dns.name.Name, rdtype: int, ttl_s: int, rdatas: Sequence[bytes]) -> dns.rrset.RRset:
    kind = dns.rdatatype.RdataType.make(rdtype)
    made = [dns.rdata.from_wire(dns.rdataclass.IN, kind, rdata, 0, len(rdata)) for rdata in rdatas]
    return dns.rrset.from_rdata_list(owner, ttl_s, made)


def _rrsets(records: Sequence[tuple[bytes, int, int, bytes]]) -> list[dns.rrset.RRset]:
    """Return a set for each record: what is written is the same."""
    return [_rrset(names.to_name(owner), rdtype, ttl_s, (rdata,)) for owner, rdtype, ttl_s, rdata in records]
