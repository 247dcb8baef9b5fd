"""Real nameservers behind the subject: NSD, Knot and BIND, each in a folder of its own on loopback."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.support import dnsio, packets
from tests.support.ports import free_port
from tests.support.waiting import wait_until

from . import zones

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.ports import Address

KINDS = ("nsd", "knot", "bind")

_NSD = """server:
  ip-address: {host}
  port: {port}
  username: ""
  chroot: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd.state"
  xfrdir: "{folder}"
  zonelistfile: "{folder}/zone.list"
  logfile: "{folder}/server.log"
  server-count: 1
  tcp-count: 2500
  tcp-timeout: 120
  ipv4-edns-size: 4096
  ipv6-edns-size: 4096
  minimal-responses: no
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
  nsid: "ascii_backend"
  answer-cookie: yes
  cookie-secret: "000102030405060708090a0b0c0d0e0f"
remote-control:
  control-enable: no
key:
  name: "{key}"
  algorithm: hmac-sha256
  secret: "{secret}"
"""
_NSD_ZONE = """zone:
  name: "{zone}"
  zonefile: "{file}"
  provide-xfr: 127.0.0.0/8 {xfr_key}
  allow-notify: 127.0.0.0/8 NOKEY
  store-ixfr: yes
  create-ixfr: no
"""
_KNOT = """server:
  rundir: "{folder}"
  listen: {host}@{port}
  udp-workers: 1
  tcp-workers: 1
  tcp-idle-timeout: 120
  tcp-max-clients: 2500
  nsid: backend
  identity: backend
  udp-max-payload: 4096
database:
  storage: "{folder}"
log:
  - target: "{folder}/server.log"
    any: info
key:
  - id: {key}
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: transfer
    address: 127.0.0.0/8
    action: [transfer, notify]
  - id: update
    key: {key}
    action: [update, transfer]
template:
  - id: default
    storage: "{folder}"
    acl: [transfer, update]
    semantic-checks: off
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: changes
zone:
"""
_BIND = """options {{
  directory "{folder}";
  listen-on port {port} {{ {host}; }};
  listen-on-v6 {{ none; }};
  pid-file "{folder}/named.pid";
  session-keyfile "{folder}/session.key";
  managed-keys-directory "{folder}";
  recursion no;
  allow-transfer {{ 127.0.0.0/8; }};
  notify no;
  server-id "backend";
  dnssec-validation no;
  max-udp-size 4096;
  edns-udp-size 4096;
  tcp-clients 2500;
  rrset-order {{ order none; }};
  tcp-idle-timeout 1200;
  cookie-secret "000102030405060708090a0b0c0d0e0f";
  zone-statistics none;
}};
controls {{ }};
logging {{ channel out {{ file "{folder}/server.log"; severity info; }}; category default {{ out; }}; }};
key "{key}" {{ algorithm hmac-sha256; secret "{secret}"; }};
"""
_BIND_ZONE = 'zone "{zone}" {{ type primary; file "{file}"; check-names ignore; check-wildcard no; {update} }};\n'


class RealBackend:
    """A real nameserver that runs until `stop`; `folder` holds its zones, its log and `anchor.conf`."""

    def __init__(self, kind: str, folder: Path, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.kind = kind
        self.folder = folder
        self.host = host
        self._fixed_port = port
        folder.mkdir(parents=True, exist_ok=True)
        self.zone_files = zones.write(folder)
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> Address:
        return self.host, self.port

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start, or start again on the port of before, and wait until both transports answer."""
        for _ in range(5):
            self.port = self.port or free_port(self.host)
            command = self._command()
            with (self.folder / "console.log").open("ab") as console:
                self.process = subprocess.Popen(command, stdout=console, stderr=console, cwd=self.folder)
            if wait_until(self._answers_or_gone, 15) and self.process.poll() is None:
                return
            self.stop()
            self.port = self._fixed_port  # another program took the port meanwhile
        raise RuntimeError(f"{self.kind} does not start; see {self.folder}/console.log")

    def _answers_or_gone(self) -> bool:
        assert self.process is not None
        probe = packets.query(zones.PLAIN, packets.SOA)
        if self.process.poll() is not None:
            return True
        found = dnsio.udp(self.address, probe, 0.2)
        return bool(found and packets.rcode_of(found) == packets.NOERROR and dnsio.tcp(self.address, probe, 0.5))

    def stop(self) -> None:
        """Terminate it, by force after five seconds."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _command(self) -> list[str]:
        values = {
            "folder": self.folder, "host": self.host, "port": self.port,
            "key": zones.TSIG_NAME, "secret": zones.TSIG_SECRET,
        }  # fmt: skip
        config = self.folder / "server.conf"
        if self.kind == "nsd":
            config.write_text(_NSD.format(**values) + "".join(map(self._nsd_zone, self.zone_files)))
            return [_program("nsd"), "-d", "-c", str(config)]
        if self.kind == "knot":
            entries = (f'  - domain: {zone}\n    file: "{file}"\n' for zone, file in self.zone_files.items())
            config.write_text(_KNOT.format(**values) + "".join(entries))
            return [_program("knotd"), "-c", str(config)]
        config.write_text(_BIND.format(**values) + "".join(map(self._bind_zone, self.zone_files)))
        return [_program("named"), "-g", "-c", str(config), "-n", "1"]

    def _nsd_zone(self, zone: str) -> str:
        key = zones.TSIG_NAME if zone == zones.DYNAMIC else "NOKEY"
        both = "" if key == "NOKEY" else "  provide-xfr: 127.0.0.0/8 NOKEY\n"
        also = f"  provide-xfr: 127.0.0.0/8 {zones.TSIG_NAME}\n" if key == "NOKEY" else both
        return _NSD_ZONE.format(zone=zone, file=self.zone_files[zone], xfr_key=key) + also

    def _bind_zone(self, zone: str) -> str:
        update = f'allow-update {{ key "{zones.TSIG_NAME}"; }};' if zone == zones.DYNAMIC else ""
        return _BIND_ZONE.format(zone=zone, file=self.zone_files[zone], update=update)


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        raise FileNotFoundError(f"{name} is needed for these tests (Debian: nsd, knot, bind9)")
    return found
