"""Unbound as a child process: a recursive resolver that asks the proxy for the zones behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from .recursive import RecursiveResolver

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .ports import Address

_SERVER = """\
server:
    interface: {host}
    port: {port}
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: ""
    use-syslog: no
    logfile: ""
    verbosity: 2
    num-threads: 1
    do-daemonize: no
    do-ip6: no
    do-not-query-localhost: no
    access-control: 127.0.0.0/8 allow
{subnets}    module-config: "{modules}"
    tls-cert-bundle: "{tls_ca}"
{anchors}    aggressive-nsec: {aggressive}
    harden-dnssec-stripped: yes
    harden-below-nxdomain: yes
    val-bogus-ttl: 1
    val-log-level: 2
    use-caps-for-id: yes
    qname-minimisation: yes
    qname-minimisation-strict: yes
    local-zone: "test." nodefault
    cache-max-ttl: {longest_s}
    root-hints: "{folder}/root.hints"
remote-control:
    control-enable: no
"""
_STUB = """\
stub-zone:
    name: "{zone}"
    stub-addr: {host}@{port}
"""
_FORWARD = """\
forward-zone:
    name: "{zone}"
    forward-addr: {host}@{port}#{tls_name}
    forward-tls-upstream: yes
"""
_NO_ROOT = ". 3600 IN NS nowhere.test.\nnowhere.test. 3600 IN A 127.0.0.1\n"


@define(eq=False, kw_only=True)
class Unbound(RecursiveResolver):
    kind = "unbound"

    stubs: Sequence[str]
    authority: Address
    """Who is asked for the stub zones."""
    anchors: Sequence[str] = ()
    """Keys that are trusted, each as `zone. DNSKEY …`; with one, it validates."""
    aggressive: bool = False
    """Whether it denies by itself what an NSEC record that it has seen does not list (RFC 8198)."""
    tls_name: str = ""
    """Where given, it forwards the stub zones over TLS, to whoever has this name by an authority of `tls_ca`."""
    tls_ca: Path | str = ""

    tells_subnets: bool = False
    """Whether it tells the authority its clients' networks (RFC 7871)."""
    longest_s: int = 5
    """For how long anything is kept."""

    def configure(self) -> list[str]:
        (self.folder / "root.hints").write_text(_NO_ROOT)
        path = self.folder / "unbound.conf"
        host, port = self.authority
        path.write_text(
            _SERVER.format(
                host=self.host,
                port=self.port,
                folder=self.folder,
                modules=("subnetcache " if self.tells_subnets else "")
                + ("validator iterator" if self.anchors else "iterator"),
                subnets="    send-client-subnet: 127.0.0.0/8\n" if self.tells_subnets else "",
                anchors="".join(f'    trust-anchor: "{anchor}"\n' for anchor in self.anchors),
                tls_ca=self.tls_ca,
                longest_s=self.longest_s,
                aggressive="yes" if self.aggressive else "no",
            )
            + "".join(
                (_FORWARD if self.tls_name else _STUB).format(zone=zone, host=host, port=port, tls_name=self.tls_name)
                for zone in self.stubs
            )
        )
        return ["unbound", "-d", "-c", str(path)]
