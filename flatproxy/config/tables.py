"""The tables of the file: for each its keys, who reads them, and the class of the settings that it becomes.

A new key is an attribute of that class and a line here. It looks at one table at a time and at no file.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from attrs import NOTHING, AttrsInstance, field, fields, frozen

from flatproxy.config import addresses, fleet, names, values
from flatproxy.config.problems import Refusal, assignment, join, problems_of, toml_text
from flatproxy.config.resolvers import resolver as read_resolver
from flatproxy.config.rules import Rule
from flatproxy.config.settings import Access, Dnssec, Dnstap, Fleet, Limits, Listen, Resolver, State, Sync, Upstream
from flatproxy.errors import Problem
from flatproxy.wire import types

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flatproxy.config.values import Reader

T = TypeVar("T", bound=AttrsInstance)

INCLUDE = "include"
"""The one key that stands above all tables."""
_FLAGGED_ONLY = ("target", "targets", "use", "fallback", "pin")

# What to write for a key that must be there and is not.
_MISSING = {
    "dns": 'dns = ["0.0.0.0:53", "[::]:53"]',
    "servers": 'servers = ["192.0.2.53:53"], with the address of the existing nameserver',
    "zones": 'zones = ["example.com"], with the zones of the nameserver; or zones = ["."] for every name',
    "target": 'target = "lb.example.net", with the host name whose addresses are the answer',
    "check": 'check = "https", or "http" or "tcp"',
    "key": 'key = "/etc/flatproxy/keys/Kexample.com.+013+34567"; flatproxy keygen makes such a pair',
    "store": 'store = "rediss://user@redis-1.example.net:6379/0"; or leave [fleet] out where this is the only one',
    "secret_file": 'secret_file = "/etc/flatproxy/fleet.secret", a file that all nodes have',
    "path": 'path = "/var/lib/flatproxy/answers.sqlite"; or leave [state] out to keep answers in memory only',
}


@frozen
class TableReader(Generic[T]):
    """A table that becomes an object of `kind`; `readers` has the reader of each of its attributes.

    An attribute `timeout_s` is written `timeout`, another one as its metadata say; one without a reader has no key. A
    key must be there where its attribute has no default.
    """

    kind: type[T]
    readers: Mapping[str, Reader[Any]]
    keys: dict[str, str] = field(init=False)
    """The attribute of each key, in the order of the class."""
    required: frozenset[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        attributes = {
            each.metadata.get("key", each.name.removesuffix("_s")): each
            for each in fields(self.kind)
            if each.name in self.readers
        }
        object.__setattr__(self, "keys", {key: attribute.name for key, attribute in attributes.items()})
        required = frozenset(key for key, attribute in attributes.items() if attribute.default is NOTHING)
        object.__setattr__(self, "required", required)

    def read(self, raw: Mapping[str, object], path: str, problems: list[Problem]) -> T | None:
        """Return the table at `path` as its class; where that fails, None, and what is wrong is added to `problems`."""
        known = len(problems)
        found: dict[str, Any] = {}
        for key, attribute in self.keys.items():
            if key in raw:
                try:
                    found[attribute] = self.readers[attribute](raw[key])
                except Refusal as refusal:
                    problems.extend(problems_of(refusal, raw[key], join(path, key)))
            elif key in self.required:
                problems.append(Problem(key=join(path, key), reason="is required", write=_MISSING[key]))
        problems.extend(unknown_key(path, key, raw[key], self.keys) for key in raw if key not in self.keys)
        return None if len(problems) > known else self.kind(**found)


_NETWORKS = values.array(addresses.network, example='["192.0.2.0/24", "2001:db8::/32"]')
_ADDRESSES = values.array(addresses.address, example='["192.0.2.10", "2001:db8::10"]')
_DEFAULT_TYPES = Rule(target=b"").types
_types = values.array(
    values.choice(types.TEXTS, f"only {', '.join(types.TEXTS[:-1])} and {types.TEXTS[-1]} can be flattened"),
    example='["A", "AAAA"]',
    empty="without a type nothing is flattened",
)


def _read_types(value: object) -> frozenset[str]:
    return _DEFAULT_TYPES if value == ["A", "AAAA"] else frozenset(_types(value))


read_client_subnet = values.choice(
    ("off", "forward", "synthesize"),
    "answers are not tailored (off), or by the client subnet of a query (forward), or of its client (synthesize)",
)
read_listen_dns = addresses.listen_endpoint(addresses.DNS_PORT)
read_listen_http = addresses.listen_endpoint(9353)
read_listen_tls = addresses.listen_endpoint(addresses.TLS_PORT)
read_zones = values.array(
    names.zone,
    example='["example.com"], with the zones of the nameserver; or ["."] for every name',
    empty="without a zone every query is refused",
)

RULE: Final = TableReader(
    Rule,
    {
        "target": names.target,
        "targets": values.array(
            names.target,
            example='["lb-eu.example.net", "lb-us.example.net"]',
            empty="without a target there is nothing to answer",
        ),
        "use": values.choice(("first", "all"), "the first target that is well is used, or all that are"),
        "types": _read_types,
        "max_ttl_s": values.whole_seconds(1, "7d", '"300s"'),
        "min_ttl_s": values.whole_seconds(0, "7d", '"0s"'),
        "stale_for_s": values.whole_seconds(0, "365d", '"1d"'),
        "stale_ttl_s": values.whole_seconds(0, "7d", '"30s"'),
        "any": values.choice(("hinfo", "forward"), "ANY is answered with HINFO or forwarded"),
        "sync": values.flag,
        "sync_ttl_s": values.whole_seconds(1, "7d", '"60s"'),
        "hold_absent_s": values.whole_seconds(0, "30d", '"1h"'),
        "hold_change_s": values.whole_seconds(0, "1d", '"0s"'),
        "special": values.choice(
            ("refuse", "allow"),
            "special addresses (private, documentation and the like) are refused or allowed",
        ),
        "allow": _NETWORKS,
        "client_subnet": read_client_subnet,
        "fallback": _ADDRESSES,
        "shadow": values.flag,
        "pin": values.array(
            addresses.address,
            example='["192.0.2.10"], or no such line',
            empty="without an address there is nothing to pin",
        ),
    },
)
"""`[flatten."NAME"]`; `[defaults]` has the same keys but for those of one name only."""

DNSSEC: Final = TableReader(Dnssec, {"key": values.one_or_more(values.key_path)})
"""`[dnssec."ZONE"]`."""

TABLES: Final[dict[str, TableReader[Any]]] = {
    "listen": TableReader(
        Listen,
        {
            "dns": values.array(
                read_listen_dns, example='["0.0.0.0:53", "[::]:53"]', empty="without an address nobody can ask"
            ),
            "http": read_listen_http,
            "tls": values.array(read_listen_tls, example='["0.0.0.0:853", "[::]:853"]'),
            "certificate": values.file_path('"/etc/flatproxy/tls/fullchain.pem"'),
            "key": values.file_path('"/etc/flatproxy/tls/privkey.pem"'),
            "proxy_from": _NETWORKS,
            "threads": values.whole_number(0, 64, "2, or 0 for one on each core"),
        },
    ),
    "upstream": TableReader(
        Upstream,
        {
            "servers": values.array(
                addresses.server, example='["192.0.2.53:53"]', empty="without a server nothing can be forwarded"
            ),
            "timeout_s": values.timeout('"2s"'),
            "proxy_protocol": values.flag,
        },
    ),
    "access": TableReader(
        Access,
        {
            "zones": read_zones,
            "query": _NETWORKS,
            "transfer": _NETWORKS,
            "update": _NETWORKS,
            "notify": _NETWORKS,
        },
    ),
    "resolver": TableReader(
        Resolver,
        {
            "servers": values.array(
                read_resolver, example='["system"]', empty="without a server no target can be resolved"
            ),
            "timeout_s": values.timeout('"1.8s"'),
            "ca_file": values.file_path('"/etc/ssl/certs/ca-certificates.crt"'),
            "require_ad": values.flag,
            "client_subnet": read_client_subnet,
            "subnet_v4": values.whole_number(1, 32, "24"),
            "subnet_v6": values.whole_number(1, 128, "56"),
        },
    ),
    "limits": TableReader(
        Limits,
        {
            "responses_per_second": values.whole_number(0, 1_000_000, "50, or 0 for no limit"),
            "slip": values.whole_number(0, 10, "2, or 0 to drop all that is too much"),
            "queries_per_second": values.whole_number(0, 1_000_000, "1000, or 0 for no limit"),
        },
    ),
    "dnstap": TableReader(
        Dnstap,
        {
            "socket": values.file_path('"/run/dnstap.sock"'),
            "file": values.file_path('"/var/log/flatproxy/queries.dnstap"'),
            "tcp": addresses.server_on(6000, "192.0.2.9:6000"),
            "sample": values.whole_number(1, 1_000_000, "100, or 1 for every message"),
        },
    ),
    "state": TableReader(State, {"path": values.file_path('"/var/lib/flatproxy/answers.sqlite"')}),
    "fleet": TableReader(
        Fleet,
        {
            "store": fleet.store,
            "secret_file": values.file_path('"/etc/flatproxy/fleet.secret"'),
            "ca_file": values.file_path('"/etc/flatproxy/redis-ca.pem"'),
            "password_file": values.file_path('"/etc/flatproxy/redis.password"'),
            "prefix": fleet.prefix,
            "node": fleet.node,
            "timeout_s": values.timeout('"250ms"'),
        },
    ),
    "sync": TableReader(
        Sync,
        {
            "server": addresses.server,
            "key_file": values.file_path('"/etc/flatproxy/sync.key"'),
            "gss": values.flag,
            "interval_s": values.whole_seconds(1, "1d", '"60s"'),
            "sync_pinned": values.flag,
        },
    ),
}
"""The tables that become one object each, by name: an attribute of `Settings`."""

EXAMPLES: Final = {
    "listen": '[listen]\ndns = ["0.0.0.0:53", "[::]:53"]',
    "upstream": '[upstream]\nservers = ["192.0.2.53:53"]  # the existing nameserver',
    "access": '[access]\nzones = ["example.com"]  # the zones of the nameserver; ["."] for every name',
    "resolver": '[resolver]\nservers = ["system"]',
    "defaults": '[defaults]\nmax_ttl = "300s"',
    "flatten": '[flatten."example.com"]\ntarget = "lb.example.net"',
    "views": '[views.inside]\nclients = ["10.0.0.0/8"]',
    "limits": "[limits]\nresponses_per_second = 50",
    "dnssec": '[dnssec."example.com"]\nkey = "/etc/flatproxy/keys/Kexample.com.+013+34567"',
    "dnstap": '[dnstap]\nsocket = "/run/dnstap.sock"',
    "fleet": '[fleet]\nstore = "rediss://redis-1.example.net:6379/0"\nsecret_file = "/etc/flatproxy/fleet.secret"',
    "state": '[state]\npath = "/var/lib/flatproxy/answers.sqlite"',
    "sync": '[sync]\nkey_file = "/etc/flatproxy/sync.key"  # as tsig-keygen writes it; or gss = true: Kerberos',
}
"""What each table may look like."""

TABLE_KEYS: Final[dict[str, list[str]]] = {
    name: list(TABLES[name].keys) if name in TABLES else [] for name in EXAMPLES
} | {"defaults": [key for key in RULE.keys if key not in (*_FLAGGED_ONLY, "client_subnet")]}


def unknown_key(path: str, key: str, value: object, known: Iterable[str]) -> Problem:
    """Return the problem of a key that its table does not have, with the key that was probably meant."""
    known = list(known)
    reason = f"[{path}] has no such key" if path else "there is no such table"
    close = difflib.get_close_matches(key.lower(), known if path else [*known, INCLUDE], n=1)
    homes = [home for home, keys in TABLE_KEYS.items() if key in keys]
    if (path, key) == ("listen", "workers"):
        reason, write = "one process takes all packets, worker processes are gone", "no such line"
    elif key == INCLUDE:
        write = f"{assignment(key, value)} at the top of the file, before the first table"
    elif close:
        reason += f"; did you mean {close[0]}?"
        write = assignment(close[0], value) if path or close[0] == INCLUDE else f"[{close[0]}]"
    elif key in _FLAGGED_ONLY:
        write = f'{assignment(key, value)} under [flatten."NAME"]'
    elif homes:
        write = f"{assignment(key, value)} under [{homes[0]}]"
    else:
        write = f"no such line; the {'keys' if path else 'tables'} here are {', '.join(known)}"
    return Problem(key=join(path, key), value=toml_text(value), reason=reason, write=write)
