"""PowerDNS as a child process. It answers nobody without a PROXY header, and logs whom the header names."""

from __future__ import annotations

import re
import socket
from typing import ClassVar

from attrs import define

from .nameserver import Nameserver
from .proxy_header import LOCAL
from .queries import query
from .zones import wire_name

TRANSFERS_TO = "127.0.0.7"
_SERVER = """\
launch=bind
bind-config={folder}/zones.conf
local-address={host}
local-port={port}
socket-dir={folder}
proxy-protocol-from=127.0.0.0/8
allow-axfr-ips={transfers_to}
log-dns-queries=yes
loglevel=7
disable-syslog=yes
log-timestamp=no
write-pid=no
guardian=no
daemon=no
receiver-threads=1
distributor-threads=1
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
security-poll-suffix=
version-string=powerdns under test
max-tcp-transactions-per-conn=4
"""
_ZONE = 'zone "{zone}" {{ type master; file "{folder}/{zone}.zone"; }};\n'
_WANTS = re.compile(r"Remote [0-9.]+\(([0-9a-f.:]+)\) wants '([^|']*)\|([A-Z0-9]+)'")


@define(eq=False, kw_only=True)
class PowerDns(Nameserver):
    kind: ClassVar[str] = "powerdns"
    binary: ClassVar[str] = "pdns_server"

    def configure(self) -> list[str]:
        values = {"transfers_to": TRANSFERS_TO, **self.values}
        (self.folder / "pdns.conf").write_text(_SERVER.format(**values))
        (self.folder / "zones.conf").write_text("".join(_ZONE.format(zone=zone, **values) for zone in self.zones.names))
        return ["pdns_server", f"--config-dir={self.folder}"]

    def serves(self) -> bool:
        return all(self._serves(zone) for zone in self.zones.names)

    def _serves(self, zone: str) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.5)
            sock.connect(self.address)
            try:
                sock.send(LOCAL + query(wire_name(zone), 6))
                reply = sock.recv(65535)
            except OSError:
                return False
        return reply[3] & 0x0F == 0 and reply[6:8] != b"\0\0"

    @property
    def log(self) -> str:
        assert self.child is not None
        return self.child.log.read_text(errors="replace")

    @property
    def asked(self) -> list[tuple[str, str, str]]:
        """Client, name and type of each query, as its log has them."""
        return _WANTS.findall(self.log)
