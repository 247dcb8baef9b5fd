"""NSD as a child process."""

from __future__ import annotations

from typing import ClassVar

from attrs import define

from .nameserver import Nameserver

_SERVER = """\
server:
    ip-address: {host}
    port: {port}
    username: ""
    chroot: ""
    zonesdir: "{folder}"
    database: ""
    pidfile: ""
    xfrdfile: ""
    xfrdir: "{folder}"
    zonelistfile: "{folder}/zone.list"
    server-count: 1
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
    round-robin: no
    answer-cookie: {cookies}
    cookie-secret: "000102030405060708090a0b0c0d0e0f"
    nsid: "ascii_nsd"
    minimal-responses: no
    ipv4-edns-size: 4096
    ipv6-edns-size: 4096
    tcp-count: 2500
    tcp-timeout: 120
    hide-version: no
    identity: "nsd under test"
    reuseport: no
remote-control:
    control-enable: no
key:
    name: "{key}"
    algorithm: hmac-sha256
    secret: "{secret}"
"""
_GENEROUS = "    provide-xfr: 127.0.0.0/8 NOKEY\n    allow-notify: 127.0.0.0/8 NOKEY\n"
_ZONE = """\
zone:
    name: "{zone}"
    zonefile: "{zone}.zone"
    store-ixfr: yes
    create-ixfr: yes
    provide-xfr: {host} {key}
"""


@define(eq=False, kw_only=True)
class Nsd(Nameserver):
    kind: ClassVar[str] = "nsd"
    binary: ClassVar[str] = "nsd"

    def configure(self) -> list[str]:
        path = self.folder / "nsd.conf"
        zone = _ZONE + (_GENEROUS if self.generous else "")
        zones = (zone.format(zone=name, **self.values) for name in self.zones.names)
        path.write_text(_SERVER.format(**self.values) + "".join(zones))
        return ["nsd", "-d", "-c", str(path)]
