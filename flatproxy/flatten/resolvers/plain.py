"""Asks resolvers and the nameserver for one RRset, over UDP and, where the answer was cut, TCP.

This is the one place of this half that opens sockets: dnspython's asynchronous ones, each on a port of its own and
connected, so that the kernel tells when nobody is there.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import defaultdict
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import dns.asyncbackend
import dns.asyncquery
import dns.entropy
import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
from attrs import define, field

from flatproxy.config.settings import Endpoint
from flatproxy.counts import ResolverCounts
from flatproxy.errors import ChainBroken, ChainError, FlatproxyError, UpstreamTimeout
from flatproxy.wire import edns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import dns.edns
    import dns.name

FINAL = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
"""What a server says that knows; of others, the next one is asked."""


def system_resolvers() -> list[Endpoint]:
    """Return the servers of the system's resolver configuration; `ChainBroken` where there is none."""
    try:
        resolver = dns.resolver.Resolver()
    except dns.exception.DNSException as error:
        raise ChainBroken(f"the system's resolver configuration cannot be used: {error}") from None
    return [Endpoint(str(server), resolver.port) for server in resolver.nameservers]


def expand(servers: Sequence[Endpoint | Literal["system"]]) -> list[Endpoint]:
    """Return the servers with `"system"` replaced by what it stands for now."""
    expanded: list[Endpoint] = []
    for server in servers:
        expanded += system_resolvers() if server == "system" else [server]
    return expanded


def is_own_address(host: str) -> bool:
    """Tell whether this machine has the address: only then a socket can be bound to it."""
    with socket.socket(dns.inet.af_for_address(host), socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(dns.inet.low_level_address_tuple((host, 0)))
        except OSError:
            return False
    return True


def _no_rest() -> None:
    """Go on at once."""


async def exchange(
    query: dns.message.Message,
    endpoint: Endpoint,
    timeout_s: float,
    *,
    tcp: bool | None = None,
    header: bytes = b"",
    rest: Callable[[], None] = _no_rest,
) -> dns.message.Message:
    """Return one server's response. `tcp` None means UDP, then TCP where that was cut; `header` comes before the query.

    `rest` is called between two pieces of work.

    Raises `UpstreamTimeout` where nothing comes in time, `ChainBroken` where nobody listens or speaks DNS.
    """
    query.id = dns.entropy.random_16()
    try:
        async with asyncio.timeout(timeout_s):
            if not tcp:
                response = await _over_udp(query, endpoint, header, rest)
                if tcp is False or not response.flags & dns.flags.TC:
                    return response
            return await _over_tcp(query, endpoint, header)
    except TimeoutError:
        raise UpstreamTimeout(f"{endpoint}: no answer within {timeout_s:g} s") from None
    except (OSError, EOFError, dns.exception.DNSException) as error:
        reason = _reason(error)
        _forget_frames(error)
        raise ChainBroken(f"{endpoint}: {reason}") from None


async def _connected(endpoint: Endpoint, kind: socket.SocketKind) -> Any:  # noqa: ANN401 - a socket of either kind
    backend = dns.asyncbackend.get_default_backend()
    family = dns.inet.af_for_address(endpoint.host)
    there = (endpoint.host, endpoint.port)
    return await backend.make_socket(family, kind, destination=there)  # type: ignore[no-untyped-call] # dnspython


async def _over_udp(
    query: dns.message.Message, endpoint: Endpoint, header: bytes, rest: Callable[[], None]
) -> dns.message.Message:
    async with await _connected(endpoint, socket.SOCK_DGRAM) as sock:
        rest()
        await sock.sendto(header + query.to_wire(), None, None)
        while True:
            wire, _there = await sock.recvfrom(65535, None)
            rest()
            try:
                response = dns.message.from_wire(wire, ignore_trailing=True)
            except dns.exception.DNSException:
                continue  # whoever sent it: the answer may still come
            if query.is_response(response):
                return response


async def _over_tcp(query: dns.message.Message, endpoint: Endpoint, header: bytes) -> dns.message.Message:
    async with await _connected(endpoint, socket.SOCK_STREAM) as sock:
        if header:
            await sock.sendall(header, None)
        return await dns.asyncquery.tcp(query, endpoint.host, sock=sock, ignore_trailing=True)


def _forget_frames(error: BaseException | None) -> None:
    """Break the circles of dnspython's frames with what was raised in them: each would wait for the collector."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    if isinstance(error, EOFError):
        return "closed the connection"
    return str(error) or type(error).__name__


@define
class Servers:
    """Servers in order of preference, all asked within `timeout_s` for one question."""

    endpoints: Sequence[Endpoint]
    timeout_s: float
    recursion: bool
    asked: Endpoint | None = None
    """Who answered last."""
    header: bytes = b""
    """Octets that come before each query, such as a PROXY header."""
    rest: Callable[[], None] = _no_rest
    require_ad: bool = False
    """Take only what a server has validated (AD=1)."""
    counts: dict[Endpoint, ResolverCounts] = field(factory=lambda: defaultdict(ResolverCounts))
    """What is counted of each server."""

    async def ask(
        self,
        name: dns.name.Name,
        rdtype: dns.rdatatype.RdataType,
        *,
        dnssec: bool = False,
        options: Sequence[dns.edns.Option] = (),
    ) -> dns.message.Message:
        """Return the first answer that says yes or no; otherwise the last other one. `dnssec` asks with DO=1.

        Raises `UpstreamTimeout` where nobody answers in time, `ChainBroken` where nobody can be asked.
        """
        query = dns.message.make_query(
            name, rdtype, use_edns=0, payload=edns.MAX_UDP_SIZE, want_dnssec=dnssec, options=[*options]
        )
        self.rest()
        if not self.recursion:
            query.flags &= ~dns.flags.RD
        if self.require_ad:
            query.flags |= dns.flags.AD  # RFC 6840 section 5.7: say whether it is validated
        other: dns.message.Message | None = None
        failures: list[FlatproxyError] = []
        for endpoint in self.endpoints:
            counts, began = self.counts[endpoint], monotonic()
            counts.sent += 1
            try:
                response = await exchange(query, endpoint, self.share_s, header=self.header, rest=self.rest)
            except (UpstreamTimeout, ChainError) as error:
                counts.silent()
                # With its frames it would hold this one, and be held by it, until the collector finds both.
                failures.append(error.with_traceback(None))
                continue
            self.asked = endpoint
            counts.answered(response.rcode(), monotonic() - began)
            if self.require_ad and response.rcode() in FINAL and not response.flags & dns.flags.AD:
                failures.append(ChainBroken(f"{endpoint}: not validated (AD=0), and require_ad is set"))
                continue
            if response.rcode() in FINAL:
                return response
            other = response
        return self.last_resort(name, rdtype, other, failures)

    @property
    def share_s(self) -> float:
        """The part of the time that one server has."""
        return self.timeout_s / max(len(self.endpoints), 1)

    def last_resort(
        self,
        name: dns.name.Name,
        rdtype: dns.rdatatype.RdataType,
        other: dns.message.Message | None,
        failures: Sequence[FlatproxyError],
    ) -> dns.message.Message:
        """Return the last other answer where no server said yes or no; raises as `ask` where there is none."""
        if other is not None:
            return other
        asked = f"{name.to_text(omit_final_dot=True)} {rdtype.name}"
        if not self.endpoints:
            raise ChainBroken(f"{asked}: there is no server to ask")
        if any(isinstance(failure, ChainError) for failure in failures):
            raise ChainBroken(f"{asked}: {'; '.join(map(str, failures))}")
        raise UpstreamTimeout(f"{asked}: no answer within {self.timeout_s:g} s")
