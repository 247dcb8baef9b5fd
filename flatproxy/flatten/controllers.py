"""Active Directory controllers behind a flagged name: clients inside must find these in the name's own answer.

LDAP and SMB clients that use no SRV records take the addresses of the domain's name for those of its controllers.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

import dns.name
import dns.rdatatype

from flatproxy.wire import names

if TYPE_CHECKING:
    from flatproxy.config.rules import Rule
    from flatproxy.flatten.chain import Asker
    from flatproxy.wire.prefixes import Prefixes

PRIVATE: Final = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
"""RFC 1918 and RFC 4193: where the members of a domain are."""


async def controllers_of(name: bytes, asker: Asker) -> int:
    """Return how many controllers the nameserver has for a domain; raises what `ask` does."""
    try:
        service = dns.name.from_text("_ldap._tcp.dc._msdcs", names.to_name(name))
    except dns.name.NameTooLong:
        return 0
    response = await asker.ask(service, dns.rdatatype.SRV)
    return sum(len(rrset) for rrset in response.answer if rrset.rdtype == dns.rdatatype.SRV)


def hidden_from(rule: Rule, views: Prefixes[str]) -> list[str]:
    """Return the private networks of which some clients are not answered by the nameserver at a name."""
    passing = {view for view, instead in rule.views if instead is None}
    return [str(network) for network in PRIVATE if not views.within(network) <= passing]
