"""What a configuration says, as frozen values: no file, no default lookup, no I/O lives here.

Names are in wire form and lower case (`bytes`, RFC 1035 section 3.1), durations are seconds and end in `_s`.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen

from flatproxy.config.rules import ClientSubnet, Rule, Rules
from flatproxy.wire.prefixes import Network, Prefixes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


EVERYONE = ip_network("0.0.0.0/0"), ip_network("::/0")


@frozen(order=True)
class Endpoint:
    """An address and a port; port 0 lets the kernel choose one. Written `192.0.2.1:53` or `[2001:db8::1]:53`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen(kw_only=True)
class EncryptedServer:
    """A resolver that is asked over TLS, HTTPS or QUIC. `name` must be in its certificate; `path` is HTTPS' own."""

    scheme: Literal["tls", "https", "quic"]
    endpoint: Endpoint
    name: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.url}@{self.endpoint.host}" if self.path else f"{self.scheme}://{self.endpoint}#{self.name}"

    @property
    def url(self) -> str:
        """Where HTTPS asks; the address is another thing."""
        return f"https://{Endpoint(self.name, self.endpoint.port)}{self.path}"


ResolverServer = Endpoint | EncryptedServer | Literal["system"]


@frozen(kw_only=True)
class Listen:
    """`[listen]`: UDP and TCP on each of `dns`; `http` None switches the HTTP side off.

    `tls`: DNS over TLS on each, with the files of a certificate chain and its key, both in PEM form.
    PROXY protocol headers (version 2) are believed from, and then required of, the networks of `proxy_from`. `threads`
    take the packets, 0: one for each core.
    """

    dns: tuple[Endpoint, ...]
    http: Endpoint | None = None
    tls: tuple[Endpoint, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    proxy_from: tuple[Network, ...] = ()
    threads: int = 1


@frozen(kw_only=True)
class Upstream:
    """`[upstream]`: the existing nameservers in order of preference.

    With `proxy_protocol` each datagram and connection to them begins with a PROXY header that names the client.
    """

    servers: tuple[Endpoint, ...]
    timeout_s: float = 2.0
    proxy_protocol: bool = False


@frozen(kw_only=True)
class Access:
    r"""`[access]`: which names are served, and to whom. A zone of `b"\0"` (the root) means every name."""

    zones: tuple[bytes, ...]
    query: tuple[Network, ...] = EVERYONE
    transfer: tuple[Network, ...] = ()
    update: tuple[Network, ...] = ()
    notify: tuple[Network, ...] = ()


@frozen(kw_only=True)
class Resolver:
    """`[resolver]`: who resolves targets; `"system"` stands for the servers of resolv.conf.

    `ca_file`: whose certificates are good, None for the system's authorities. `require_ad`: only what a resolver has
    validated (AD=1) is an answer. `client_subnet` is what names have that say nothing of it; `subnet_v4` and
    `subnet_v6` are the most bits of a client's address that a resolver is told.
    """

    servers: tuple[ResolverServer, ...] = ("system",)
    timeout_s: float = 1.8
    ca_file: Path | None = None
    require_ad: bool = False
    client_subnet: ClientSubnet = "off"
    subnet_v4: int = 24
    subnet_v6: int = 56


def _as_rules(rules: Mapping[bytes, Rule]) -> Rules:
    return rules if isinstance(rules, Rules) else Rules(rules)


@frozen(kw_only=True)
class Limits:
    """`[limits]`: 0 is no limit.

    `responses_per_second` bounds what flatproxy itself answers over UDP to one client network (/24, /56), every
    `slip`-th excess response being cut short (TC=1), the others dropped; `queries_per_second` what is forwarded for
    one client.
    """

    responses_per_second: int = 0
    slip: int = 2
    queries_per_second: int = 0


@frozen(kw_only=True)
class State:
    """`[state]`: the SQLite file that keeps answers over a restart."""

    path: Path


@frozen(kw_only=True)
class Sync:
    """`[sync]`: how the zone's own records follow, by dynamic update (RFC 2136) of the nameserver that takes them.

    `server` None is the first of `upstream.servers`. Updates are signed with the key in `key_file` (TSIG) or, with
    `gss`, by Kerberos. A name is updated once in `interval_s` at most; pinned answers only with `sync_pinned`.
    """

    server: Endpoint | None = None
    key_file: Path | None = None
    gss: bool = False
    interval_s: int = 60
    sync_pinned: bool = False


@frozen(kw_only=True)
class Dnstap:
    """`[dnstap]`: where the query log goes, one of `socket`, `file` and `tcp`; one message in `sample` is kept."""

    socket: Path | None = None
    file: Path | None = None
    tcp: Endpoint | None = None
    sample: int = 1

    @property
    def where(self) -> str:
        """What is written to."""
        return str(self.socket or self.file or self.tcp)


@frozen(kw_only=True)
class Dnssec:
    """One `[dnssec."ZONE"]`: the paths of its pairs of key files, without `.key` and `.private`, best first."""

    key: tuple[Path, ...]


@frozen(kw_only=True)
class StoreAddress:
    """Where a fleet's store is: a server or its Unix socket (`path`), Sentinels, or servers of a cluster.

    `servers` are host and port each; `service` is the name by which Sentinels know the master.
    """

    kind: Literal["single", "sentinel", "cluster"]
    tls: bool = False
    servers: tuple[tuple[str, int], ...] = ()
    path: str = ""
    user: str = ""
    service: str = ""
    database: int = 0


@frozen(kw_only=True)
class Fleet:
    """`[fleet]`: the store that the nodes of a fleet share. `node` is empty for the host's name.

    `timeout_s` is for each command; entries are authenticated with what is in `secret_file`.
    """

    store: StoreAddress
    secret_file: Path
    ca_file: Path | None = None
    password_file: Path | None = None
    prefix: str = "flatproxy"
    node: str = ""
    timeout_s: float = 0.25


@frozen(kw_only=True)
class Settings:
    """A whole configuration.

    `flatten` maps each flagged name to its rule, `views` each view to its clients' networks, `dnssec` each zone's apex
    to its keys. `listen` is without an address where the file, with `[sync]`, has no such table: nothing can be served.
    `digest` is the SHA-256, in hex, of the file and those that it includes, one after the other.
    """

    listen: Listen = Listen(dns=())
    upstream: Upstream
    access: Access
    resolver: Resolver = Resolver()
    flatten: Rules = field(factory=Rules, converter=_as_rules)
    views: Mapping[str, tuple[Network, ...]] = field(factory=dict)
    limits: Limits = Limits()
    state: State | None = None
    dnstap: Dnstap | None = None
    sync: Sync | None = None
    dnssec: Mapping[bytes, Dnssec] = field(factory=dict)
    fleet: Fleet | None = None
    digest: str = ""

    def view_prefixes(self) -> Prefixes[str]:
        """Return which view an address is in; made anew by each call."""
        return Prefixes({network: view for view, networks in self.views.items() for network in networks})
