"""Real nameservers that sign a zone of their own, each with a key of flatproxy's published beside theirs."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
from attrs import define, field

from .child import Child, program, run
from .knot import KNOT_SERVER
from .lifetime import Startable
from .ports import Address, free_port
from .waiting import until

if TYPE_CHECKING:
    from pathlib import Path

ZONE = "shop.test"
TTL_S = 2
"""Of everything, the DNSKEY RRset included: keys become active soon, and caches forget soon."""
_TEXT = f"""\
$ORIGIN {ZONE}.
$TTL {TTL_S}
@ SOA ns1 hostmaster 1 3600 600 86400 {TTL_S}
@ NS ns1
ns1 A 192.0.2.53
@ A 192.0.2.1
@ AAAA 2001:db8::1
@ HTTPS 1 . alpn="h2" ipv4hint=192.0.2.1
@ MX 10 mail
mail A 192.0.2.25
www CNAME @
four A 192.0.2.4
four AAAA 2001:db8::4
to.four CNAME four
bare A 192.0.2.5
host A 192.0.2.6
*.wild TXT "wildcard"
*.lands CNAME @
"""


@define(eq=False, kw_only=True)
class Signing(Startable):
    """A signing nameserver on the loopback. `key` is the path of flatproxy's pair, without `.key` and `.private`."""

    kind: ClassVar[str]
    programs: ClassVar[tuple[str, ...]]
    folder: Path
    key: Path
    nsec3: bool = False
    dnskey_ttl_s: int = TTL_S
    """Of the DNSKEY RRset, where the policy of the nameserver says it."""
    host: str = "127.0.0.1"
    port: int = field(default=0, init=False)
    child: Child | None = field(default=None, init=False)

    @property
    def address(self) -> Address:
        return self.host, self.port

    @property
    def record(self) -> str:
        """Our DNSKEY as a zone file has it."""
        return (self.key.parent / f"{self.key.name}.key").read_text()

    @property
    def zone_file(self) -> Path:
        return self.folder / f"{ZONE}.zone"

    @abstractmethod
    def configure(self) -> list[str]:
        """Write the configuration and return the command that starts it in the foreground."""

    def publish(self) -> None:
        """Have it publish our key, where that is done while it runs."""

    def start(self) -> None:
        for name in self.programs:
            program(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.zone_file.write_text(_TEXT)
        self.port = free_port(self.host)
        child = self.child = Child.start(self.configure(), self.folder / f"{self.kind}.log")
        try:
            until(lambda: not child.alive or len(self.keys()) >= 1, child.tail, 60)
            self.publish()
            until(lambda: not child.alive or self._publishes_ours(), child.tail, 60)
        except BaseException:
            child.kill()
            raise
        assert child.alive, child.tail()

    def keys(self) -> list[str]:
        """Return the zone's signed DNSKEY records as text."""
        query = dns.message.make_query(ZONE, "DNSKEY", want_dnssec=True)
        try:
            reply = dns.query.udp(query, self.host, timeout=1, port=self.port)
        except (dns.exception.DNSException, OSError):
            return []
        if not any(rrset.rdtype == dns.rdatatype.RRSIG for rrset in reply.answer):
            return []
        return [key.to_text() for rrset in reply.answer if rrset.rdtype == dns.rdatatype.DNSKEY for key in rrset]

    def _publishes_ours(self) -> bool:
        ours = self.record.split()[-1]
        return any(key.replace(" ", "").endswith(ours) for key in self.keys())

    @property
    def anchors(self) -> list[str]:
        """The zone's key-signing keys: flags, protocol, algorithm, key."""
        return [key for key in self.keys() if key.startswith("257 ")]

    @property
    def zsks(self) -> set[str]:
        """The zone-signing keys, ours among them."""
        return {key for key in self.keys() if key.startswith("256 ")}

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()


_KNOT = (
    KNOT_SERVER
    + """\
policy:
  - id: own
    algorithm: ecdsap256sha256
    nsec3: {nsec3}
    dnskey-ttl: {dnskey_ttl}
    zone-max-ttl: {ttl}
    propagation-delay: 4
zone:
  - domain: {zone}
    storage: "{folder}"
    file: {zone}.zone
    zonefile-load: difference-no-serial
    zonefile-sync: -1
    journal-content: all
    dnssec-signing: on
    dnssec-policy: own
"""
)


@define(eq=False, kw_only=True)
class KnotSigning(Signing):
    """Knot, with automatic signing."""

    kind = "knot"
    programs = ("knotd", "keymgr")

    def configure(self) -> list[str]:
        path = self.folder / "knot.conf"
        nsec3 = "on" if self.nsec3 else "off"
        path.write_text(
            _KNOT.format(
                folder=self.folder,
                host=self.host,
                port=self.port,
                nsec3=nsec3,
                dnskey_ttl=self.dnskey_ttl_s,
                ttl=TTL_S,
                zone=ZONE,
            )
        )
        run(["keymgr", "-c", str(path), ZONE, "import-pub", f"{self.key}.key"])
        return ["knotd", "-c", str(path)]

    def roll_zsk(self) -> None:
        """Begin to go over to another zone-signing key of its own."""
        run(["knotc", "-s", str(self.folder / "k.sock"), "zone-key-rollover", ZONE, "zsk"])

    def take_out(self) -> None:
        """Publish our key no more."""
        tag = str(int(self.key.name.rpartition("+")[2]))
        run(["keymgr", "-c", str(self.folder / "knot.conf"), ZONE, "delete", tag])
        run(["knotc", "-s", str(self.folder / "k.sock"), "-b", "zone-sign", ZONE])


_NSD = """\
server:
    ip-address: {host}@{port}
    username: ""
    chroot: ""
    zonesdir: "{folder}"
    database: ""
    pidfile: ""
    xfrdfile: "{folder}/xfrd.state"
    zonelistfile: "{folder}/zone.list"
    server-count: 1
    verbosity: 2
remote-control:
    control-enable: no
zone:
    name: {zone}
    zonefile: {zone}.zone.signed
"""


@define(eq=False, kw_only=True)
class NsdSigning(Signing):
    """NSD, its zone signed by ldns-signzone."""

    kind = "nsd"
    programs = ("nsd", "ldns-signzone", "ldns-keygen")

    def configure(self) -> list[str]:
        path = self.folder / "nsd.conf"
        path.write_text(_NSD.format(folder=self.folder, host=self.host, port=self.port, zone=ZONE))
        made = [
            self.folder / run(["ldns-keygen", "-a", "ECDSAP256SHA256", *kind, ZONE], folder=self.folder).strip()
            for kind in (["-k"], [])
        ]
        self.zone_file.write_text(_TEXT + self.record)
        signed = f"{self.zone_file}.signed"
        options = ["-n"] if self.nsec3 else []
        run(["ldns-signzone", *options, "-o", ZONE, "-f", signed, str(self.zone_file), *map(str, made)])
        return ["nsd", "-d", "-c", str(path)]


_BIND = """\
controls {{ }};
options {{
    directory "{folder}";
    key-directory "{folder}";
    pid-file none;
    session-keyfile "{folder}/session.key";
    listen-on port {port} {{ {host}; }};
    listen-on-v6 {{ none; }};
    recursion no;
    dnssec-validation no;
    empty-zones-enable no;
    notify no;
}};
dnssec-policy "own" {{
    keys {{ ksk lifetime unlimited algorithm ecdsap256sha256; zsk lifetime unlimited algorithm ecdsap256sha256; }};
    dnskey-ttl {ttl};
    max-zone-ttl {ttl};
    {nsec3}
}};
zone "{zone}" {{
    type primary;
    file "{zone}.zone";
    dnssec-policy "own";
    update-policy local;
}};
"""


@define(eq=False, kw_only=True)
class BindSigning(Signing):
    """BIND, with dnssec-policy on a zone that takes dynamic updates."""

    kind = "bind"
    programs = ("named", "nsupdate")

    def configure(self) -> list[str]:
        path = self.folder / "named.conf"
        nsec3 = "nsec3param iterations 0 optout no salt-length 0;" if self.nsec3 else ""
        path.write_text(
            _BIND.format(folder=self.folder, host=self.host, port=self.port, ttl=TTL_S, zone=ZONE, nsec3=nsec3)
        )
        return ["named", "-g", "-n", "1", "-c", str(path)]

    def publish(self) -> None:
        record = self.record.replace(" IN ", f" {TTL_S} ", 1).strip()
        script = f"server {self.host} {self.port}\nzone {ZONE}\nupdate add {record}\nsend\n"
        run(["nsupdate", "-k", str(self.folder / "session.key")], stdin=script)


_PDNS = """\
launch=gsqlite3
gsqlite3-database={folder}/pdns.sqlite
gsqlite3-dnssec=yes
direct-dnskey=yes
local-address={host}
local-port={port}
socket-dir={folder}
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
security-poll-suffix=
"""
_PDNS_SCHEMA = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"


@define(eq=False, kw_only=True)
class PowerDnsSigning(Signing):
    """PowerDNS, which signs as it answers."""

    kind = "powerdns"
    programs = ("pdns_server", "pdnsutil", "sqlite3")

    def configure(self) -> list[str]:
        (self.folder / "pdns.conf").write_text(_PDNS.format(folder=self.folder, host=self.host, port=self.port))
        config = f"--config-dir={self.folder}"
        with open(_PDNS_SCHEMA, encoding="ascii") as schema:  # noqa: PTH123 - a path of Debian's
            run(["sqlite3", str(self.folder / "pdns.sqlite")], stdin=schema.read())
        run(["pdnsutil", config, "load-zone", ZONE, str(self.zone_file)])
        for kind in ("ksk", "zsk"):
            run(["pdnsutil", config, "add-zone-key", ZONE, kind, "256", "active", "ecdsa256"])
        if self.nsec3:
            run(["pdnsutil", config, "set-nsec3", ZONE, "1 0 0 -"])
        run(
            [
                "pdnsutil",
                config,
                "add-record",
                ZONE,
                "@",
                "DNSKEY",
                str(TTL_S),
                self.record.split(" DNSKEY ")[1].strip(),
            ]
        )
        run(["pdnsutil", config, "rectify-zone", ZONE])
        return ["pdns_server", config]
