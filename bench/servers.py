"""The servers side by side, each a group of processes on loopback with its configuration in a folder of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, ClassVar, Final

import dns.message
import dns.rcode
import dns.rdatatype
from attrs import define, field, fields_dict

from bench import accounting
from flatproxy import forward
from flatproxy.config import settings
from tests.support.child import Child
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST: Final = "127.0.0.1"
ZONE: Final = "example.com"
TARGET: Final = "lb.cloud.test"
HOSTS: Final = 1000
PLACEHOLDERS: Final = frozenset({"192.0.2.1", "192.0.2.2"})
FLATTENED: Final = frozenset({"198.51.100.1", "198.51.100.2"})
START_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.002
_ASK_S: Final = 0.1
PROGRAMS: Final = ("nsd", "unbound", "dnsdist", "pdns_server", "dnsperf", "gcc")
TSIG: Final = ("bench.key", "YmVuY2ggYmVuY2ggYmVuY2ggYmVuY2g=")
"""A key of the nameserver's: its name, and its secret for HMAC-SHA256."""
_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


AS_IT_COMES: Final[tuple[str, ...]] = (sys.executable,)
HAS_NATIVE: Final = any(Path(forward.__file__).parent.glob("native/_core*.so"))
WITH_NATIVE: Final[tuple[str, ...]] = ("env", "FLATPROXY_NATIVE=1", *AS_IT_COMES) if HAS_NATIVE else AS_IT_COMES
"""The interpreter with the native packet path, where that was built: it ends where it does not find it."""
WITHOUT_NATIVE: Final[tuple[str, ...]] = ("env", "FLATPROXY_NATIVE=0", *AS_IT_COMES)
HAS_THREADS: Final = "threads" in fields_dict(settings.Listen)


def compiled(program: str, folder: Path) -> str:
    """Compile one of the programs in C of the bench, unless the folder has it, and return its path."""
    path = folder / f"{program}.compiled"
    if not path.exists():
        source = Path(__file__).parent / f"{program}.c"
        subprocess.run(["gcc", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o", path, source], check=True)
    return str(path)


def missing() -> list[str]:
    """Return the programs that the bench needs and this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=_SBIN) is None]


def zone_text(apex: str) -> str:
    """Return the zone with these records at its apex, `HOSTS` ordinary names, and any name below `fresh`."""
    lines = [f"$ORIGIN {ZONE}.", "$TTL 300", "@ SOA ns1 hostmaster 1 3600 600 86400 60", "@ NS ns1", apex]
    lines += ["ns1 A 192.0.2.53", "@ MX 10 ns1"]
    lines += ["*.fresh A 203.0.113.1"]
    lines += [f"h{number} A 203.0.113.{number % 254 + 1}" for number in range(HOSTS)]
    return "\n".join(lines) + "\n"


@define(eq=False, kw_only=True)
class Server:
    """One server: how it is configured, started, asked and ended."""

    name: str
    folder: Path
    apex: frozenset[str] = PLACEHOLDERS
    """The A records that it must answer for the zone's apex."""

    port: int = field(default=0, init=False)
    child: Child | None = field(default=None, init=False)
    kind: ClassVar[str] = ""

    def configure(self) -> list[str]:
        """Write the configuration for `self.port` and return the command that runs it in the foreground."""
        raise NotImplementedError

    @property
    def group(self) -> int:
        assert self.child is not None
        return self.child.process.pid

    def start(self) -> float:
        """Start it and return how many seconds passed until it gave its first right answer."""
        self.folder.mkdir(exist_ok=True)
        self.port = free_port(HOST)
        command = self.configure()
        began = monotonic()
        self.child = Child.start(command, self.folder / "log")
        while not self.right():
            if not self.child.alive or monotonic() - began > START_WITHIN_S:
                said = self.child.tail()
                self.stop()
                raise RuntimeError(f"{self.name} did not start:\n{said}")
            sleep(_POLL_S)
        return monotonic() - began

    def right(self) -> bool:
        """Tell whether it answers for the apex with the addresses that it must."""
        return ask_a(self.port, ZONE) == self.apex

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
            self.child = None

    @property
    def cpu_s(self) -> tuple[float, float]:
        """CPU seconds used so far: in user mode, in the kernel."""
        return accounting.cpu_s(self.group)

    @property
    def rss_bytes(self) -> int:
        return accounting.rss_bytes(self.group)


def ask_a(port: int, name: str) -> frozenset[str]:
    """Return the A records that a server on loopback gives for a name; none where it does not answer now."""
    query = dns.message.make_query(name, "A")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(_ASK_S)
        try:
            udp.connect((HOST, port))
            udp.send(query.to_wire())
            reply = dns.message.from_wire(udp.recv(4096))
        except OSError:
            return frozenset()
    return frozenset(rdata.to_text() for rrset in reply.answer if rrset.rdtype == dns.rdatatype.A for rdata in rrset)


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Run servers, started in this order, and end them all whatever happens."""
    started: list[Server] = []
    try:
        for server in servers:
            started.append(server)
            server.start()
        yield
    finally:
        for server in reversed(started):
            server.stop()


@define(eq=False, kw_only=True)
class Nsd(Server):
    """The nameserver behind everything, without its limit of replies a second."""

    def configure(self) -> list[str]:
        records = [*(f"@ A {address}" for address in sorted(PLACEHOLDERS)), "@ AAAA 2001:db8::1", "@ AAAA 2001:db8::2"]
        (self.folder / "zone").write_text(zone_text("\n".join(records)))
        path = self.folder / "nsd.conf"
        path.write_text(
            f'server:\n ip-address: {HOST}\n port: {self.port}\n username: ""\n chroot: ""\n'
            f' zonesdir: "{self.folder}"\n database: ""\n pidfile: ""\n xfrdfile: ""\n xfrdir: "{self.folder}"\n'
            f' zonelistfile: "{self.folder}/zone.list"\n server-count: 1\n rrl-ratelimit: 0\n'
            " rrl-whitelist-ratelimit: 0\n tcp-count: 1000\n"
            f'key:\n name: "{TSIG[0]}"\n algorithm: hmac-sha256\n secret: "{TSIG[1]}"\n'
            f'remote-control:\n control-enable: no\nzone:\n name: "{ZONE}"\n zonefile: "zone"\n'
        )
        return ["nsd", "-d", "-c", str(path)]


@define(eq=False, kw_only=True)
class Unbound(Server):
    """The resolver that knows the targets by itself, so that it costs as little as a warm cache."""

    targets: tuple[str, ...] = ()
    """Further names with addresses."""

    def configure(self) -> list[str]:
        path = self.folder / "unbound.conf"
        lines = [f'local-data: "{TARGET}. 60 A {address}"' for address in sorted(FLATTENED)]
        lines += [f'local-data: "{TARGET}. 60 AAAA 2001:db8:7::{last}"' for last in (1, 2)]
        for number, name in enumerate(self.targets):
            lines.append(f'local-data: "{name}. 60 A 198.51.100.{number % 254 + 1}"')
            lines.append(f'local-data: "{name}. 60 AAAA 2001:db8:7::{number:x}"')
        path.write_text(
            f'server:\n interface: {HOST}\n port: {self.port}\n username: ""\n chroot: ""\n'
            f' directory: "{self.folder}"\n pidfile: ""\n use-syslog: no\n logfile: ""\n num-threads: 1\n'
            ' do-daemonize: no\n do-ip6: no\n module-config: "iterator"\n local-zone: "cloud.test." static\n'
            + "".join(f" {line}\n" for line in lines)
            + "remote-control:\n control-enable: no\n"
        )
        return ["unbound", "-d", "-c", str(path)]

    def right(self) -> bool:
        return ask_a(self.port, TARGET) == FLATTENED


@define(eq=False, kw_only=True)
class Dnsdist(Server):
    """dnsdist in front of the nameserver; `lines` are added to what it needs at least."""

    nsd: Nsd
    lines: str = ""
    listen: str = ""
    """Further options of the listen address."""
    server: str = ""
    """Further options of the nameserver."""

    def configure(self) -> list[str]:
        path = self.folder / "dnsdist.conf"
        path.write_text(
            'setSecurityPollSuffix("")\n'
            f'setLocal("{HOST}:{self.port}", {{{self.listen}}})\n'
            f'newServer({{address="{HOST}:{self.nsd.port}", name="main", sockets=1{self.server}}})\n'
            + self.lines.format(nsd=f"{HOST}:{self.nsd.port}", zone=ZONE)
        )
        return ["dnsdist", "-C", str(path), "--supervised", "--disable-syslog"]


CACHE: Final = 'getPool(""):setCache(newPacketCache(100000))\n'
"""A packet cache for everything."""
SPLIT: Final = """\
newServer({{address="{nsd}", name="cached", pool="hot", sockets=1}})
getPool("hot"):setCache(newPacketCache(10000))
addAction(QNameRule("{zone}."), PoolAction("hot"))
"""
"""A packet cache for the apex alone: what flatproxy's work is, where nine of ten queries must be forwarded."""


@define(eq=False, kw_only=True)
class Pdns(Server):
    """PowerDNS Authoritative with an ALIAS record at the apex, expanded through the resolver."""

    resolver: Unbound
    apex: frozenset[str] = FLATTENED

    def configure(self) -> list[str]:
        (self.folder / "zone").write_text(zone_text(f"@ ALIAS {TARGET}."))
        (self.folder / "named.conf").write_text(f'zone "{ZONE}" {{ type master; file "{self.folder}/zone"; }};\n')
        (self.folder / "pdns.conf").write_text(
            f"launch=bind\nbind-config={self.folder}/named.conf\nlocal-address={HOST}\nlocal-port={self.port}\n"
            f"expand-alias=yes\nresolver={HOST}:{self.resolver.port}\nsocket-dir={self.folder}\n"
            "daemon=no\nguardian=no\ndisable-syslog=yes\nsecurity-poll-suffix=\n"
        )
        return ["pdns_server", f"--config-dir={self.folder}"]


@define(eq=False, kw_only=True)
class Compiled(Server):
    """A program in C of the bench, on a port and with arguments."""

    program: str
    arguments: tuple[str, ...] = ()

    def configure(self) -> list[str]:
        return [compiled(self.program, self.folder), str(self.port), *self.arguments]


@define(eq=False, kw_only=True)
class Flatproxy(Server):
    """flatproxy as its README configures it: zones, metrics, fallback, state; matching of replies is always on."""

    nsd: Server
    resolver: Server
    interpreter: tuple[str, ...] = AS_IT_COMES
    host: str = HOST
    threads: int = 1
    flatten: str = f'[flatten."{ZONE}"]\ntarget = "{TARGET}"\nfallback = ["192.0.2.10", "2001:db8::10"]\n'
    more: str = ""
    """Further tables."""
    apex: frozenset[str] = FLATTENED

    def configure(self) -> list[str]:
        path = self.folder / "flatproxy.toml"
        # The targets of the bench have addresses of documentation; a flatproxy of before may not know the key.
        knows = [*self.interpreter, "-c", "from flatproxy.config.rules import Rule; Rule(target=b'', special='')"]
        ours = not subprocess.run(knows, capture_output=True, cwd=self.folder, check=False).returncode
        path.write_text(
            f'[listen]\ndns = ["{self.host}:{self.port}"]\nhttp = "{HOST}:0"\n'
            + (f"threads = {self.threads}\n" if self.threads > 1 else "")
            + ('[defaults]\nspecial = "allow"\n' if ours else "")
            + f'[upstream]\nservers = ["{HOST}:{self.nsd.port}"]\n'
            f'[access]\nzones = ["{ZONE}"]\n'
            f'[resolver]\nservers = ["{HOST}:{self.resolver.port}"]\n'
            f'[state]\npath = "{self.folder}/answers.sqlite"\n{self.flatten}{self.more}'
        )
        return [*self.interpreter, "-m", "flatproxy", "run", "--config", str(path), "--log-format", "json"]
