"""Addresses as a configuration writes them: endpoints, networks, fallback addresses. It resolves no host name.

Each reader takes what TOML had, returns the value of the settings and raises `Refusal`.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from flatproxy.config.problems import Refusal, quoted
from flatproxy.config.settings import Endpoint
from flatproxy.config.values import text

if TYPE_CHECKING:
    from flatproxy.config.rules import Address
    from flatproxy.config.values import Reader
    from flatproxy.wire.prefixes import Network

DNS_PORT = 53
TLS_PORT = 853
"""DNS over TLS and over QUIC (RFC 7858 section 3.1, RFC 9250 section 4.1.1)."""

_ENDPOINT = re.compile(r"\[([^\]]*)\](?::(.*))?|([^:\[\]]*)(?::([^:]*))?", re.DOTALL)
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,32}")


def listen_endpoint(port: int) -> Reader[Endpoint]:
    """Return a reader of an own address, whose port must be said and may be 0; `port` is the usual one."""
    example = f"0.0.0.0:{port}" if port in (DNS_PORT, TLS_PORT) else f"127.0.0.1:{port}"

    def read(value: object) -> Endpoint:
        host, port_text = _divided(text(value, "a listen address", quoted(example)))
        if host in {"", "*"}:
            every = Endpoint("0.0.0.0", _port(port_text) or port)  # noqa: S104 - shown, not bound
            raise Refusal("the address is missing", quoted(str(every) if port_text else example))
        endpoint = _endpoint(host, port_text, port, example)
        if port_text is None:
            raise Refusal("a listen address needs a port", quoted(str(endpoint)))
        return endpoint

    return read


def server_on(port: int, example: str) -> Reader[Endpoint]:
    """Return a reader of somebody else's address, whose port is `port` where none is said."""

    def read(value: object) -> Endpoint:
        host, port_text = _divided(text(value, "a server", quoted(example)))
        endpoint = _endpoint(host, port_text, port, example)
        if ip_address(endpoint.host).is_unspecified:
            reason = "nobody can be asked at an unspecified address"
            raise Refusal(reason, f"the server's own address, like {quoted(example)}")
        if endpoint.port == 0:
            raise Refusal("a server has no port 0", quoted(str(Endpoint(endpoint.host, port))))
        return endpoint

    return read


server = server_on(DNS_PORT, "192.0.2.53:53")
"""The reader of a nameserver's address."""


def _divided(written: str) -> tuple[str, str | None]:
    """Return host and port of an endpoint as they are written; without a port, None. IPv4 loses no brackets."""
    found = _ENDPOINT.fullmatch(written)
    if found is None:
        return written, None  # a bare IPv6 address, or nothing that has a port
    return (found[3], found[4]) if found[1] is None else (found[1] if ":" in found[1] else f"[{found[1]}]", found[2])


def _endpoint(host: str, port_text: str | None, port: int, example: str) -> Endpoint:
    """Return the endpoint of a host and a port as they are written; without a port, on `port`."""
    found = _parse(host)
    if found is None:
        meant = _parse("127.0.0.1" if host.lower() == "localhost" else host.strip("[]"))
        if meant:
            write = quoted(str(Endpoint(str(meant), _port(port_text) or port)))
            raise Refusal(f"{quoted(host)} is not an IP address", write)
        reason = f"{quoted(host)} is not an IP address, and host names are not accepted here"
        raise Refusal(reason, f"the IP address, like {quoted(example)}")
    if found.is_multicast:
        raise Refusal("a multicast address", f"a unicast address, like {quoted(example)}")
    if port_text is None:
        return Endpoint(str(found), port)
    number = _port(port_text)
    if number is None:
        raise Refusal("a port is a number from 0 to 65535", quoted(str(Endpoint(str(found), port))))
    return Endpoint(str(found), number)


def _port(digits: str | None) -> int | None:
    return int(digits) if digits and _PORT.fullmatch(digits) and int(digits) <= 65535 else None


def _parse(host: str) -> Address | None:
    try:
        found = ip_address(host)
    except ValueError:
        return None
    scope = getattr(found, "scope_id", None)
    return found if scope is None or _SCOPE.fullmatch(scope) else None


def address(value: object) -> Address:
    """Return an address to answer with."""
    example = '"192.0.2.10"'
    written = text(value, "an address", example)
    try:
        found = ip_address(written)
    except ValueError:
        host = _divided(written)[0].strip("[]")
        if _parse(host):
            raise Refusal("an address here has no port and no brackets", quoted(host)) from None
        raise Refusal("not an IP address (a host name would be a target)", f"an address, like {example}") from None
    if getattr(found, "scope_id", None) is not None:
        raise Refusal("an address record has no zone index", quoted(written.partition("%")[0]))
    return found


def network(value: object) -> Network:
    """Return a network of clients; a single address is a network of one."""
    example = '"192.0.2.0/24"'
    written = text(value, "a network", example)
    if "%" in written:
        raise Refusal("a network has no zone index", f"an address or a network, like {example}")
    try:
        found = ip_network(written, strict=False)
    except ValueError:
        reason = "not an address or a network (ADDRESS/PREFIX LENGTH)"
        raise Refusal(reason, f"an address or a network, like {example}") from None
    if found.network_address != ip_address(written.partition("/")[0]):
        raise Refusal("the address has bits set outside of the network", f"{quoted(str(found))}, or the address alone")
    return found
