"""`flatproxy keygen`: a new pair of key files, and how each nameserver is told to publish the key.

It returns text; the commands in it are those of docs/dnssec.md, where they were run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flatproxy.signing import keys
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

TTL_S = 3600
"""What most nameservers give a DNSKEY RRset."""

_WINDOWS: Final[Mapping[str, str]] = {
    "ECDSAP256SHA256": "ECDsaP256Sha256",
    "ECDSAP384SHA384": "ECDsaP384Sha384",
    "RSASHA256": "RsaSha256",
}


def keygen(zone: bytes, algorithm: str, directory: Path) -> list[str]:
    """Make a key of the zone (wire form, lower case), write the pair, and return the lines to print.

    Raises `OSError` where it cannot be written, `FileExistsError` also where chance gave it the tag of a key there.
    """
    key = keys.generate(zone, algorithm)
    base = keys.write_pair(key, directory)
    name = names.to_text(zone)
    return [
        f"wrote {base}.key",
        f"      {base}.private (secret: for flatproxy's user alone)",
        "",
        "The record to publish in the zone:",
        "",
        f"    {key.record}",
        "",
        *instructions(key, base),
        "In flatproxy's configuration:",
        "",
        f'    [dnssec."{name}"]',
        f'    key = "{base.resolve()}"',
        "",
        "Flag names of the zone when `flatproxy check` says that the key is active.",
    ]


def instructions(key: keys.Key, base: Path) -> Iterator[str]:
    """Yield how each nameserver is told to publish a key whose pair is at `base`."""
    name = names.to_text(key.zone)
    rdata = key.dnskey.to_text(chunksize=0)
    algorithm = keys.algorithm_name(key)
    yield from _block(
        "BIND, a zone with dynamic updates (without inline-signing):",
        "nsupdate -k /run/named/session.key <<EOF",
        "server 127.0.0.1",
        f"zone {name}",
        f"update add {key.record.replace(' IN ', f' {TTL_S} ', 1)}",
        "send",
        "EOF",
    )
    yield from _block(
        "BIND, a zone with auto-dnssec maintain, from its key directory:",
        f"cp {base}.key {base}.private /var/lib/bind/keys/",
        f"dnssec-settime -f -K /var/lib/bind/keys -P now -A none {base.name}",
        f"rndc loadkeys {name}",
    )
    yield from _block(
        "Knot DNS:",
        f"keymgr {name} import-pub {base}.key",
        f"knotc zone-sign {name}",
    )
    yield from _block(
        "PowerDNS, with direct-dnskey=yes in pdns.conf:",
        f'pdnsutil add-record {name} @ DNSKEY "{rdata}"',
        f"pdns_control purge {name}",
    )
    yield from _block(
        "NSD, with ldns-signzone and the zone's own keys, KSK and ZSK:",
        f"cat {base}.key >> {name}.zone",
        f"ldns-signzone -o {name} -f {name}.zone.signed {name}.zone KSK ZSK",
        f"nsd-control reload {name}",
    )
    if algorithm in _WINDOWS:
        yield from _block(
            "Windows Server DNS:",
            f'Add-DnsServerResourceRecordDnsKey -ZoneName "{name}" -Name "@" -ZoneKey `',
            f'    -CryptoAlgorithm {_WINDOWS[algorithm]} -Base64Data "{rdata.split()[-1]}"',
            f'Invoke-DnsServerZoneSign -ZoneName "{name}" -DoResign -Force',
        )


def _block(title: str, *commands: str) -> Iterator[str]:
    yield title
    yield ""
    yield from (f"    {command}" for command in commands)
    yield ""
