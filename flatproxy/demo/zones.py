"""How both stand-ins look a question up in a zone: CNAMEs followed within it, NODATA and NXDOMAIN told apart.

Zones hold no wildcards and no delegations. No socket, no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone

if TYPE_CHECKING:
    import dns.message
    import dns.node

_MAX_HOPS = 16


def zone_of_text(text: str, origin: str) -> dns.zone.Zone:
    """Return the zone of a master file's text (RFC 1035 section 5)."""
    return dns.zone.from_text(text, origin=origin, relativize=False)


def look_up(zone: dns.zone.Zone, question: dns.rrset.RRset, response: dns.message.Message) -> None:
    """Fill in answer, authority and rcode (RFC 1034 section 4.3.2, RFC 2308 section 2)."""
    name, rdtype = question.name, question.rdtype
    origin = _origin(zone)
    for _ in range(_MAX_HOPS):
        if not name.is_subdomain(origin):  # a CNAME that leaves the zone is left to the client
            return
        node = zone.get_node(name)
        if node is None:
            if not _has_below(zone, name):
                response.set_rcode(dns.rcode.NXDOMAIN)
            _deny(zone, response)
            return
        found = _matching(name, node, rdtype)
        response.answer += found
        cname = node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.CNAME)
        if found or cname is None:
            if not found:
                _deny(zone, response)
            return
        response.answer.append(dns.rrset.from_rdata_list(name, cname.ttl, list(cname)))
        name = cname[0].target


def _matching(name: dns.name.Name, node: dns.node.Node, rdtype: dns.rdatatype.RdataType) -> list[dns.rrset.RRset]:
    return [
        dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))
        for rdataset in node
        if rdtype in (rdataset.rdtype, dns.rdatatype.ANY)
    ]


def _has_below(zone: dns.zone.Zone, name: dns.name.Name) -> bool:
    """Tell whether the name exists for the sake of those below it (RFC 8020 section 2)."""
    return any(isinstance(owner, dns.name.Name) and owner.is_subdomain(name) for owner in zone.nodes)


def _deny(zone: dns.zone.Zone, response: dns.message.Message) -> None:
    """Add the SOA that says how long the denial holds (RFC 2308 section 5)."""
    origin = _origin(zone)
    soa = zone.find_rdataset(origin, dns.rdatatype.SOA)
    response.authority.append(dns.rrset.from_rdata_list(origin, min(soa.ttl, soa[0].minimum), list(soa)))


def _origin(zone: dns.zone.Zone) -> dns.name.Name:
    assert zone.origin is not None  # only a zone that is still being read has none
    return zone.origin
