"""The zones behind the proxy, as text that NSD, Knot and BIND all load, and the key that transfers and updates need."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

import dns.name
import dns.tsig
import dns.tsigkeyring
from attrs import define, field

from .child import run

if TYPE_CHECKING:
    from pathlib import Path

KEY_NAME: Final = "transfer-key."
KEY_SECRET: Final = "kp4/24gyYsEzbuTVJRUMoqGFmN3LYgVDzJ/3oRSP7ys="
KEYRING: Final = dns.tsigkeyring.from_text({KEY_NAME: (str(dns.tsig.HMAC_SHA256), KEY_SECRET)})
NSUPDATE_KEY: Final = f"hmac-sha256:{KEY_NAME}:{KEY_SECRET}"

SIGNED: Final = "signed.test"
DYNAMIC: Final = "dynamic.test"

PLACEHOLDERS: Final = {"A": "192.0.2.1", "AAAA": "2001:db8::1"}
"""What the zones say at a flagged name before anybody flattens it."""

_SOA = "$TTL 300\n@ SOA ns1.{zone}. hostmaster.{zone}. {serial} 3600 600 86400 60\n"
_BASE = (
    _SOA
    + """\
@ NS ns1
@ NS ns2
ns1 A 192.0.2.53
ns1 AAAA 2001:db8::53
ns2 A 198.51.100.53
@ A 192.0.2.1
@ AAAA 2001:db8::1
@ MX 10 mail
@ TXT "v=spf1 mx -all"
mail A 192.0.2.25
www CNAME @
"""
)


def _strings(octets: int, letter: str) -> str:
    """Write TXT data of about so many octets in strings of up to 250."""
    return " ".join(f'"{letter * min(250, octets - at)}"' for at in range(0, octets, 250))


_RICH = f"""\
@ MX 20 mail.example.net.
@ CAA 0 issue "ca.example.net"
@ CAA 128 iodef "mailto:security@example.com"
@ HTTPS 1 . alpn="h2,h3" ipv4hint=192.0.2.1
@ TYPE65280 \\# 4 DEADBEEF
@ LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
only4 A 192.0.2.44
only6 AAAA 2001:db8::66
alias CNAME www
deep CNAME deeper
deeper CNAME deepest
deepest A 192.0.2.77
loop1 CNAME loop2
loop2 CNAME loop1
away CNAME host.example.net.
far CNAME host.elsewhere.test.
nowhere CNAME missing
* A 192.0.2.99
* TXT "wildcard"
*.wild MX 5 mail
*.star CNAME www
sub NS ns.sub
sub NS ns.other.test.
ns.sub A 192.0.2.54
ns.sub AAAA 2001:db8::54
cut DS 12345 13 2 0000000000000000000000000000000000000000000000000000000000000001
cut NS ns1.example.net.
old DNAME example.net.
older.tree DNAME tree.example.com.
leaf.tree A 192.0.2.88
leaf.empty.branch A 192.0.2.11
_sip._tcp SRV 10 60 5060 sip
_sip._tcp SRV 20 60 5060 mail
sip A 192.0.2.61
_443._tcp TLSA 3 1 1 0000000000000000000000000000000000000000000000000000000000000002
sip NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!" .
box HINFO "generic" "none"
box RP hostmaster mail
box SSHFP 4 2 0000000000000000000000000000000000000000000000000000000000000003
box URI 10 1 "https://www.example.com/"
odd TYPE65280 \\# 0
odd TYPE65281 \\# 300 {"AB" * 300}
both A 192.0.2.120
both AAAA 2001:db8::120
to.both CNAME both
to.only4 CNAME only4
zero 0 A 192.0.2.100
long 2147483647 A 192.0.2.101
mail._domainkey TXT {_strings(410, "k")}
big._domainkey TXT {_strings(780, "K")}
txt1200 TXT {_strings(1200, "a")}
txt1450 TXT {_strings(1450, "b")}
txt4000 TXT {_strings(4000, "c")}
txt12000 TXT {_strings(12000, "d")}
{"l" * 63} A 192.0.2.63
dot\\.inside A 192.0.2.46
octets\\000\\255\\127 A 192.0.2.47
under_score A 192.0.2.48
1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16 A 192.0.2.49
""" + "".join(f"many A 198.51.100.{last}\nmany AAAA 2001:db8::{last:x}\n" for last in range(1, 41))

_OTHER = """\
host A 203.0.113.10
host AAAA 2001:db8:1::10
api A 203.0.113.20
api TXT "an api"
back CNAME example.com.
to.unlisted CNAME unlisted
flat A 192.0.2.1
flat TXT "beside the flagged name"
tree TXT "a tree"
"""

_SIGNED = """\
host A 203.0.113.30
host AAAA 2001:db8:2::30
txt TXT "signed text"
*.any A 203.0.113.31
sub NS ns1.example.net.
back CNAME host
"""

ZONES: Final = {
    "example.com": _BASE + _RICH,
    "example.net": _BASE + _OTHER,
    SIGNED: _BASE + _SIGNED,
    DYNAMIC: _BASE,
}


@define(eq=False)
class Zones:
    """The zone files of one session. `folder` keeps what is made once: the signed zone, and the anchor of its chain."""

    names: ClassVar[tuple[str, ...]] = tuple(ZONES)
    folder: Path
    _signed: str = field(default="", init=False)

    @property
    def anchor(self) -> Path:
        """The key of the signed zone, as validators are configured (delv)."""
        return self.folder / "anchor.conf"

    def unsigned(self, zone: str, serial: int) -> str:
        return f"$ORIGIN {zone}.\n" + ZONES[zone].replace("{zone}", zone).replace("{serial}", str(serial))

    def text(self, zone: str, serial: int = 1) -> str:
        if zone == SIGNED:
            self._signed = self._signed or self._sign(self.unsigned(zone, serial))
            return self._signed
        return self.unsigned(zone, serial)

    def _sign(self, text: str) -> str:
        """Sign with ECDSA P-256 and NSEC."""
        plain, signed = self.folder / "plain", self.folder / "signed"
        plain.write_text(text)
        keys = []
        for flags in (["-k"], []):
            command = ["ldns-keygen", "-a", "ECDSAP256SHA256", "-r", "/dev/urandom", *flags, SIGNED]
            keys.append(run(command, folder=self.folder).splitlines()[-1])
        run(["ldns-signzone", "-e", "20370101", "-f", str(signed), str(plain), *keys], folder=self.folder)
        public = (self.folder / f"{keys[0]}.key").read_text().split("DNSKEY")[1].split(";")[0].split(maxsplit=3)
        flags_, protocol, algorithm, key = public
        anchor = f'{SIGNED}. static-key {flags_} {protocol} {algorithm} "{key.strip()}";'
        self.anchor.write_text(f"trust-anchors {{ {anchor} }};\n")
        return signed.read_text()

    def write(self, folder: Path) -> None:
        for zone in self.names:
            (folder / f"{zone}.zone").write_text(self.text(zone))

    def rewrite(self, folder: Path, zone: str, serial: int, extra: str) -> None:
        (folder / f"{zone}.zone").write_text(self.text(zone, serial) + extra)


def wire_name(text: str) -> bytes:
    wire = dns.name.from_text(text).to_wire()
    assert wire is not None
    return wire
