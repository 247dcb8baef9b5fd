"""The zones that the real nameservers serve: their text, and how one of them is signed.

Names that tests ask for are listed here too, so that a grid covers each kind of answer.
"""

from __future__ import annotations

from tests.support import packets
from tests.support.zones import DYNAMIC, SIGNED, Zones

__all__ = ["DYNAMIC", "SIGNED"]

PLAIN, APEX = "example.test", "apex.test"
PLACEHOLDER_A, PLACEHOLDER_AAAA = "203.0.113.250", "2001:db8:ffff::250"
TXT_SIZES = {"t05k": 500, "t12k": 1200, "t3k": 3000, "t4k": 4000, "t15k": 15000, "t62k": 61000}

_COMMON = """$TTL 300
@ SOA ns1 hostmaster 2024010101 7200 3600 1209600 300
@ NS ns1
@ NS ns2
ns1 A 192.0.2.53
ns1 AAAA 2001:db8::53
ns2 A 198.51.100.53
"""
_VARIED = """@ A 192.0.2.10
@ AAAA 2001:db8::10
@ MX 10 mail
@ TXT "v=spf1 -all"
@ CAA 0 issue "ca.example.net"
www CNAME @
mail A 192.0.2.25
mail AAAA 2001:db8::25
many A 192.0.2.1
many A 192.0.2.2
many A 192.0.2.3
srv SRV 10 20 5060 mail
naptr NAPTR 100 50 "s" "SIP+D2U" "" _sip._udp
sshfp SSHFP 1 1 123456789abcdef67890123456789abcdef67890
tlsa TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
hinfo HINFO "x86" "Linux"
loc LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
ptr PTR host.example.net.
unknown TYPE65280 \\# 4 01020304
https HTTPS 1 . alpn=h2
*.wild A 192.0.2.77
*.wild TXT "wild"
*.wildc CNAME mail
a.b.ent A 192.0.2.78
sub NS ns.sub
sub NS ns.other.example.net.
ns.sub A 192.0.2.79
dsub NS ns.dsub
ns.dsub AAAA 2001:db8::79
dn DNAME target
x.target A 192.0.2.80
c1 CNAME c2
c2 CNAME c3
c3 CNAME mail
loop1 CNAME loop2
loop2 CNAME loop1
out CNAME www.example.net.
dangling CNAME nowhere
ttl0 0 A 192.0.2.81
ttlmax 2147483647 A 192.0.2.82
\\000nul A 192.0.2.83
\\255high A 192.0.2.84
sp\\032ace A 192.0.2.85
esc\\.dot A 192.0.2.86
\\195\\188ml A 192.0.2.87
"""
_LONG_LABEL = "l" * 63
LONG_NAME = ".".join((_LONG_LABEL, _LONG_LABEL, _LONG_LABEL, "m" * 48))  # with .example.test. 255 octets in wire form
DEEP_NAME = ".".join("d" * 119)  # 119 one-octet labels: with .example.test. 252 octets
NAMES = (
    "", "www", "mail", "many", "srv", "naptr", "sshfp", "tlsa", "hinfo", "loc", "ptr", "unknown", "https",
    "any.wild", "x.y.wild", "z.wildc", "ent", "b.ent", "a.b.ent", "sub", "below.sub", "dsub", "dn", "x.dn", "y.dn",
    "c1", "loop1", "out", "dangling", "nowhere", "nowhere.mail", "ttl0",
)  # fmt: skip
TYPES = (1, 2, 5, 6, 12, 13, 15, 16, 28, 29, 33, 35, 39, 43, 44, 46, 47, 48, 52, 65, 255, 257)


def full(label: str, zone: str = PLAIN) -> str:
    """Return the whole name of a label in a zone; the empty label is the apex."""
    return f"{label}.{zone}" if label else zone


def _big() -> str:
    """Return TXT sets of the sizes above, in records of at most 2000 octets: NSD cannot transfer one of 16 KiB."""
    lines = []
    for label, size in TXT_SIZES.items():
        for index, at in enumerate(range(0, size, 2000)):
            rdata = packets.txt(min(2000, size - at), seed=index)
            lines.append(f"{label} TXT {_quoted(rdata)}")
    return "\n".join(lines) + "\n"


def _quoted(rdata: bytes) -> str:
    strings = []
    while rdata:
        strings.append('"' + rdata[1 : 1 + rdata[0]].decode("ascii") + '"')
        rdata = rdata[1 + rdata[0] :]
    return " ".join(strings)


class ConformanceZones(Zones):
    """The four zones of this suite."""

    names = (PLAIN, DYNAMIC, APEX, SIGNED)

    def unsigned(self, zone: str, _serial: int) -> str:
        origin = f"$ORIGIN {zone}.\n{_COMMON}"
        if zone == PLAIN:
            extra = f"{_LONG_LABEL} A 192.0.2.90\n{LONG_NAME} A 192.0.2.91\n{DEEP_NAME} A 192.0.2.92\n"
            return origin + _VARIED + _big() + extra
        if zone == SIGNED:
            return origin + _VARIED + _big() + "dsub DS 12345 13 2 " + "0123456789abcdef" * 4 + "\n"
        if zone == APEX:
            placeholder = f'@ A {PLACEHOLDER_A}\n@ AAAA {PLACEHOLDER_AAAA}\n@ MX 10 mail\n@ TXT "apex"\n'
            return origin + placeholder + "mail A 192.0.2.25\nx A 192.0.2.26\nx.y A 192.0.2.27\nwww CNAME @\n"
        return origin + "@ A 192.0.2.10\nhost A 192.0.2.11\n"
