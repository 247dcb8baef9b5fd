"""Knot DNS as a child process."""

from __future__ import annotations

from typing import ClassVar

from attrs import define

from .nameserver import Dynamic

KNOT_SERVER = """\
server:
    rundir: "{folder}"
    listen: {host}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: "{folder}/k.sock"
database:
    storage: "{folder}"
log:
  - target: stderr
    any: info
"""
"""How a configuration begins where nothing more is asked of the server than its zone."""
_SERVER = """\
server:
    rundir: "{folder}"
    listen: {host}@{port}
    identity: "knot under test"
    nsid: "knot"
    tcp-idle-timeout: 120
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    udp-max-payload: 4096
    tcp-max-clients: 2500
    answer-rotation: off
control:
    listen: "{folder}/k.sock"
database:
    storage: "{folder}"
log:
  - target: stderr
    any: info
key:
  - id: {key}
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: keyed
    key: {key}
    action: [transfer, update]
  - id: generous
    address: 127.0.0.0/8
    action: [transfer, notify]
zone:
"""
_ZONE = """\
  - domain: {zone}
    storage: "{folder}"
    file: {zone}.zone
    acl: {acl}
    zonefile-load: difference
    zonefile-sync: -1
    journal-content: changes
    semantic-checks: off
"""


@define(eq=False, kw_only=True)
class Knot(Dynamic):
    kind: ClassVar[str] = "knot"
    binary: ClassVar[str] = "knotd"

    def configure(self) -> list[str]:
        path = self.folder / "knot.conf"
        acl = "[generous, keyed]" if self.generous else "keyed"
        zones = (_ZONE.format(zone=name, acl=acl, **self.values) for name in self.zones.names)
        path.write_text(_SERVER.format(**self.values) + "".join(zones))
        return ["knotd", "-c", str(path)]
