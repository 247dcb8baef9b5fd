"""Settings, and replies as a nameserver or a resolver gives them, for the tests of what is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from attrs import define, field

from flatproxy.config.load import to_settings
from flatproxy.config.settings import Endpoint, Settings
from flatproxy.errors import UpstreamTimeout

if TYPE_CHECKING:
    import dns.name
    import dns.rdatatype

    from flatproxy.config.rules import Rule

SERVER = Endpoint("192.0.2.1", 53)
SOA = "{zone} 300 IN SOA ns1.{zone} hostmaster.{zone} 1 3600 600 86400 60"


def settings(flatten: dict[str, dict[str, Any]] | None = None, **tables: Any) -> Settings:
    return to_settings(
        {
            "listen": {"dns": ["127.0.0.1:0"]},
            "upstream": {"servers": ["192.0.2.53"]},
            "access": {"zones": ["example.com"]},
            "flatten": flatten or {},
            **tables,
        }
    )


def rule(**keys: Any) -> Rule:
    """The rule of example.com."""
    return settings({"example.com": {"target": "lb.test", **keys}}).flatten[wire("example.com")]


def wire(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def soa(zone: str) -> str:
    return SOA.format(zone=f"{zone}.")


def reply(
    question: str,
    rdtype: str,
    *answer: str,
    authority: tuple[str, ...] = (),
    rcode: int = dns.rcode.NOERROR,
    aa: bool = True,
    ra: bool = False,
) -> dns.message.Message:
    """A reply off the wire; records as `name TTL IN TYPE rdata`."""
    message = dns.message.make_response(dns.message.make_query(question, rdtype), recursion_available=ra)
    if aa:
        message.flags |= dns.flags.AA
    message.set_rcode(dns.rcode.Rcode(rcode))
    for section, records in ((message.answer, answer), (message.authority, authority)):
        for record in records:
            name, ttl, _in, kind, rdata = record.split(" ", 4)
            rrset = dns.rrset.from_text(name if name.endswith(".") else f"{name}.", int(ttl), "IN", kind, rdata)
            section.append(rrset)
    return dns.message.from_wire(message.to_wire())


@define
class Scripted:
    """An asker with one reply for each name; it is silent about others. Between replies it may change its address."""

    replies: dict[str, dns.message.Message]
    endpoint: Endpoint = SERVER
    asked: Endpoint | None = None
    seen: list[tuple[str, str]] = field(factory=list)

    async def ask(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
        text = name.to_text(omit_final_dot=True)
        self.seen.append((text, rdtype.name))
        if text not in self.replies:
            raise UpstreamTimeout(f"{text} {rdtype.name}: no answer within 1 s")
        self.asked = self.endpoint
        return self.replies[text]
