"""Stand-ins for what surrounds the road: a nameserver that remembers, an answer that says what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from attrs import define, field

from flatproxy.counts import Traffic
from flatproxy.forward.access import Networks, octets_of
from flatproxy.forward.exchange import Road
from flatproxy.forward.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from ipaddress import IPv4Network

    from flatproxy.forward.nameservers.pool import Upstreams
    from flatproxy.forward.pending import Query
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
    tells_client: bool = False
    timeout_s: float = 2.0

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

    def reply(self, query: bytes, end: int, now: float, *, udp: bool) -> bytes | None:  # noqa: ARG002 - as the real one
        return None if self.made is None else query[:2] + self.made[2:]

    def rrset(self, now: float) -> tuple[int, Sequence[bytes]] | None:  # noqa: ARG002 - as the real one
        return self.addresses

    def soa(self, name: bytes) -> bytes | None:  # noqa: ARG002 - as the real one
        return SOA

    def wait(self, now: float, ready: Callable[[], None]) -> bool:  # noqa: ARG002 - as the real one
        if self.waiters is None:
            return False
        self.waiters.append(ready)
        return True


def policy(servers: Servers | None = None, **more: Any) -> Policy:
    """Return a policy that serves example.com to everybody, and nothing else to anybody."""
    nobody: Sequence[IPv4Network] = ()
    return Policy(
        upstreams=cast("Upstreams", servers or Servers()),
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
class Way:
    """A road with its nameservers, and what the clients got."""

    servers: Servers
    road: Road
    got: list[tuple[bytes, Any]] = field(factory=list)

    @classmethod
    def with_table(
        cls, table: Mapping[bytes, Answer] | None = None, servers: Servers | None = None, **more: Any
    ) -> Way:
        way = cls(servers or Servers(), Road(Traffic()))
        way.road.policy = policy(way.servers, table=table or {}, **more)
        return way

    def send(self, reply: bytes, client: Any) -> None:
        self.got.append((reply, client))

    def ask(self, message: bytes, host: str = "192.0.2.7", now: float = 100.0) -> None:
        self.road.query(message, octets_of(host), self.send, (host, 4000), now)
