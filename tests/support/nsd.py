"""NSD as a child process."""

from __future__ import annotations

from typing import ClassVar

from attrs import define

from .nameserver import Nameserver
from .zones import KEY_NAME, KEY_SECRET, ZONES

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
    answer-cookie: no
    ipv4-edns-size: 4096
    ipv6-edns-size: 4096
    tcp-count: 500
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
        values = {"host": self.host, "port": self.port, "folder": self.folder, "key": KEY_NAME, "secret": KEY_SECRET}
        path.write_text(_SERVER.format(**values) + "".join(_ZONE.format(zone=zone, **values) for zone in ZONES))
        return ["nsd", "-d", "-c", str(path)]
