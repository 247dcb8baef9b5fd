"""The internet as flatproxy's resolver shows it: names and their records, changed and broken at will while it runs."""

from __future__ import annotations

import contextlib
import enum
from collections import Counter
from typing import TYPE_CHECKING, Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from attrs import define, field

from .lifetime import Startable
from .scripted import UDP, Scripted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .lifetime import Startable
    from .ports import Address
from .scripted import Query

_SOA: Final = "ns.invalid. hostmaster.invalid. 1 60 60 60 {minimum}"
_MAX_CHAIN: Final = 40
_LEAST_OCTETS: Final = 12
"""Of a record in a message."""


class Mood(enum.Enum):
    """What the resolver does with every query for a name."""

    HONEST = enum.auto()
    SILENT = enum.auto()
    SERVFAIL = enum.auto()
    REFUSED = enum.auto()
    TRUNCATED = enum.auto()
    """Over UDP an empty answer with TC; the truth over TCP."""
    WRONG_ID = enum.auto()
    WRONG_QUESTION = enum.auto()
    GARBAGE = enum.auto()


@define(eq=False)
class FakeInternet(Startable):
    """A recursive resolver that knows what it was told. A name that it does not know is NXDOMAIN."""

    mood: Mood = Mood.HONEST
    """For every name without a mood of its own."""
    late_s: float = 0.0
    whole_chains: bool = True
    """Give the whole chain in one reply, as resolvers do, or one CNAME at a time."""
    negative_ttl: int = 2
    moods: dict[str, Mood] = field(factory=dict, init=False)
    asked: Counter[tuple[str, str]] = field(factory=Counter, init=False)
    """Queries seen by lower-case name and type."""
    _records: dict[dns.name.Name, dict[dns.rdatatype.RdataType, dns.rrset.RRset]] = field(factory=dict, init=False)
    _server: Scripted = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._server = Scripted(self.answer)

    @property
    def address(self) -> Address:
        return self._server.address

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def set(self, name: str, rdtype: str, rdatas: Sequence[str], ttl: int = 60) -> None:
        """Let a name have exactly these records of a type from now on; none at all: NODATA."""
        owner = dns.name.from_text(name)
        records = dict(self._records.get(owner, {}))
        if rdtype == "CNAME":
            records.clear()
        else:
            records.pop(dns.rdatatype.CNAME, None)
        records.pop(dns.rdatatype.from_text(rdtype), None)
        if rdatas:
            rrset = dns.rrset.from_text_list(owner, ttl & 0x7FFFFFFF, "IN", rdtype, rdatas)
            rrset.ttl = ttl  # also those that RFC 2181 section 8 forbids
            records[rrset.rdtype] = rrset
        self._records[owner] = records

    def cname(self, name: str, target: str, ttl: int = 60) -> None:
        self.set(name, "CNAME", [target if target.endswith(".") else f"{target}."], ttl)

    def forget(self, name: str) -> None:
        """Let a name not exist."""
        self._records.pop(dns.name.from_text(name), None)

    def answer(self, query: Query) -> bytes | None:
        """Script a server: silence to what cannot be read, and to what the mood is silent to."""
        try:
            message = dns.message.from_wire(query.data)
            question = message.question[0]
        except (dns.exception.DNSException, IndexError):
            return None
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked[name, dns.rdatatype.to_text(question.rdtype)] += 1
        reply = self._reply(message, self.moods.get(name, self.mood), query.transport)
        if self.late_s and reply is not None:
            query.reply_later(reply, self.late_s)
            return None
        return reply

    def _reply(self, query: dns.message.Message, mood: Mood, transport: str) -> bytes | None:
        if mood is Mood.SILENT:
            return None
        if mood is Mood.GARBAGE:
            return query.to_wire()[:2] + b"\x81\x80\xff garbage"
        reply = dns.message.make_response(query, recursion_available=True)
        if mood is Mood.SERVFAIL:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif mood is Mood.REFUSED:
            reply.set_rcode(dns.rcode.REFUSED)
        elif mood is Mood.TRUNCATED and transport == UDP:
            reply.flags |= dns.flags.TC
        else:
            self._fill(reply)
        if mood is Mood.WRONG_ID:
            reply.id ^= 0x5555
        elif mood is Mood.WRONG_QUESTION:
            reply.question[0] = dns.rrset.from_text_list(dns.name.from_text("evil.test"), 0, "IN", "A", [])
        return self._fit(reply, transport)

    @staticmethod
    def _fit(reply: dns.message.Message, transport: str) -> bytes:
        octets = 1232 if transport == UDP else 65535
        if sum(map(len, reply.answer)) * _LEAST_OCTETS <= octets:  # else it is slow to find out
            with contextlib.suppress(dns.exception.TooBig):
                return reply.to_wire(max_size=octets)
        reply.answer = []
        reply.flags |= dns.flags.TC
        return reply.to_wire()

    def _fill(self, reply: dns.message.Message) -> None:
        """Put in what is known: the chain and the records at its end, or the SOA that denies them."""
        name, rdtype = reply.question[0].name, reply.question[0].rdtype
        for _ in range(_MAX_CHAIN):
            records = self._records.get(name)
            if records is None:
                reply.set_rcode(dns.rcode.NXDOMAIN)
                break
            step = records.get(dns.rdatatype.CNAME)
            found = records.get(rdtype)
            if found is not None:
                reply.answer.append(found)
                return
            if step is None:
                break
            reply.answer.append(step)
            if not self.whole_chains:
                return
            name = step[0].target
        else:
            return
        soa = _SOA.format(minimum=self.negative_ttl)
        owner = name.parent() if name != dns.name.root else name
        reply.authority.append(dns.rrset.from_text(owner, self.negative_ttl, "IN", "SOA", soa))
