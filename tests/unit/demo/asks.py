"""Queries in octets, and what the stand-ins say to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dns.message

from flatproxy.demo.serving import reply

if TYPE_CHECKING:
    from flatproxy.demo.serving import Answers


def query(name: str, rdtype: str = "A", rdclass: str = "IN", **options: Any) -> dns.message.QueryMessage:
    return dns.message.make_query(name, rdtype, rdclass, **options)


def ask(
    answers: Answers, name: str, rdtype: str = "A", rdclass: str = "IN", *, udp: bool = True, **options: Any
) -> dns.message.Message:
    """Ask without a socket; dnspython checks that the reply belongs to the query."""
    asked = query(name, rdtype, rdclass, **options)
    wire = reply(asked.to_wire(), answers, udp=udp)
    assert wire is not None
    response = dns.message.from_wire(wire)
    assert asked.is_response(response)
    return response


def records(response: dns.message.Message) -> list[str]:
    return [line for rrset in response.answer for line in rrset.to_text().splitlines()]
