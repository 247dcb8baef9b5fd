"""Knot DNS as a child process."""

from __future__ import annotations

from typing import ClassVar

from attrs import define

from .nameserver import Dynamic
from .zones import KEY_NAME, KEY_SECRET, ZONES

_SERVER = """\
server:
    rundir: "{folder}"
    listen: {host}@{port}
    identity: "knot under test"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    udp-max-payload: 4096
    tcp-max-clients: 500
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
zone:
"""
_ZONE = """\
  - domain: {zone}
    storage: "{folder}"
    file: {zone}.zone
    acl: keyed
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
        values = {"host": self.host, "port": self.port, "folder": self.folder, "key": KEY_NAME, "secret": KEY_SECRET}
        path.write_text(_SERVER.format(**values) + "".join(_ZONE.format(zone=zone, **values) for zone in ZONES))
        return ["knotd", "-c", str(path)]
