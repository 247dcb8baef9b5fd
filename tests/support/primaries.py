"""Real nameservers that take signed updates of one zone and tell a secondary, which transfers it."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Final

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
from attrs import define, field

from .child import Child, program, run
from .knot import KNOT_SERVER
from .lifetime import Startable
from .nameserver import serial
from .ports import Address, free_port
from .waiting import until

ZONE: Final = "shop.test"
KEY: Final = "flatproxy-sync"
SECRET: Final = "c3luYy1zZWNyZXQtb2YtdGhlLXRlc3RzLTAxMjM0NTY="
KEY_FILE: Final = f'key "{KEY}" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n'
"""As tsig-keygen writes it."""
WRONG_SECRET: Final = KEY_FILE.replace(SECRET, "b3RoZXItc2VjcmV0LW9mLXRoZS10ZXN0cy0wMTIzNDU=")
WRONG_NAME: Final = KEY_FILE.replace(KEY, "somebody-else")

_ZONE: Final = f"""\
$ORIGIN {ZONE}.
$TTL 300
@ SOA ns1 hostmaster 1 3600 600 86400 60
@ NS ns1
ns1 A 192.0.2.53
@ A 192.0.2.1
@ AAAA 2001:db8::1
@ MX 10 mail
mail A 192.0.2.25
""" + "".join(f"n{number} A 192.0.2.1\nn{number} AAAA 2001:db8::1\n" for number in range(20))


def records(address: Address, name: str, rdtype: str) -> list[str]:
    """Return what a nameserver has at a name, sorted; nothing where it does not answer."""
    query = dns.message.make_query(name, rdtype)
    try:
        reply = dns.query.tcp(query, address[0], timeout=2, port=address[1])
    except (dns.exception.DNSException, OSError):
        return []
    rrset = reply.get_rrset(reply.answer, query.question[0].name, query.question[0].rdclass, query.question[0].rdtype)
    return sorted(rdata.to_text() for rdata in rrset or ())


@define(eq=False, kw_only=True)
class Primary(Startable):
    """A primary of `ZONE` on the loopback that is told by its key what to write, and its secondary."""

    kind: ClassVar[str]
    programs: ClassVar[tuple[str, ...]]
    folder: Path
    host: str = "127.0.0.1"
    port: int = field(default=0, init=False)
    child: Child | None = field(default=None, init=False)
    secondary: Secondary | None = field(default=None, init=False)

    @property
    def address(self) -> Address:
        return self.host, self.port

    @property
    def values(self) -> dict[str, object]:
        told = self.secondary.port if self.secondary is not None else 9
        return {
            "folder": self.folder, "host": self.host, "port": self.port, "zone": ZONE, "told": told,
            "key": KEY, "secret": SECRET,
        }  # fmt: skip

    @abstractmethod
    def configure(self) -> list[str]:
        """Write configuration and zone, and return the command that starts it in the foreground."""

    def start(self) -> None:
        for name in self.programs:
            program(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port(self.host)
        self.secondary = Secondary(self.folder / "secondary", self.address)
        self.secondary.port = free_port(self.host)
        command = self.configure()
        self._start(command)
        self.secondary.start()

    def _start(self, command: list[str]) -> None:
        child = self.child = Child.start(command, self.folder / f"{self.kind}.log")
        until(lambda: not child.alive or self.serial is not None, child.tail, 60)
        assert child.alive, child.tail()

    def restart(self) -> None:
        """Start it again after `kill`."""
        assert self.child is not None
        self._start(self.child.process.args)  # type: ignore[arg-type]

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()

    def stop(self) -> None:
        if self.secondary is not None:
            self.secondary.stop()
        if self.child is not None:
            self.child.stop()

    @property
    def serial(self) -> int | None:
        return serial(self.address, ZONE)

    def write(self, commands: str) -> str:
        """Change the zone as somebody else does who has the key."""
        script = f"server {self.host} {self.port}\nzone {ZONE}\n{commands}\nsend\n"
        return run(["nsupdate", "-y", f"hmac-sha256:{KEY}:{SECRET}"], stdin=script)


@define(eq=False)
class Secondary(Startable):
    """BIND as a secondary that any notify makes look."""

    folder: Path
    primary: Address
    port: int = field(default=0, init=False)
    child: Child | None = field(default=None, init=False)

    @property
    def address(self) -> Address:
        return "127.0.0.1", self.port

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "named.conf"
        host, port = self.primary
        path.write_text(
            f'controls {{ }};\noptions {{ directory "{self.folder}"; pid-file none; session-keyfile none;\n'
            f"  listen-on port {self.port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no;\n"
            f"  dnssec-validation no; empty-zones-enable no; notify no; allow-notify {{ 127.0.0.0/8; }}; }};\n"
            f'zone "{ZONE}" {{ type secondary; primaries {{ {host} port {port}; }}; }};\n'
        )
        child = self.child = Child.start(["named", "-g", "-n", "1", "-c", str(path)], self.folder / "bind.log")
        until(lambda: not child.alive or serial(self.address, ZONE) is not None, child.tail, 60)

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()


_BIND = """\
key "{key}" {{ algorithm hmac-sha256; secret "{secret}"; }};
controls {{ }};
options {{
    directory "{folder}"; pid-file none; session-keyfile none;
    listen-on port {port} {{ {host}; }}; listen-on-v6 {{ none; }};
    recursion no; dnssec-validation no; empty-zones-enable no; notify explicit; notify-delay 0;
    allow-transfer {{ 127.0.0.0/8; }};
}};
zone "{zone}" {{
    type primary; file "{zone}.zone"; also-notify {{ 127.0.0.1 port {told}; }};
    update-policy {{
        deny {key} name closed.{zone};
        grant {key} name {zone} A AAAA;
        grant {key} wildcard *.{zone} A AAAA CNAME SRV;
    }};
}};
"""


@define(eq=False, kw_only=True)
class BindPrimary(Primary):
    kind = "bind"
    programs = ("named", "nsupdate")

    def configure(self) -> list[str]:
        (self.folder / f"{ZONE}.zone").write_text(_ZONE)
        path = self.folder / "named.conf"
        path.write_text(_BIND.format(**self.values))
        return ["named", "-g", "-n", "1", "-c", str(path)]


_KNOT = (
    KNOT_SERVER
    + """\
key:
  - id: {key}
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: update
    key: {key}
    action: update
  - id: transfer
    address: 127.0.0.0/8
    action: transfer
remote:
  - id: secondary
    address: 127.0.0.1@{told}
zone:
  - domain: {zone}
    storage: "{folder}"
    file: {zone}.zone
    acl: [update, transfer]
    notify: secondary
"""
)


@define(eq=False, kw_only=True)
class KnotPrimary(Primary):
    kind = "knot"
    programs = ("knotd", "named", "nsupdate")

    def configure(self) -> list[str]:
        (self.folder / f"{ZONE}.zone").write_text(_ZONE)
        path = self.folder / "knot.conf"
        path.write_text(_KNOT.format(**self.values))
        return ["knotd", "-c", str(path)]


_PDNS = """\
launch=gsqlite3
gsqlite3-database={folder}/pdns.sqlite
local-address={host}
local-port={port}
socket-dir={folder}
primary=yes
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
allow-axfr-ips=127.0.0.0/8
also-notify=127.0.0.1:{told}
only-notify=
disable-syslog=yes
write-pid=no
guardian=no
daemon=no
receiver-threads=1
distributor-threads=1
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
xfr-cycle-interval=1
security-poll-suffix=
"""
_SCHEMA: Final = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")


@define(eq=False, kw_only=True)
class PowerDnsPrimary(Primary):
    kind = "powerdns"
    programs = ("pdns_server", "pdnsutil", "sqlite3", "named", "nsupdate")

    def configure(self) -> list[str]:
        (self.folder / f"{ZONE}.zone").write_text(_ZONE)
        (self.folder / "pdns.conf").write_text(_PDNS.format(**self.values))
        config = f"--config-dir={self.folder}"
        run(["sqlite3", str(self.folder / "pdns.sqlite")], stdin=_SCHEMA.read_text())
        for command in (
            ("load-zone", ZONE, str(self.folder / f"{ZONE}.zone")),
            ("set-kind", ZONE, "primary"),
            ("import-tsig-key", KEY, "hmac-sha256", SECRET),
            ("set-meta", ZONE, "TSIG-ALLOW-DNSUPDATE", KEY),
        ):
            run(["pdnsutil", config, *command])
        return ["pdns_server", config]


PRIMARIES: Final[dict[str, type[Primary]]] = {each.kind: each for each in (BindPrimary, KnotPrimary, PowerDnsPrimary)}
