"""The counts of all workers as one: what the metrics read. Totals never go back, whoever ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, fields, has

from flatproxy.counts import Traffic, Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flatproxy.config.settings import Endpoint
    from flatproxy.workers.messages import Report, ServerReport


@define(kw_only=True)
class ServerTotal:
    """One nameserver as all workers see it: up where any of them sees it up."""

    endpoint: Endpoint
    up: bool = True
    answered: bool = False
    pending: int = 0
    sent: int = 0
    timeouts: int = 0
    mismatched: int = 0

    def add(self, seen: ServerReport | ServerTotal) -> None:
        """Add what counts up."""
        self.sent += seen.sent
        self.timeouts += seen.timeouts
        self.mismatched += seen.mismatched


@define(eq=False)
class Totals:
    """What ended workers have left behind, and the last report of each that runs. A worker's key is any hashable."""

    traffic: Traffic = field(factory=Traffic)
    """Of all workers together; always the same object."""
    _left: Traffic = field(factory=Traffic)
    _left_servers: dict[Endpoint, ServerTotal] = field(factory=dict)
    _left_numbers: dict[int, tuple[int, float]] = field(factory=dict)
    """Queries and processor seconds by the worker's number, which its replacement has as well."""
    _reports: dict[object, tuple[int, Report]] = field(factory=dict)

    def take(self, worker: object, number: int, report: Report) -> None:
        """Put a report in the place of the worker's last one."""
        before = self._reports.get(worker)
        if before is not None and before[1].generation != report.generation:
            self._keep_servers(before[1])
        self._reports[worker] = number, report
        self._sum()

    def ended(self, worker: object) -> None:
        """Keep what the worker has counted; what it had open is no more."""
        number, report = self._reports.pop(worker, (0, None))
        if report is None:
            return
        _put_sum(self._left, [self._left, evolve(report.traffic, tcp_connections=0)])
        self._keep_servers(report)
        queries, cpu_s = self._left_numbers.get(number, (0, 0.0))
        self._left_numbers[number] = queries + _queries(report), cpu_s + report.cpu_s
        self._sum()

    def _keep_servers(self, report: Report) -> None:
        for seen in report.servers:
            self._left_servers.setdefault(seen.endpoint, ServerTotal(endpoint=seen.endpoint)).add(seen)

    def _sum(self) -> None:
        _put_sum(self.traffic, [self._left, *(report.traffic for _number, report in self._reports.values())])

    def servers(self, endpoints: Iterable[Endpoint]) -> list[ServerTotal]:
        """Return these nameservers, the counts of ended workers included."""
        return [self._server(endpoint) for endpoint in endpoints]

    def _server(self, endpoint: Endpoint) -> ServerTotal:
        total = ServerTotal(endpoint=endpoint)
        if endpoint in self._left_servers:
            total.add(self._left_servers[endpoint])
        seen = [
            server
            for _number, report in self._reports.values()
            for server in report.servers
            if server.endpoint == endpoint
        ]
        for server in seen:
            total.add(server)
        total.pending = sum(server.pending for server in seen)
        total.up = any(server.up for server in seen) if seen else True
        total.answered = any(server.answered for server in seen)
        return total

    def worker(self, number: int, *, serving: bool) -> Worker:
        """Return what the workers of this number have done, one after the other."""
        queries, cpu_s = self._left_numbers.get(number, (0, 0.0))
        mine = [report for whose, report in self._reports.values() if whose == number]
        return Worker(
            number=number,
            serving=serving,
            queries=queries + sum(map(_queries, mine)),
            cpu_s=cpu_s + sum(report.cpu_s for report in mine),
        )


def _queries(report: Report) -> int:
    return report.traffic.udp.all + report.traffic.tcp.all


def _put_sum(into: Any, parts: Sequence[Any]) -> None:  # noqa: ANN401 - any class of counts
    """Set each count of `into` to the sum over `parts`, which are of its class; what is no count stays."""
    for attribute in fields(type(into)):
        name = attribute.name
        values = [getattr(part, name) for part in parts]
        if has(type(values[0])):
            _put_sum(getattr(into, name), values)
        elif isinstance(values[0], list):
            setattr(into, name, [sum(column) for column in zip(*values, strict=True)])
        elif isinstance(values[0], int | float):
            setattr(into, name, sum(values))
