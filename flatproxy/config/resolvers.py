"""How `resolver.servers` writes a resolver: an address, `"system"`, or one that is asked over TLS, HTTPS or QUIC.

It resolves no host name: the address of each is in what is written.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, cast

from flatproxy.config import addresses
from flatproxy.config.problems import Refusal, quoted
from flatproxy.config.settings import EncryptedServer, Endpoint

if TYPE_CHECKING:
    from flatproxy.config.settings import ResolverServer

_EXAMPLES = {
    "tls": "tls://192.0.2.7:853#dns.example.net",
    "quic": "quic://192.0.2.7:853#dns.example.net",
    "https": "https://dns.example.net/dns-query@192.0.2.7",
}
_HTTPS_PORT = 443
_URL = re.compile(r"(?P<host>\[[^\]/]*\]|[^:/@\[\]]*)(?::(?P<port>[^/@]*))?(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:/%-]*)?")
_NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*")


def resolver(value: object) -> ResolverServer:
    """Return what one item of `resolver.servers` says."""
    if value == "system":
        return "system"
    if isinstance(value, str) and value.strip().lower() == "system":
        raise Refusal("not an IP address", '"system"')
    scheme, separator, rest = value.partition("://") if isinstance(value, str) else ("", "", "")
    if not separator:
        return addresses.server(value)
    if scheme not in _EXAMPLES:
        raise Refusal("a resolver is asked over tls://, https:// or quic://", quoted(_EXAMPLES["tls"]))
    if scheme == "https":
        return _https(rest)
    return _with_name(cast('Literal["tls", "quic"]', scheme), rest)


def _with_name(scheme: Literal["tls", "quic"], rest: str) -> EncryptedServer:
    """Read `ADDRESS[:PORT]#NAME`."""
    place, hash_sign, name = rest.partition("#")
    endpoint = _endpoint(place, addresses.TLS_PORT, _EXAMPLES[scheme])
    if not hash_sign:
        reason = "the name that its certificate must have is missing"
        raise Refusal(reason, f"{quoted(f'{scheme}://{endpoint}#NAME')}, with the resolver's name")
    return EncryptedServer(scheme=scheme, endpoint=endpoint, name=_name(name, _EXAMPLES[scheme]))


def _https(rest: str) -> EncryptedServer:
    """Read `HOST[:PORT]/PATH[@ADDRESS]`."""
    example = _EXAMPLES["https"]
    url, at_sign, address = rest.rpartition("@") if "@" in rest else (rest, "", "")
    found = _URL.fullmatch(url)
    if found is None or not found["host"]:
        raise Refusal("not a URL without blanks, queries and fragments", quoted(example))
    host, path = found["host"].strip("[]"), found["path"] or ""
    if path in ("", "/"):
        write = quoted(f"https://{url.rstrip('/')}/dns-query")
        raise Refusal("the path is missing", f"{write}, or another path that it has")
    is_address = _is_address(host)
    if not at_sign and not is_address:
        reason = "its address is missing: names of resolvers are not resolved"
        raise Refusal(reason, f"{quoted(f'https://{url}@ADDRESS')}, with the resolver's address")
    place = _endpoint(address if at_sign else found["host"], _HTTPS_PORT, example)
    if at_sign and not _is_address(address.strip("[]")):
        raise Refusal("the port stands in the URL, not behind the address", quoted(f"https://{url}@{place.host}"))
    at = _in_brackets(place.host)
    endpoint = _endpoint(f"{at}:{found['port']}", _HTTPS_PORT, example) if found["port"] else place
    return EncryptedServer(scheme="https", endpoint=endpoint, name=_name(host, example), path=path)


def _endpoint(place: str, port: int, example: str) -> Endpoint:
    """Return the address of a server, which may lack its port."""
    return addresses.server_on(port, example)(place)


def _in_brackets(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _name(name: str, example: str) -> str:
    """Return the name that a certificate must have: of a host, or an address."""
    if _is_address(name):
        return str(ip_address(name))
    if not _NAME.fullmatch(name):
        raise Refusal(f"{quoted(name)} is not the name of a host", quoted(example))
    return name.lower()
