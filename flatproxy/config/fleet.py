"""`[fleet]`: where the store of a fleet is, and what its keys begin with. No file is opened here."""

from __future__ import annotations

import re
from typing import Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from flatproxy.config.problems import Refusal, quoted
from flatproxy.config.settings import StoreAddress
from flatproxy.config.values import text

EXAMPLE: Final = '"rediss://user@redis-1.example.net:6379/0"'
PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_SCHEMES: Final[dict[str, tuple[Literal["single", "sentinel", "cluster"], bool]]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("single", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[A-Za-z0-9_.-]{1,253}))(?::(?P<port>[0-9]{1,5}))?")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_NODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,63}")


def store(value: object) -> StoreAddress:
    """Return where a store is, from its URL."""
    written = text(value, "a store", EXAMPLE)
    parts = urlsplit(written)
    if parts.scheme not in _SCHEMES:
        raise Refusal(f"a store is a URL, and its scheme one of {', '.join(_SCHEMES)}", EXAMPLE)
    if parts.query or parts.fragment:
        raise Refusal("a store's URL has no options", quoted(parts._replace(query="", fragment="").geturl()))
    user, password, places = _authority(parts)
    if password:
        reason = "a password here is for everybody to read who reads this file: write it into a file of its own"
        raise Refusal(reason, f'{quoted(written.replace(f":{password}@", "@"))}, and password_file = "/etc/…"')
    if parts.scheme == "unix":
        if places or not parts.path.startswith("/"):
            raise Refusal("a Unix socket is named by its path", '"unix:///run/redis/redis.sock"')
        return StoreAddress(kind="single", path=unquote(parts.path), user=user)
    return _servers(parts, user, places)


def _servers(parts: SplitResult, user: str, places: str) -> StoreAddress:
    """Return where a store is that is reached over the network."""
    kind, tls = _SCHEMES[parts.scheme]
    path = parts.path.removeprefix("/").split("/") if parts.path.strip("/") else []
    service = ""
    if kind == "sentinel":
        if not path:
            reason = "Sentinels are asked for a master by its name"
            raise Refusal(reason, '"redis+sentinel://s1.example.net:26379,s2.example.net:26379/mymaster/0"')
        service, path = path[0], path[1:]
    if len(path) > 1 or not all(each.isdecimal() and len(each) < 6 for each in path):
        raise Refusal("after the server comes the number of a database, or nothing", EXAMPLE)
    database = int(path[0]) if path else 0
    if kind == "cluster" and database:
        raise Refusal("a cluster has one database only", quoted(parts._replace(path="").geturl()))
    usual = SENTINEL_PORT if kind == "sentinel" else PORT
    servers = tuple(_server(each, usual) for each in places.split(","))
    if kind == "single" and len(servers) > 1:
        raise Refusal("one server; several are Sentinels or a cluster", '"redis+sentinel://…" or "redis+cluster://…"')
    return StoreAddress(kind=kind, tls=tls, servers=servers, user=user, service=service, database=database)


def _authority(parts: SplitResult) -> tuple[str, str, str]:
    """Return user, password and servers of a URL."""
    account, _, places = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    return unquote(user), password, places


def _server(written: str, usual: int) -> tuple[str, int]:
    found = _HOST.fullmatch(written)
    port = int(found["port"] or usual) if found else 0
    if found is None or not 0 < port < 65536:
        raise Refusal(f"{quoted(written)} is not a host and a port", EXAMPLE)
    return found["v6"] or found["host"], port


def prefix(value: object) -> str:
    """Return what the keys of a fleet begin with."""
    written = text(value, "a prefix", '"flatproxy:example"')
    if not _PREFIX.fullmatch(written):
        raise Refusal("up to 64 letters, digits, and . _ : - are a prefix", '"flatproxy:example"')
    return written


def node(value: object) -> str:
    """Return a node's name."""
    written = text(value, "a node's name", '"ns1"')
    if not _NODE.fullmatch(written):
        raise Refusal("up to 63 letters, digits, and . _ - are a node's name", '"ns1"')
    return written
