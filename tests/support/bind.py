"""BIND as a child process: authoritative, without recursion."""

from __future__ import annotations

from typing import ClassVar

from attrs import define

from .nameserver import Dynamic
from .zones import KEY_NAME, KEY_SECRET, ZONES

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
    check-names primary warn;
    answer-cookie no;
    rrset-order {{ order none; }};
    minimal-responses no;
    max-udp-size 4096;
    tcp-clients 500;
    version "bind under test";
    server-id "bind under test";
    allow-transfer {{ key "{key}"; }};
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
        values = {"host": self.host, "port": self.port, "folder": self.folder, "key": KEY_NAME, "secret": KEY_SECRET}
        update = _UPDATE.format(**values)
        path.write_text(
            _SERVER.format(**values)
            + "".join(_ZONE.format(zone=zone, update=update if zone == "dynamic.test" else "") for zone in ZONES)
        )
        return ["named", "-g", "-n", "1", "-c", str(path)]
