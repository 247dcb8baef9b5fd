"""BIND as a child process that validates: a resolver which forwards the zones that it is asked for to the proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from .recursive import RecursiveResolver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .ports import Address

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
class BindResolver(RecursiveResolver):
    kind = "named"
    knows = ("version.bind", "TXT", "CH")

    zone: str
    authority: Address
    anchors: Sequence[str]
    """The zone's trusted keys: flags, protocol, algorithm, key."""
    longest_s: int = 5
    """For how long anything is kept."""

    def configure(self) -> list[str]:
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
        return ["named", "-g", "-n", "1", "-c", str(path)]
