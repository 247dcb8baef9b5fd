"""The stand-in for the existing nameserver: authoritative for `example.com`, with a placeholder address at its apex.

It answers from memory and never changes.
"""

from __future__ import annotations

import base64
import random
from typing import TYPE_CHECKING

import dns.flags
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from flatproxy.demo import zones

if TYPE_CHECKING:
    import dns.message

APEX = "example.com"
DKIM = f"mail._domainkey.{APEX}"
PLACEHOLDER = "192.0.2.1"
_KEY_OCTETS = 1062
"""Octets of an RSA public key of 8192 bits: in base 64 more than a datagram of 1232 octets holds."""
_STRING = 255
_TRANSFERS = (dns.rdatatype.AXFR, dns.rdatatype.IXFR)

_TEXT = f"""
$TTL 3600
@     IN SOA ns1 hostmaster 2024010101 7200 3600 1209600 300
@     IN NS  ns1
@     IN NS  ns2
@     IN A   {PLACEHOLDER}
@     IN MX  10 mail
@     IN MX  20 mail2
@     IN TXT "v=spf1 mx -all"
ns1   IN A   192.0.2.53
ns2   IN A   192.0.2.54
mail  IN A   192.0.2.25
mail2 IN A   192.0.2.26
www   IN CNAME @
"""


def _dkim() -> str:
    """Return a TXT record's rdata of a DKIM key's size (RFC 6376 section 3.6.1); the key is noise."""
    key = base64.b64encode(random.Random(APEX).randbytes(_KEY_OCTETS)).decode()
    value = f"v=DKIM1; k=rsa; p={key}"
    return " ".join(f'"{value[at : at + _STRING]}"' for at in range(0, len(value), _STRING))


class DemoNameserver:
    """What the nameserver knows."""

    def __init__(self) -> None:
        self._zone = zones.zone_of_text(f"{_TEXT}mail._domainkey IN TXT {_dkim()}\n", f"{APEX}.")

    def answer(self, query: dns.message.Message, response: dns.message.Message) -> None:
        """Answer with authority; REFUSED where the name is not in the zone, or all of it is asked for."""
        question = query.question[0]
        assert self._zone.origin is not None
        if (
            question.rdclass != dns.rdataclass.IN
            or not question.name.is_subdomain(self._zone.origin)
            or question.rdtype in _TRANSFERS
        ):
            response.set_rcode(dns.rcode.REFUSED)
            return
        response.flags |= dns.flags.AA
        zones.look_up(self._zone, question, response)
