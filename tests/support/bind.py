"""BIND as a child process: authoritative, without recursion."""

from __future__ import annotations

from typing import ClassVar

from attrs import define

from .nameserver import Dynamic
from .zones import DYNAMIC

_SERVER = """\
key "{key}" {{ algorithm hmac-sha256; secret "{secret}"; }};
controls {{ }};
options {{
    directory "{folder}";
    pid-file none;
    session-keyfile none;
    listen-on port {port} {{ {host}; }};
    listen-on-v6 {{ none; }};
    recursion no;
    dnssec-validation no;
    empty-zones-enable no;
    notify no;
    check-names primary ignore;
    check-wildcard no;
    answer-cookie {cookies};
    cookie-secret "000102030405060708090a0b0c0d0e0f";
    rrset-order {{ order none; }};
    minimal-responses no;
    max-udp-size 4096;
    edns-udp-size 4096;
    tcp-clients 2500;
    tcp-idle-timeout 1200;
    zone-statistics none;
    version "bind under test";
    server-id "bind under test";
    allow-transfer {{ {transfers} }};
}};
"""
_ZONE = """\
zone "{zone}" {{
    type primary;
    file "{zone}.zone";
    ixfr-from-differences yes;
    {update}
}};
"""
_UPDATE = 'allow-update {{ key "{key}"; }};'


@define(eq=False, kw_only=True)
class Bind(Dynamic):
    kind: ClassVar[str] = "bind"
    binary: ClassVar[str] = "named"

    def configure(self) -> list[str]:
        path = self.folder / "named.conf"
        update = _UPDATE.format(**self.values)
        zones = (_ZONE.format(zone=name, update=update if name == DYNAMIC else "") for name in self.zones.names)
        transfers = "127.0.0.0/8;" if self.generous else 'key "{key}";'.format(**self.values)
        path.write_text(_SERVER.format(transfers=transfers, **self.values) + "".join(zones))
        return ["named", "-g", "-n", "1", "-c", str(path)]
