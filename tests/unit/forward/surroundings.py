"""Stand-ins for what surrounds the exchange: clients and nameservers that remember, answers that are made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from attrs import define, field

from flatproxy.counts import Traffic, Verdicts
from flatproxy.forward.access import Networks
from flatproxy.forward.exchange import Exchange
from flatproxy.forward.policy import Policy
from flatproxy.forward.socket_addresses import octets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from ipaddress import IPv4Network

    from flatproxy.forward.nameservers.pool import Pool
    from flatproxy.forward.query import Link, Query
    from flatproxy.forward.rate_limits import RateLimits
    from flatproxy.table.answers import Answer

ZONE = b"\7example\3com\0"
SOA = ZONE + b"\0\6\0\1\0\0\0\x3c\0\x1f\2ns\0\4host\0" + bytes(20)


@define(eq=False)
class Server:
    """A nameserver that keeps what it is sent."""

    sent: list[Query] = field(factory=list)
    preserved: list[Query] = field(factory=list)
    itself: tuple[Server, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.itself = (self,)

    def send(self, query: Query) -> None:
        self.sent.append(query)

    def send_preserved(self, query: Query) -> None:
        self.preserved.append(query)


@define(eq=False)
class Servers:
    """Nameservers of which some are up."""

    servers: list[Server] = field(factory=lambda: [Server()])
    down: bool = False

    @property
    def current(self) -> Server | None:
        return None if self.down else self.servers[0]

    def next_after(self, tried: Sequence[object]) -> Server | None:
        return next((server for server in self.servers if server not in tried and not self.down), None)


@define(eq=False)
class Fixed:
    """An answer with these addresses, or None: cold as long as `waiters` is a list."""

    made: bytes | None = None
    addresses: tuple[int, Sequence[bytes]] | None = None
    waiters: list[Callable[[], None]] | None = None

    def of_client(self, query: bytes, end: int, host: bytes) -> Fixed:  # noqa: ARG002 - as the real one
        return self

    def reply(self, query: bytes, end: int, now: float, *, udp: bool) -> bytes | None:  # noqa: ARG002 - as the real one
        return None if self.made is None else query[:2] + self.made[2:]

    def signed(self, name: bytes, now: float) -> None:
        """Nothing: no zone is signed."""

    def rrset(self, now: float) -> tuple[int, Sequence[bytes]] | None:  # noqa: ARG002 - as the real one
        return self.addresses

    def soa(self, name: bytes) -> bytes | None:  # noqa: ARG002 - as the real one
        return SOA

    def wait(self, now: float, ready: Callable[[], None]) -> bool:  # noqa: ARG002 - as the real one
        if self.waiters is None:
            return False
        self.waiters.append(ready)
        return True


def policy(**more: Any) -> Policy:
    """Return a policy that serves example.com to everybody, and nothing else to anybody."""
    nobody: Sequence[IPv4Network] = ()
    return Policy(
        **{
            "zones": frozenset({ZONE}),
            "query": everyone(),
            **{who: Networks(nobody) for who in ("transfer", "update", "notify")},
            **more,
        },
    )


def everyone() -> Networks:
    from ipaddress import ip_network  # noqa: PLC0415 - beside its one use

    return Networks([ip_network("0.0.0.0/0"), ip_network("::/0")])


@define(eq=False)
class Sent:
    """A listener that keeps what it is to send, or that cannot send anything. `link` makes it a stream."""

    datagrams: bool = True
    link: Link | None = None
    verdicts: Verdicts = field(factory=Verdicts)
    rcodes: list[int] = field(factory=lambda: [0] * 24)
    waiting: int = 0
    gone: bool = False
    unreachable: bool = False
    replies: list[tuple[bytes, Any]] = field(factory=list)

    def send(self, reply: bytes, back: Any) -> None:
        if self.unreachable:
            raise OSError
        self.replies.append((reply, back))

    def proxy_header(self, back: Any) -> bytes:
        return b"PROXY " + str(back).encode()


@define(eq=False)
class Kept:
    """A stream's link that keeps what it is sent."""

    sent: list[Query] = field(factory=list)

    def send(self, query: Query) -> None:
        self.sent.append(query)


@define(eq=False)
class Way:
    """An exchange with its nameservers, and one listener."""

    servers: Servers
    exchange: Exchange
    listener: Sent = field(factory=Sent)

    @classmethod
    def with_table(
        cls,
        table: Mapping[bytes, Answer] | None = None,
        servers: Servers | None = None,
        limits: RateLimits | None = None,
        **more: Any,
    ) -> Way:
        way = cls(servers or Servers(), Exchange(Traffic()))
        way.exchange.nameservers = cast("Pool", way.servers)
        way.exchange.policy = policy(table=table or {}, **more)
        way.exchange.limits = limits
        return way

    @property
    def got(self) -> list[bytes]:
        """What the client has got."""
        return [reply for reply, _back in self.listener.replies]

    def ask(self, message: bytes, host: str = "192.0.2.7", now: float = 100.0) -> None:
        self.exchange.receive(message, octets_of(host), self.listener, (host, 4000), now)
