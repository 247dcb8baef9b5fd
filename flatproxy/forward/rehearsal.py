"""Shadow mode: what flatproxy would have said is compared with what the nameserver said. It changes no reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass

from flatproxy.table.ladder import Rung
from flatproxy.table.shadows import Difference
from flatproxy.wire import types

if TYPE_CHECKING:
    from flatproxy.table.answers import TargetAnswer
    from flatproxy.table.shadows import Compared

_ANSWERS = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


def compare(
    answer: TargetAnswer, name: bytes, came: bytes, now: float, wall: float
) -> tuple[Difference, Compared] | None:
    """Compare the sets; None where there is nothing to compare: a reply cut short or an error, a cold target."""
    if answer.target.is_cold(now):
        return None
    fails = _would_fail(answer, now)
    theirs = _records(came, answer.target.rdtype)
    if theirs is None and not fails:
        return None
    rrset = answer.rrset(now)  # as if a client had been given it: it is refreshed like any other
    ours = tuple(sorted(rrset[1])) if rrset is not None and not fails else ()
    seen = Difference(wall, name, answer.target.rdtype, tuple(sorted(theirs or ())), ours)
    if fails:
        return seen, "would_fail"
    return seen, "same" if seen.ours == seen.nameserver else "differs"


def _would_fail(answer: TargetAnswer, now: float) -> bool:
    """Tell whether there is no address of the target to answer with, neither fresh, held nor stale."""
    if answer.step(now).rung in (Rung.FALLBACK, Rung.UPSTREAM):
        return True
    of_addresses = [each for each in (answer, *answer.siblings) if types.has_addresses(each.target.rdtype)]
    return not any(each.step(now).rdatas for each in of_addresses)


def _records(came: bytes, rdtype: int) -> set[bytes] | None:
    """Return the rdatas of a type in a reply's answer, whatever CNAME leads to them; None where it is no answer."""
    try:
        message = dns.message.from_wire(came)
    except (dns.exception.DNSException, ValueError):
        return None
    if message.flags & dns.flags.TC or message.rcode() not in _ANSWERS:
        return None
    return {
        rdata.to_digestable()
        for rrset in message.answer
        if rrset.rdtype == rdtype and rrset.rdclass == dns.rdataclass.IN
        for rdata in rrset
    }
