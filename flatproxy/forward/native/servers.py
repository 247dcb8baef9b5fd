"""The nameservers as the packet path in C asks them, and what is learned of their health from that.

Health is judged in `nameservers/health.py`; probes are the pool's. Here the one is told what the path saw, and the path
whom to ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define

from flatproxy.errors import FlatproxyError
from flatproxy.forward.native.stages import SECOND
from flatproxy.wire.reply import SERVFAIL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flatproxy.config.settings import Upstream
    from flatproxy.forward.nameservers.health import Health
    from flatproxy.forward.nameservers.pool import Pool
    from flatproxy.forward.native import _core
    from flatproxy.forward.native.choice import Choice

MOST: Final = 15
_WELL: Final = bytes(12)
_UNWELL: Final = bytes((0, 0, 0, SERVFAIL)) + bytes(8)


@define(eq=False)
class PathServers:
    """The servers of one pool, in its order."""

    pool: Pool
    _servers: _core.Servers

    @classmethod
    def opened(cls, choice: Choice, upstream: Upstream, sockets: int, pool: Pool) -> PathServers:
        """Open each thread's sockets to them; `FlatproxyError` where that cannot be done."""
        if len(upstream.servers) > MOST:
            raise FlatproxyError(
                f"the packet path in C asks {MOST} nameservers at most: write fewer into [upstream] servers, or set "
                "FLATPROXY_NATIVE=0"
            )
        addresses = tuple((server.host, server.port) for server in upstream.servers)
        try:
            servers = choice.core.Servers(
                addresses,
                threads=choice.threads,
                sockets=sockets,
                timeout_s=upstream.timeout_s,
                tells_client=upstream.proxy_protocol,
            )
        except OSError as error:
            raise FlatproxyError(f"cannot open a socket to every upstream server: {error.strerror}") from None
        return cls(pool, servers)

    def publish(self, path: _core.Path) -> None:
        """Have the path ask these from now on."""
        for number, server in enumerate(self.pool.servers):
            server.elsewhere = lambda number=number: self._servers.counts()[number]  # type: ignore[misc]
            server.latency_elsewhere = lambda number=number: self._servers.latencies()[number]  # type: ignore[misc]
        self.pool.changed = self.order
        self.judge()
        self.order()
        path.publish(self._servers)

    def retire(self) -> None:
        """Leave the pool alone: others are in force, or none."""
        self.pool.changed = _nothing
        for server in self.pool.servers:
            server.elsewhere, server.latency_elsewhere = dict, tuple

    def judge(self) -> None:
        """Tell health what was heard and what was not."""
        for server, counts in zip(self.pool.servers, self._servers.counts(), strict=True):
            _note(server.datagram.health, counts, "udp")
            _note(server.stream.health, counts, "tcp")

    def order(self) -> None:
        """Tell the path whom to ask."""
        self._servers.order(self._order_by_datagram(), self._order_by_stream())

    def _order_by_datagram(self) -> tuple[int, ...]:
        healths = [server.datagram.health for server in self.pool.servers]
        up = [number for number, health in enumerate(healths) if health.up]
        return tuple(sorted(up, key=lambda number: healths[number].rank))

    def _order_by_stream(self) -> tuple[int, ...]:
        servers = self.pool.servers
        up = [number for number, server in enumerate(servers) if server.stream.health.up]
        return tuple(
            sorted(up, key=lambda number: (servers[number].stream.health.rank, servers[number].datagram.health.rank))
        )


def _nothing() -> None:
    """Tell nobody."""


def _note(health: Health, counts: Mapping[str, int], transport: str) -> None:
    """Tell what is newer than what is known: what a probe has found since counts for more."""
    heard, well = counts[f"{transport}_heard_at"] / SECOND, counts[f"{transport}_well_at"] / SECOND
    if heard > health.answered_at:
        health.heard(_WELL if well > health.answered_at else _UNWELL, heard)
    health.silent(counts[f"{transport}_silent_since"] / SECOND)
