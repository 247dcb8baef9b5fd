"""From a TOML file to `Settings`. A wrong file is told whole: every problem at once, in one `ConfigError`.

Only this module reads the file. It looks at no other file, no network and no clock.
"""

from __future__ import annotations

import gc
import hashlib
import stat
import sys
import tomllib
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeVar

from flatproxy.config.addresses import server
from flatproxy.config.flagged import Flagged
from flatproxy.config.names import ROOT
from flatproxy.config.problems import TABLE_KEYS, Refusal, kind_of, problem, quoted, unknown_key
from flatproxy.config.settings import Access, Endpoint, Limits, Listen, Resolver, Settings, State, Upstream
from flatproxy.config.tables import read_listen_dns, read_listen_http, read_zones, structure
from flatproxy.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from flatproxy.config.values import Reader

    Tables = Mapping[str, dict[str, object]]

T = TypeVar("T")

_EXAMPLES = {
    "listen": '[listen]\ndns = ["0.0.0.0:53", "[::]:53"]',
    "upstream": '[upstream]\nservers = ["192.0.2.53:53"]  # the existing nameserver',
    "access": '[access]\nzones = ["example.com"]  # the zones of the nameserver; ["."] for every name',
    "resolver": '[resolver]\nservers = ["system"]',
    "defaults": '[defaults]\nmax_ttl = "300s"',
    "flatten": '[flatten."example.com"]\ntarget = "lb.example.net"',
    "limits": "[limits]\nresponses_per_second = 50",
    "state": '[state]\npath = "/var/lib/flatproxy/answers.sqlite"',
}


def load(path: Path) -> Settings:
    """Return the settings in a file; `ConfigError` with every problem in it."""
    try:
        data = path.read_bytes()
        writable = sys.platform != "win32" and path.stat().st_mode & stat.S_IWOTH
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise _whole(path, reason, "the path of a file that can be read") from None
    if writable:
        # Whoever can write it can send the zone's visitors anywhere.
        raise _whole(path, "every user of this host can write it", f"chmod o-w {path}")
    with _without_collection():
        return to_settings(_toml(path, data), file=str(path), digest=hashlib.sha256(data).hexdigest())


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the garbage collector away: with many names it walks all of them over and over, and there are no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _toml(path: Path, data: bytes) -> dict[str, object]:
    try:
        # Editors on Windows like to start a file with a byte order mark.
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _whole(path, f"not UTF-8: line {line}, octet {error.start} of the file", "the file in UTF-8") from None
    except ValueError as error:  # TOMLDecodeError says line and column; an integer of 5000 digits is a ValueError
        raise _whole(path, f"not TOML: {error}", "TOML 1.0: [table], then a line for each key = value") from None
    except RecursionError:
        raise _whole(path, "not usable TOML: nested too deeply", "arrays of strings, without nesting") from None


def _whole(path: Path, reason: str, write: str) -> ConfigError:
    return ConfigError(problems=(Problem(reason=reason, write=write),), file=str(path))


def to_settings(raw: Mapping[str, object], *, file: str = "", digest: str = "") -> Settings:
    """Return the settings in what `tomllib` has read; `ConfigError` with every problem in it, which names `file`."""
    problems: list[Problem] = []
    tables = _tables(raw, problems)
    listen = _part(Listen, "listen", tables, problems)
    upstream = _part(Upstream, "upstream", tables, problems)
    access = _part(Access, "access", tables, problems)
    resolver = _part(Resolver, "resolver", tables, problems) or Resolver()
    limits = _part(Limits, "limits", tables, problems) or Limits()
    state = _part(State, "state", tables, problems)

    flagged = Flagged()
    flagged.read_defaults(tables.get("defaults", {}))
    flagged.read_names(tables.get("flatten", {}), _zones(tables))
    problems += flagged.problems
    problems += _own_nameserver(tables)
    problems += _http_on_dns(tables)
    if problems or listen is None or upstream is None or access is None:
        raise ConfigError(problems=tuple(problems), file=file)
    return Settings(
        listen=listen,
        upstream=upstream,
        access=access,
        resolver=resolver,
        flatten=flagged.rules,
        limits=limits,
        state=state,
        digest=digest,
    )


def _tables(raw: Mapping[str, object], problems: list[Problem]) -> dict[str, dict[str, object]]:
    """Return the tables that are there, known and tables; the rest is added to `problems`."""
    tables: dict[str, dict[str, object]] = {}
    for name, value in raw.items():
        if name not in TABLE_KEYS:
            problems.append(unknown_key("", name, value, TABLE_KEYS))
        elif isinstance(value, dict):
            tables[name] = value
        else:
            refusal = Refusal(f"a table is needed, not {kind_of(value)}", _EXAMPLES[name])
            problems.append(problem(name, value, refusal))
    problems.extend(
        Problem(key=name, reason="this table is required", write=_EXAMPLES[name])
        for name in ("listen", "upstream", "access")
        if name not in raw
    )
    return tables


def _part(table: type[T], name: str, tables: Tables, problems: list[Problem]) -> T | None:
    return structure(table, tables[name], name, problems) if name in tables else None


def _zones(tables: Tables) -> tuple[bytes, ...]:
    """Return the served zones; where they are wrong, which is reported already, every name passes for served."""
    try:
        return read_zones(tables["access"]["zones"])
    except (KeyError, ValueError, ExceptionGroup):
        return (ROOT,)


def _right_items(tables: Tables, table: str, key: str, read: Reader[Endpoint]) -> Iterator[tuple[int, Endpoint]]:
    """Yield the items of an array that are right, with their index; the others are reported already."""
    items = tables.get(table, {}).get(key)
    for index, item in enumerate(items if isinstance(items, list) else ()):
        try:
            yield index, read(item)
        except Refusal:
            continue


def _own_nameserver(tables: Tables) -> Iterator[Problem]:
    """Yield the upstream servers that are an own listen address: every query would come back for ever."""
    listening = [endpoint for _, endpoint in _right_items(tables, "listen", "dns", read_listen_dns)]
    servers: dict[Endpoint, int] = {}
    for index, endpoint in _right_items(tables, "upstream", "servers", server):
        servers.setdefault(endpoint, index)
    for endpoint, index in servers.items():
        own = next((each for each in listening if _reaches(endpoint, each)), None)
        if own is not None:
            other = quoted(str(Endpoint(endpoint.host, 5353)))
            yield Problem(
                key=f"upstream.servers[{index}]",
                value=quoted(str(endpoint)),
                reason=f"flatproxy listens there itself ({own} in listen.dns) and would be its own nameserver",
                write=f"the nameserver's address; if it runs on this machine, its new port there, like {other}",
            )


def _reaches(server_at: Endpoint, listening_at: Endpoint) -> bool:
    """Return whether what is sent to one endpoint arrives at the other, as far as the two addresses tell."""
    if server_at.port != listening_at.port:
        return False
    to, own = ip_address(server_at.host), ip_address(listening_at.host)
    return to == own or (own.is_unspecified and to.is_loopback and to.version == own.version)


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
