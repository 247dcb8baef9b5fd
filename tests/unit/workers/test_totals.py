from __future__ import annotations

from attrs import evolve, fields

from flatproxy.config.settings import Endpoint
from flatproxy.counts import BucketTable, Traffic, Verdicts
from flatproxy.workers.messages import Report, ServerReport
from flatproxy.workers.totals import Totals

NS, OTHER = Endpoint("192.0.2.53", 53), Endpoint("192.0.2.54", 53)


def traffic(scale: int) -> Traffic:
    """Counts that are all different, and none of them 0."""
    return Traffic(
        udp=Verdicts(forwarded=1 * scale, flattened=2 * scale, refused=3 * scale, dropped=4 * scale),
        tcp=Verdicts(forwarded=5 * scale, flattened=6 * scale, refused=7 * scale, dropped=8 * scale),
        rcodes=[number * scale for number in range(24)],
        latency=BucketTable(counts=[number * scale for number in range(16)], total=0.5 * scale),
        malformed=9 * scale,
        unsent=10 * scale,
        tcp_connections=11 * scale,
        tcp_evicted=12 * scale,
        tcp_refused=13 * scale,
        overloaded=14 * scale,
        limited=15 * scale,
    )


def seen(endpoint: Endpoint = NS, scale: int = 1, *, up: bool = True, answered: bool = True) -> ServerReport:
    return ServerReport(
        endpoint=endpoint,
        up=up,
        answered=answered,
        pending=scale,
        sent=2 * scale,
        timeouts=3 * scale,
        mismatched=4 * scale,
    )


def report(scale: int = 1, *servers: ServerReport, generation: int = 1) -> Report:
    return Report(traffic=traffic(scale), generation=generation, servers=servers, cpu_s=1.5 * scale)


def test_the_sum_of_all() -> None:
    totals = Totals()
    totals.take("a", 1, report(1))
    totals.take("b", 2, report(10))
    assert totals.traffic == traffic(11)
    assert {attribute.name for attribute in fields(Traffic)} == {
        attribute.name for attribute in fields(Traffic) if getattr(traffic(1), attribute.name)
    }, "a count of which the tests know nothing"


def test_a_report_takes_the_place_of_the_one_before() -> None:
    totals = Totals()
    whole = totals.traffic
    for scale in (1, 2, 3):
        totals.take("a", 1, report(scale))
    assert totals.traffic == traffic(3)
    assert totals.traffic is whole


def test_what_ended_counts_on_and_what_was_open_does_not() -> None:
    totals = Totals()
    totals.take("a", 1, report(3, seen(scale=3)))
    totals.take("b", 2, report(10, seen(scale=10)))
    totals.ended("a")
    totals.ended("a")
    totals.ended("one that never reported")
    totals.take("c", 1, report(100, seen(scale=100)))
    assert totals.traffic == evolve(traffic(113), tcp_connections=11 * 110)
    (server,) = totals.servers([NS])
    assert (server.pending, server.sent, server.timeouts, server.mismatched) == (110, 226, 339, 452)
    totals.ended("c")
    first, second = totals.worker(1, serving=True), totals.worker(2, serving=False)
    assert (first.number, first.queries, first.cpu_s, first.serving) == (1, 36 * 103, 1.5 * 103, True)
    assert (second.number, second.queries, second.serving) == (2, 36 * 10, False)


def test_a_server_is_up_where_any_worker_sees_it_up() -> None:
    totals = Totals()
    totals.take("a", 1, report(1, seen(up=False, answered=False), seen(OTHER, up=False)))
    totals.take("b", 2, report(1, seen(up=True, answered=True), seen(OTHER, up=False)))
    ns, other = totals.servers([NS, OTHER])
    assert (ns.up, ns.answered) == (True, True)
    assert (other.up, other.answered) == (False, True)
    totals.ended("b")
    (ns,) = totals.servers([NS])
    assert (ns.up, ns.answered) == (False, False)


def test_before_anybody_has_reported() -> None:
    (server,) = Totals().servers([NS])
    assert (server.up, server.answered, server.sent) == (True, False, 0)
    assert Totals().worker(1, serving=False).queries == 0


def test_counts_that_begin_anew_do_not_go_back() -> None:
    """A reload with other nameservers begins with new sockets, whose counts are 0."""
    totals = Totals()
    totals.take("a", 1, report(1, seen(scale=10), seen(OTHER, scale=7), generation=1))
    totals.take("a", 1, report(2, seen(scale=1), generation=2))
    assert [server.sent for server in totals.servers([NS, OTHER])] == [22, 14]
    totals.take("a", 1, report(2, seen(scale=2), generation=2))
    assert [server.sent for server in totals.servers([NS])] == [24]
    totals.ended("a")
    assert [server.sent for server in totals.servers([NS])] == [24]
