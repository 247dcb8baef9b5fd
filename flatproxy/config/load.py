"""From a TOML file to `Settings`. A wrong file is told whole: every problem at once, in one `ConfigError`.

It looks at no other file than that one and those that it includes, at no network and no clock.
"""

from __future__ import annotations

import hashlib
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from flatproxy.config.addresses import server
from flatproxy.config.dnssec import read_dnssec
from flatproxy.config.encryption import encryption_clashes
from flatproxy.config.flagged import Flagged
from flatproxy.config.include import included, read_file, read_include, toml_of
from flatproxy.config.problems import Refusal, kind_of, problem, problems_of, quoted
from flatproxy.config.rules import Rules
from flatproxy.config.settings import Dnstap, Endpoint, Resolver, Settings
from flatproxy.config.sync import beside_sync, reaches, without_table
from flatproxy.config.tables import (
    EXAMPLES,
    INCLUDE,
    TABLE_KEYS,
    TABLES,
    read_listen_dns,
    read_listen_http,
    read_zones,
    unknown_key,
)
from flatproxy.errors import ConfigError, Problem
from flatproxy.wire.names import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from flatproxy.config.include import Included
    from flatproxy.config.plain_lines import Quick
    from flatproxy.config.values import Reader

    Tables = Mapping[str, dict[str, object]]


def _no_rest() -> None:
    """Go on at once."""


def load(
    path: Path,
    rest: Callable[[], object] = _no_rest,
    before: Rules | None = None,
    *,
    listening: bool = True,
    quick: Quick | None = None,
) -> Settings:
    """Return the settings in a file and in those that it includes; `ConfigError` with every problem in them.

    `rest` is called again and again while many names are read, about once a millisecond. What is equal in the rules
    `before`, those of the settings in force, is taken from there. Without `listening`, a file with `[sync]` needs no
    `[listen]`. `quick` is the reader of plain lines in C, where it is there.
    """
    try:
        data = read_file(path)
        raw = toml_of(data)[1]
    except Refusal as refusal:
        problem = Problem(reason=refusal.reason, write=refusal.write)
        raise ConfigError(problems=(problem,), file=str(path)) from None
    problems: list[Problem] = []
    digest = hashlib.sha256(data)
    others = []
    for other, content in included(path, raw, problems):
        digest.update(content)
        others.append(other)
    flagged = Flagged.after(before if before is not None else Rules(), rest, quick)
    settings = to_settings(
        raw,
        file=str(path),
        digest=digest.hexdigest(),
        others=others,
        problems=problems,
        flagged=flagged,
        listening=listening,
    )
    from_tables = bool(raw.get("flatten")) or any(other.tables for other in others)
    del raw, others, flagged
    if from_tables:
        _move_names(settings.flatten, before if before is not None else {})
    # Both here, where nobody waits for it.
    if before:
        settings.flatten.added = tuple([name for name in settings.flatten if name not in before])
    _ = settings.flatten.groups
    return settings


def _move_names(rules: Rules, known: Mapping[bytes, object]) -> None:
    """Make the names anew that are not known, one beside the other.

    They were made between what TOML had, which is gone: the few that are left in each piece of memory would keep all of
    it from being given back. Copies made while they are there would only fill the holes between them, so the octets of
    all wait in one block meanwhile.
    """
    kept = [name if name in known else None for name in rules]
    lengths = bytes([len(name) for name in rules])  # at most 255 octets each
    octets = b"".join(rules)
    values = list(rules.values())
    rules.clear()
    start = 0
    for name, length, rule in zip(kept, lengths, values, strict=True):
        end = start + length
        rules[octets[start:end] if name is None else name] = rule
        start = end


def to_settings(
    raw: Mapping[str, object],
    *,
    file: str = "",
    digest: str = "",
    others: Sequence[Included] = (),
    problems: Sequence[Problem] = (),
    flagged: Flagged | None = None,
    listening: bool = True,
) -> Settings:
    """Return the settings in what `tomllib` has read, and the flagged names in the `others` that are included.

    `flagged` reads the flagged names; `listening` as for `load`.
    Raises `ConfigError` with every problem, those that are known already first; it names `file`.
    """
    problems = list(problems)
    tables = _tables(raw, problems, listening=listening)
    parts: dict[str, Any] = {
        name: table.read(tables[name], name, problems) for name, table in TABLES.items() if name in tables
    }
    if flagged is None:
        flagged = Flagged.after(Rules(), _no_rest)
    resolver = parts.get("resolver") or Resolver()
    flagged.read_defaults(tables.get("defaults", {}), resolver.client_subnet)
    zones = _zones(tables)
    flagged.views.read(tables.get("views", {}))
    flagged.read_names(tables.get("flatten", {}), zones)
    for other in others:
        flagged.read_included(other, zones)
    problems += flagged.problems
    problems += flagged.views.problems
    problems += flagged.views.unused()
    dnssec = read_dnssec(tables.get("dnssec", {}), zones, problems)
    problems += _own_nameserver(tables)
    problems += _unprotected(parts.get("resolver"))
    problems += _http_on_dns(tables)
    problems += encryption_clashes(parts.get("listen"))
    problems += _dnstap_places(parts.get("dnstap"))
    problems += _beside_sync(tables, parts, flagged.rules)
    if problems:
        raise ConfigError(problems=tuple(problems), file=file)
    return Settings(**parts, flatten=flagged.rules, views=flagged.views.networks, dnssec=dnssec, digest=digest)


def _tables(raw: Mapping[str, object], problems: list[Problem], *, listening: bool) -> dict[str, dict[str, object]]:
    """Return the tables that are there, known and tables; the rest is added to `problems`."""
    tables: dict[str, dict[str, object]] = {}
    for name, value in raw.items():
        if name == INCLUDE:
            problems.extend(_wrong_include(value))
        elif name not in TABLE_KEYS:
            problems.append(unknown_key("", name, value, TABLE_KEYS))
        elif isinstance(value, dict):
            tables[name] = value
        else:
            refusal = Refusal(f"a table is needed, not {kind_of(value)}", EXAMPLES[name])
            problems.append(problem(name, value, refusal))
    required = ("listen", "upstream", "access") if listening or "sync" not in raw else ("upstream", "access")
    problems.extend(
        Problem(key=name, reason="this table is required", write=EXAMPLES[name]) for name in required if name not in raw
    )
    return tables


def _wrong_include(value: object) -> Iterator[Problem]:
    try:
        read_include(value)
    except Refusal as refusal:
        yield from problems_of(refusal, value, INCLUDE)


def _zones(tables: Tables) -> tuple[bytes, ...]:
    """Return the served zones; where they are wrong, which is reported already, every name passes for served."""
    try:
        return read_zones(tables["access"]["zones"])
    except (KeyError, Refusal):
        return (ROOT,)


def _right_items(tables: Tables, table: str, key: str, read: Reader[Endpoint]) -> Iterator[tuple[int, Endpoint]]:
    """Yield the items of an array that are right, with their index; the others are reported already."""
    items = tables.get(table, {}).get(key)
    for index, item in enumerate(items if isinstance(items, list) else ()):
        try:
            yield index, read(item)
        except Refusal:
            continue


def _unprotected(read: Resolver | None) -> Iterator[Problem]:
    """Yield the resolvers whose AD bit would be believed although anybody on the way can set it."""
    if read is None or not read.require_ad:
        return
    for index, endpoint in enumerate(read.servers):
        if isinstance(endpoint, Endpoint) and not ip_address(endpoint.host).is_loopback:
            refusal = Refusal(
                "require_ad believes what a resolver says of its validation, which others on the way could forge",
                '"127.0.0.1:53", a validating resolver on this machine; one over tls://; or require_ad = false',
            )
            yield problem(f"resolver.servers[{index}]", str(endpoint), refusal)


def _dnstap_places(read: Dnstap | None) -> Iterator[Problem]:
    """Yield what is wrong with a query log that goes nowhere, or to several places."""
    if read is not None and sum(place is not None for place in (read.socket, read.file, read.tcp)) != 1:
        write = 'socket = "/run/dnstap.sock", or file = "…", or tcp = "192.0.2.9:6000"'
        yield Problem(key="dnstap", reason="one of socket, file and tcp is needed", write=write)


def _own_nameserver(tables: Tables) -> Iterator[Problem]:
    """Yield the upstream servers that are an own listen address: every query would come back for ever."""
    listening = [endpoint for _, endpoint in _right_items(tables, "listen", "dns", read_listen_dns)]
    servers: dict[Endpoint, int] = {}
    for index, endpoint in _right_items(tables, "upstream", "servers", server):
        servers.setdefault(endpoint, index)
    for endpoint, index in servers.items():
        own = next((each for each in listening if reaches(endpoint, each)), None)
        if own is not None:
            other = quoted(str(Endpoint(endpoint.host, 5353)))
            yield Problem(
                key=f"upstream.servers[{index}]",
                value=quoted(str(endpoint)),
                reason=f"flatproxy listens there itself ({own} in listen.dns) and would be its own nameserver",
                write=f"the nameserver's address; if it runs on this machine, its new port there, like {other}",
            )


def _beside_sync(tables: Tables, parts: Mapping[str, Any], rules: Rules) -> Iterator[Problem]:
    sync = parts.get("sync")
    if "sync" not in tables:
        yield from without_table(rules)
    elif sync is not None:
        listening = [endpoint for _, endpoint in _right_items(tables, "listen", "dns", read_listen_dns)]
        yield from beside_sync(sync, listening, state="state" in tables)


def _http_on_dns(tables: Tables) -> Iterator[Problem]:
    """Yield `listen.http` where DNS over TCP has its endpoint already."""
    listening = [endpoint for _, endpoint in _right_items(tables, "listen", "dns", read_listen_dns)]
    try:
        http = read_listen_http(tables.get("listen", {}).get("http"))
    except Refusal:
        return
    if http.port and http in listening:
        refusal = Refusal("DNS over TCP listens there (listen.dns)", quoted(str(Endpoint(http.host, 9353))))
        yield problem("listen.http", str(http), refusal)
