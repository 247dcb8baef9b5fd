"""BIND as a child process that validates: a resolver which forwards the zones that it is asked for to the proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.query
from attrs import define, field

from .child import Child, program
from .lifetime import Startable
from .ports import Address, free_port
from .waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CONFIG = """\
controls {{ }};
trust-anchors {{ {anchors} }};
options {{
    directory "{folder}";
    pid-file none;
    session-keyfile none;
    listen-on port {port} {{ {host}; }};
    listen-on-v6 {{ none; }};
    recursion yes;
    allow-query {{ 127.0.0.0/8; }};
    dnssec-validation yes;
    synth-from-dnssec yes;
    empty-zones-enable no;
    max-cache-ttl {longest_s};
}};
zone "{zone}" {{ type forward; forward only; forwarders {{ {authority} port {authority_port}; }}; }};
"""


@define(eq=False, kw_only=True)
class BindResolver(Startable):
    folder: Path
    zone: str
    authority: Address
    anchors: Sequence[str]
    """The zone's trusted keys: flags, protocol, algorithm, key."""
    longest_s: int = 5
    """For how long anything is kept."""
    host: str = "127.0.0.1"
    port: int = field(default=0, init=False)
    child: Child | None = field(default=None, init=False)

    def start(self) -> None:
        program("named")
        self.port = free_port(self.host)
        anchors = ""
        for anchor in self.anchors:
            flags, protocol, algorithm, *key = anchor.split()
            anchors += f'"{self.zone}." static-key {flags} {protocol} {algorithm} "{"".join(key)}"; '
        path = self.folder / "named.conf"
        path.write_text(
            _CONFIG.format(
                anchors=anchors,
                folder=self.folder,
                longest_s=self.longest_s,
                host=self.host,
                port=self.port,
                zone=self.zone,
                authority=self.authority[0],
                authority_port=self.authority[1],
            )
        )
        child = self.child = Child.start(["named", "-g", "-n", "1", "-c", str(path)], self.folder / "named.log")
        try:
            until(lambda: not child.alive or self._answers(), child.tail, 60)
        except BaseException:
            child.kill()
            raise
        assert child.alive, child.tail()

    def _answers(self) -> bool:
        try:
            # Its own zone: it asks nobody.
            dns.query.udp(dns.message.make_query("version.bind", "TXT", "CH"), self.host, timeout=0.5, port=self.port)
        except (dns.exception.DNSException, OSError):
            return False
        return True

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
