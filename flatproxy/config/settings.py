"""What a configuration says, as frozen values: no file, no default lookup, no I/O lives here.

Names are in wire form and lower case (`bytes`, RFC 1035 section 3.1), durations are seconds and end in `_s`.
"""

from __future__ import annotations

from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING, Literal, NamedTuple

from attrs import field, frozen

from flatproxy.config.guarding import Guarding
from flatproxy.wire.prefixes import Network, Prefixes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


Address = IPv4Address | IPv6Address
ClientSubnet = Literal["off", "forward", "synthesize"]


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


@frozen(kw_only=True)
class Check:
    """How addresses are probed, and how often. Equal checks of one address are one probe.

    `host` is the name that an HTTP server is asked for and that its certificate must be good for, in text; `status` are
    the codes that are good, both ends included; `ca_file` None stands for the system's certificates.
    """

    kind: Literal["tcp", "http", "https"] = field(metadata={"key": "check"})
    port: int
    host: str = ""
    path: str = "/"
    status: tuple[tuple[int, int], ...] = ((200, 399),)
    verify: bool = True
    ca_file: Path | None = None
    interval_s: float = 10.0
    timeout_s: float = 3.0
    fall: int = 3
    rise: int = 2


@frozen(kw_only=True)
class Checking:
    """`[flatten."NAME".health]`: with a smaller share than `minimum` of well addresses, all are answered."""

    check: Check
    minimum: float = 0.5


@frozen(kw_only=True)
class Rule:
    """One `[flatten."NAME"]` with `[defaults]` merged in. Equal rules are one object, whatever their number."""

    target: bytes
    types: frozenset[str] = frozenset({"A", "AAAA"})
    max_ttl_s: int = 300
    min_ttl_s: int = 0
    stale_for_s: int = 86400
    stale_ttl_s: int = 30
    any: Literal["hinfo", "forward"] = "hinfo"
    sync: bool = False
    sync_ttl_s: int = 60
    targets: tuple[bytes, ...] = ()
    """All of several targets, the first of which is `target`; none where there is one."""
    use: Literal["first", "all"] = "first"
    health: Checking | None = None
    hold_absent_s: int = 3600
    hold_change_s: int = 0
    special: Literal["refuse", "allow"] = "refuse"
    allow: tuple[Network, ...] = ()
    fallback: tuple[Address, ...] = ()
    client_subnet: ClientSubnet = "off"
    pin: tuple[Address, ...] = ()
    shadow: bool = False
    """Whether it is only rehearsed: clients get the nameserver's answer."""
    views: tuple[tuple[str, Rule | None], ...] = ()
    """What clients of a view are answered by, None where by the nameserver; of the others this rule is the one."""

    @property
    def all_targets(self) -> tuple[bytes, ...]:
        """The targets in their order."""
        return self.targets or (self.target,)

    @property
    def needs_choice(self) -> bool:
        """Whether what is answered depends on more than one target's resolution."""
        return not self.pin and bool(self.targets or self.health)

    @property
    def is_tailored(self) -> bool:
        """Whether networks get answers of their own. Not of several targets, nor where addresses must be checked."""
        return self.client_subnet != "off" and not (self.pin or self.needs_choice)

    @property
    def is_rehearsed(self) -> bool:
        """Whether some clients of its names get the nameserver's answer, and flatproxy's is compared with it."""
        return self.shadow or any(rule.shadow for _view, rule in self.views if rule is not None)

    @property
    def guarding(self) -> Guarding:
        """What is let through of the target's resolutions."""
        return Guarding(special=self.special == "allow", allow=self.allow, hold_change_s=self.hold_change_s)


NAMES_KEPT = 999
"""Names of a group beside the first one that can be shown without a look at all names."""


class Group(NamedTuple):
    """A rule object, the first of its names, up to `NAMES_KEPT` others, and how many there are in all."""

    rule: Rule
    first: bytes
    others: tuple[bytes, ...]
    size: int


class Rules(dict[bytes, Rule]):
    """The rule of each flagged name. It must not change once it is part of the settings."""

    added: tuple[bytes, ...] | None = None
    """The names that the rules before had not; None where there were none before."""

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The names by their rules; worked out once, which takes a while."""
        first: dict[int, tuple[Rule, bytes]] = {}
        others: dict[int, list[bytes]] = {}
        sizes: dict[int, int] = {}
        for name, rule in self.items():  # a loop, not `Counter`: no other thread could run while that counts a million
            key = id(rule)
            if key not in sizes:
                first[key], sizes[key] = (rule, name), 1
                continue
            sizes[key] += 1
            if len(more := others.setdefault(key, [])) < NAMES_KEPT:
                more.append(name)
        return tuple(Group(rule, name, tuple(others.get(key, ())), sizes[key]) for key, (rule, name) in first.items())


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
