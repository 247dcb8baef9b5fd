"""`[listen] workers = 2`: packets in processes of their own, beside the one that resolves, counts and supervises."""

from __future__ import annotations

import json
import os
import pwd
import re
import resource
import signal
import socket
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import dns.message
import dns.query
import dns.rcode
import pytest

from .harness.configuration import configuration
from .harness.load import Load
from .harness.ports import has_ipv6
from .harness.proxy import Event, Proxy
from .harness.service import NOBODY, Prepare, Service, bound_pair, open_folder, readable_python, service
from .harness.standin import Reply, StandIn
from .harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .harness.internet import FakeInternet
    from .harness.nsd import Nsd

__all__ = ["open_folder", "service"]

Start = Callable[..., Proxy]

WORKERS = 2
APEX = dns.message.make_query("example.com", "A")
MX = dns.message.make_query("example.com", "MX")
ASKS = 40
"""From so many ports: that all of them meet one of two workers happens once in 2^39 times."""
PLACEHOLDER = "192.0.2.80"


def two(
    nsd: Nsd,
    internet: FakeInternet,
    target: str = "one.test",
    *,
    listen: Mapping[str, object] | None = None,
    **more: Mapping[str, object],
) -> str:
    """Write a configuration with two workers."""
    internet.set("one.test", "A", ["203.0.113.1"])
    internet.set("two.test", "A", ["203.0.113.2"])
    return configuration(
        upstream=[nsd.address],
        resolver=[internet.address],
        flatten={"example.com": {"target": target, "types": ["A"]}},
        tables={"listen": {"workers": WORKERS, **(listen or {})}, **more},
    )


def pids(proxy: Proxy) -> dict[int, int]:
    """Give the process of each worker by its number."""
    return {event["worker"]: event["pid"] for event in proxy.since(0, "worker_started")}


def queries(proxy: Proxy) -> dict[str, float]:
    return {labels["worker"]: value for labels, value in proxy.metrics().samples("worker_queries_total")}


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def addresses(proxy: Proxy, *, tcp: bool = False) -> set[str]:
    """Ask for the apex from many ports."""
    return {str(proxy.ask(APEX, tcp=tcp).answer[0][0]) for _ in range(ASKS)}


def test_every_address_is_taken_by_all(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    """A wildcard, too: the reply leaves from the address that was asked, whoever answers."""
    hosts = ["127.0.0.1", "127.0.0.9"] + ["::1"] * has_ipv6()
    listen = ["0.0.0.0:0", *(f"[{host}]:0" for host in hosts[2:]), "127.0.0.8:0"]
    proxy = start(two(nsd, internet, listen={"dns": listen}))
    assert [host for host, _port in proxy.listening] == ["0.0.0.0", *hosts[2:], "127.0.0.8"]
    ports = dict(proxy.listening)
    for host in (*hosts, "127.0.0.8"):
        before = queries(proxy)
        for _ in range(ASKS):
            reply = dns.query.udp(APEX, host, timeout=4, port=ports.get(host, ports["0.0.0.0"]))
            assert _says(reply, "203.0.113.1")
        until(lambda: _more(queries(proxy), before, []), f"both at {host}")  # noqa: B023


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_both_take_their_part(nsd: Nsd, internet: FakeInternet, start: Start, tcp: bool) -> None:
    proxy = start(two(nsd, internet))
    assert addresses(proxy, tcp=tcp) == {"203.0.113.1"}
    for _ in range(ASKS):
        assert proxy.ask(MX, tcp=tcp).rcode() == dns.rcode.NOERROR
    until(lambda: sum(queries(proxy).values()) == 2 * ASKS, lambda: str(queries(proxy)))
    assert queries(proxy).keys() == {"1", "2"}
    assert min(queries(proxy).values()) > 0
    metrics, transport = proxy.metrics(), "tcp" if tcp else "udp"
    assert metrics.value("queries_total", transport=transport, verdict="flattened") == ASKS
    assert metrics.value("queries_total", transport=transport, verdict="forwarded") == ASKS
    assert metrics.value("workers") == WORKERS
    assert metrics.value("worker_restarts_total") == 0
    assert metrics.value("upstream_up") == 1
    assert metrics.value("replies_total", rcode="NOERROR") >= ASKS
    assert all(is_there(pid) for pid in {proxy.pid, *pids(proxy).values()})
    assert len(set(pids(proxy).values()) | {proxy.pid}) == 3


def test_what_is_said_once_is_said_once(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    proxy = start(two(nsd, internet))
    proxy.reload(two(nsd, internet, "two.test"))
    began = monotonic()
    proxy.stop()
    assert monotonic() - began < 1, "nothing is under way"
    for event in ("listening", "ready", "reloaded", "stopping", "stopped"):
        assert len(proxy.since(0, event)) == 1, event
    assert len(proxy.since(0, "worker_started")) == WORKERS
    assert not proxy.since(0, "worker_died")
    ready = proxy.events.index(proxy.since(0, "ready")[0])
    assert all(proxy.events.index(event) < ready for event in proxy.since(0, "worker_started"))


def test_one_target_is_resolved_once_for_all(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    internet.set("once.test", "A", ["203.0.113.9"])
    proxy = start(two(nsd, internet, "once.test"))
    assert addresses(proxy) == {"203.0.113.9"}
    assert internet.asked["once.test", "A"] == 1


def test_a_change_is_with_all_within_a_tenth_of_a_second(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    internet.set("moves.test", "A", ["203.0.113.10"], ttl=1)
    proxy = start(two(nsd, internet, "moves.test"))
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(16)]
    try:
        for client in clients:
            client.connect(proxy.address)
            client.settimeout(4)
        for step in range(11, 14):
            new = f"203.0.113.{step}"
            internet.set("moves.test", "A", [new], ttl=1)
            first_new, last_old = _watch(clients, new)
            assert last_old - first_new < 0.1
    finally:
        for client in clients:
            client.close()
    assert min(queries(proxy).values()) > 0


def _watch(clients: list[socket.socket], new: str) -> tuple[float, float]:
    """Ask until all say the new address; return when it was first seen, and when the old one was last seen."""
    first_new, last_old = float("inf"), 0.0
    deadline = monotonic() + 10
    while monotonic() < deadline:
        said = []
        for client in clients:
            client.send(APEX.to_wire())
            reply = dns.message.from_wire(client.recv(4096))
            said.append(str(reply.answer[0][0]))
            if said[-1] == new:
                first_new = min(first_new, monotonic())
            else:
                last_old = monotonic()
        if set(said) == {new}:
            return first_new, last_old
    raise AssertionError("the new address never came")


def test_a_killed_worker_is_replaced_within_a_second(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    """The others never stop; what the kernel has taken meanwhile is answered by the replacement, and never wrongly."""
    proxy = start(two(nsd, internet))
    asked = [("example.com", "A"), ("example.com", "MX"), ("www.example.com", "A"), ("example.com", "A")]
    seen: list[float] = []
    with Load(proxy.address, asked) as load:
        for number in (1, 2, 1):
            until(lambda: len(load.asked) > 40, "traffic")
            before = queries(proxy)
            mark, killed_at = proxy.mark, monotonic()
            os.kill(pids(proxy)[number], signal.SIGKILL)
            died = proxy.wait_event("worker_died", mark=mark)
            assert (died["worker"], died["status"]) == (number, "SIGKILL")
            proxy.wait_event("worker_started", mark=mark, worker=number)
            assert monotonic() - killed_at < 1
            until(lambda: _more(queries(proxy), before, seen), "both take traffic again")  # noqa: B023
    assert len(load.lost) <= 3 * len(asked), "no more than was in flight"
    assert {str(rdata) for reply in _of_apex(load) for rdata in reply.answer[0]} == {"203.0.113.1"}
    assert max(each.took_s for each in load.asked if each.reply is not None) < 1
    assert proxy.metrics().value("worker_restarts_total") == 3
    assert proxy.metrics().value("workers") == WORKERS
    assert seen == sorted(seen)


def _more(now: dict[str, float], before: dict[str, float], seen: list[float]) -> bool:
    seen.append(sum(now.values()))
    return all(now[worker] > before[worker] for worker in before)


def _of_apex(load: Load) -> list[dns.message.Message]:
    return [
        reply
        for reply in load.replies()
        if reply.question[0].name.to_text() == "example.com." and reply.question[0].rdtype == 1
    ]


def test_no_count_goes_back(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    proxy = start(two(nsd, internet))
    last: dict[tuple[str, str], float] = {}

    def look() -> bool:
        metrics = proxy.metrics()
        for name in ("queries_total", "replies_total", "upstream_sent_total", "worker_queries_total",
                     "worker_cpu_seconds_total", "forward_seconds_count", "forward_seconds_sum"):  # fmt: skip
            for labels, value in metrics.samples(name):
                key = name, str(sorted(labels.items()))
                assert value >= last.get(key, 0.0), key
                last[key] = value
        return not metrics.value("workers") < WORKERS

    with Load(proxy.address, [("example.com", "A"), ("example.com", "MX")]) as load:
        for number in (1, 2):
            until(lambda: look() and len(load.asked) > 40, "traffic")
            mark = proxy.mark
            os.kill(pids(proxy)[number], signal.SIGKILL)
            until(lambda: look() and bool(proxy.since(mark, "worker_started")), "a new one")  # noqa: B023
        proxy.reload(two(nsd, internet, upstream_={"timeout": "1500ms"}))
        count = len(load.asked)
        until(lambda: look() and len(load.asked) > count + 20, "traffic after it")


def test_counts_of_a_worker_that_drained_are_whole(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    """Those of one that was killed lack its last quarter of a second at most."""
    proxy = start(two(nsd, internet))
    for number in (1, 2):
        addresses(proxy)
        mark = proxy.mark
        os.kill(pids(proxy)[number], signal.SIGTERM)
        proxy.wait_event("worker_died", mark=mark, worker=number)
    until(lambda: sum(queries(proxy).values()) == 2 * ASKS, lambda: str(queries(proxy)), 3)
    assert proxy.metrics().value("queries_total", verdict="flattened") == 2 * ASKS


def test_reloading_under_load_loses_nothing_and_all_switch(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    configs = [two(nsd, internet), two(nsd, internet, "two.test")]
    proxy = start(configs[0])
    with Load(proxy.address, [("example.com", "A"), ("example.com", "MX")], over_tcp=("example.com", "A")) as load:
        for turn in range(6):
            proxy.reload(configs[(turn + 1) % 2])
            assert addresses(proxy) == {f"203.0.113.{2 - turn % 2}"}
    assert not load.lost
    assert {reply.rcode() for reply in load.replies()} == {dns.rcode.NOERROR}
    assert {str(rdata) for reply in _of_apex(load) for rdata in reply.answer[0]} == {"203.0.113.1", "203.0.113.2"}
    assert max(each.took_s for each in load.asked) < 1
    assert proxy.metrics().value("worker_restarts_total") == 0


def test_a_bad_file_changes_nothing_anywhere(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    proxy = start(two(nsd, internet))
    proxy.reload("= what", "reload_failed")
    assert addresses(proxy) == {"203.0.113.1"}
    proxy.reload(two(nsd, internet, access={"query": ["192.0.2.0/24"]}))
    assert {proxy.ask(MX).rcode() for _ in range(ASKS)} == {dns.rcode.REFUSED}


@pytest.fixture
def slow() -> Iterator[StandIn]:
    """A nameserver that answers, but for A of anything only after 0.6 s."""

    def script(query: bytes, _transport: str) -> list[Reply]:
        late = 0.6 if query[-4:-2] == b"\0\1" or b"\0\1\0\1" in query[12:] else 0.0
        return [Reply(query[:2] + b"\x84\0" + query[4:], late)]

    server = StandIn(script)
    server.start()
    yield server
    server.stop()


def _under_way(proxy: Proxy, count: int) -> list[socket.socket]:
    """Ask what takes a while from so many ports, and return once all of it is at the nameserver."""
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for client in clients:
        client.settimeout(3)
        client.connect(proxy.address)
        client.send(dns.message.make_query("slow.example.net", "A").to_wire())
    return clients


def test_sigterm_drains_all(slow: StandIn, start: Start) -> None:
    proxy = start(configuration(upstream=[slow.address], listen={"workers": WORKERS}))
    clients = _under_way(proxy, 16)
    until(lambda: proxy.metrics().value("upstream_pending") == 16, "all are under way")
    workers = pids(proxy)
    began = monotonic()
    proxy.stop()
    assert monotonic() - began < 2
    for client in clients:
        assert client.recv(4096)
        client.close()
    assert not any(map(is_there, workers.values()))
    assert not proxy.since(0, "worker_died")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["a-terminal", "a-service-manager"])
def test_a_signal_to_all_ends_well(slow: StandIn, service: Prepare, number: signal.Signals) -> None:
    """As a terminal and a service manager send it: to every process of the group."""
    proxy = service(
        configuration(upstream=[slow.address], listen={"workers": WORKERS}), options={"start_new_session": True}
    )
    proxy.start()
    clients = _under_way(proxy, 8)
    until(lambda: proxy.metrics().value("upstream_pending") == 8, "all are under way")
    proxy.expected_to_end = True
    os.killpg(proxy.pid, number)
    assert proxy.wait() == 0
    for client in clients:
        assert client.recv(4096)
        client.close()
    assert [event["event"] for event in proxy.events][-2:] == ["stopping", "stopped"], proxy.log
    assert not proxy.since(0, "worker_died")
    assert len(proxy.since(0, "worker_started")) == WORKERS


def test_a_signal_in_the_first_moments_of_a_worker_ends_nothing(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    """It has not even begun to say what it does with them."""
    proxy = start(two(nsd, internet), ready=False)
    workers = {int(pid) for pid in Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split()}
    assert len(workers) == WORKERS
    for pid in workers:
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, signal.SIGINT)
    proxy.wait_event("ready")
    assert set(pids(proxy).values()) == workers
    assert not proxy.since(0, "worker_died")


def test_sighup_of_a_terminal_ends_no_worker(nsd: Nsd, internet: FakeInternet, service: Prepare) -> None:
    proxy = service(two(nsd, internet), options={"start_new_session": True})
    proxy.start()
    mark = proxy.mark
    os.killpg(proxy.pid, signal.SIGHUP)
    proxy.wait_event("reloaded", mark=mark)
    assert addresses(proxy) == {"203.0.113.1"}
    assert not proxy.since(0, "worker_died")


def test_a_worker_that_is_told_to_end_drains_and_is_replaced(slow: StandIn, start: Start) -> None:
    proxy = start(configuration(upstream=[slow.address], listen={"workers": WORKERS}))
    clients = _under_way(proxy, 16)
    until(lambda: proxy.metrics().value("upstream_pending") == 16, "all are under way")
    mark = proxy.mark
    os.kill(pids(proxy)[1], signal.SIGTERM)
    proxy.wait_event("worker_started", mark=mark, worker=1)
    for client in clients:
        assert client.recv(4096)
        client.close()
    died = proxy.wait_event("worker_died", mark=mark)
    assert (died["worker"], died["status"]) == (1, "exit code 0")
    for _ in range(ASKS):
        assert proxy.ask(MX).rcode() == dns.rcode.NOERROR
    assert len(proxy.since(mark, "worker_died")) == 1


def test_without_the_control_process_no_worker_is_left(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    """And the port is free for the next start, which is not mixed with what is left of the last one."""
    proxy = start(two(nsd, internet))
    workers, address = pids(proxy), proxy.address
    addresses(proxy)
    proxy.kill()
    until(lambda: not any(map(is_there, workers.values())), "the workers' end", 2)
    again = start(two(nsd, internet, listen={"workers": WORKERS, "dns": [f"127.0.0.1:{address[1]}"]}))
    assert again.address == address
    assert addresses(again) == {"203.0.113.1"}


def test_a_stuck_worker_is_replaced(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    proxy = start(two(nsd, internet))
    mark, pid = proxy.mark, pids(proxy)[2]
    os.kill(pid, signal.SIGSTOP)
    with Load(proxy.address, [("example.com", "A")] * 3) as load:
        stuck = proxy.wait_event("worker_stuck", mark=mark, deadline_s=15)
    assert not load.lost
    assert max(each.took_s for each in load.asked) < 2, "long before that its sockets are read by the other one"
    assert (stuck["worker"], stuck["pid"]) == (2, pid)
    proxy.wait_event("worker_started", mark=mark, worker=2)
    assert not is_there(pid)
    assert addresses(proxy) == {"203.0.113.1"}


def test_a_stop_of_the_control_process_harms_no_worker(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    """They go on with what they know; and it does not take its own sleep for theirs."""
    proxy = start(two(nsd, internet))
    proxy.send(signal.SIGSTOP)
    try:
        began = monotonic()
        with Load(proxy.address, [("example.com", "A"), ("example.com", "MX")]) as load:
            until(lambda: monotonic() - began > 5.5, "longer than its patience", 20)
        assert not load.lost
    finally:
        proxy.send(signal.SIGCONT)
    proxy.reload(two(nsd, internet, "two.test"))
    assert addresses(proxy) == {"203.0.113.2"}
    assert not proxy.since(0, "worker_died")


def _refused(prepared: Service) -> str:
    code, said = prepared.refused()
    assert code == 1
    return said


def test_a_second_start_on_the_same_port_is_refused(
    nsd: Nsd, internet: FakeInternet, start: Start, service: Prepare, tmp_path: Path
) -> None:
    """Whichever of them has workers: nobody takes a part of another's queries."""
    proxy = start(two(nsd, internet))
    for workers in (1, 2):
        listen = {"workers": workers, "dns": [f"127.0.0.1:{proxy.address[1]}"]}
        assert "Address already in use" in _refused(service(two(nsd, internet, listen=listen)))
    assert addresses(proxy) == {"203.0.113.1"}


def test_sockets_that_were_passed_are_shared(nsd: Nsd, internet: FakeInternet, service: Prepare) -> None:
    with bound_pair() as (address, sockets):
        config = two(nsd, internet, listen={"workers": WORKERS, "dns": [f"127.0.0.1:{address[1]}"]})
        proxy = service(config, passed=sockets)
        proxy.start()
        assert proxy.listening == [address]
        for tcp in (False, True):
            assert addresses(proxy, tcp=tcp) == {"203.0.113.1"}
        for number in (1, 2):
            mark = proxy.mark
            os.kill(pids(proxy)[number], signal.SIGKILL)
            assert addresses(proxy) == {"203.0.113.1"}
            proxy.wait_event("worker_started", mark=mark, worker=number)
        proxy.stop()


def test_ready_says_who_is_missing(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    proxy = start(two(nsd, internet))
    assert proxy.get("/readyz")[0] == 200
    assert proxy.get("/healthz")[0] == 200
    pid = pids(proxy)[1]
    os.kill(pid, signal.SIGSTOP)  # so that the next reload waits for it
    try:
        _write(proxy, two(nsd, internet, "two.test"))
        mark: int = proxy.mark
        proxy.send(signal.SIGHUP)
        event: Event = proxy.wait_event("reloaded", mark=mark, deadline_s=20)
        assert event["event"] == "reloaded"
        assert addresses(proxy) == {"203.0.113.2"}, "the one that did not answer was replaced"
    finally:
        if is_there(pid):
            os.kill(pid, signal.SIGCONT)
    until(lambda: proxy.get("/readyz")[0] == 200, lambda: proxy.get("/readyz")[1])


def _write(proxy: Proxy, config: str) -> None:
    proxy.path.write_text(config)


# What answers are made of


def _from_many(proxy: Proxy, query: dns.message.Message) -> list[dns.message.Message]:
    return [proxy.ask(query) for _ in range(ASKS)]


def test_every_worker_knows_the_zones(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    """The SOA of a denial, and that a zone is signed: DO=1 for its flagged names goes to the nameserver."""
    internet.set("none.test", "TXT", ["neither A nor AAAA"])
    internet.set("one.test", "A", ["203.0.113.1"])
    flatten = {"example.com": {"target": "none.test"}, "signed.test": {"target": "one.test"}}
    proxy = start(
        configuration(upstream=[nsd.address], resolver=[internet.address], flatten=flatten, listen={"workers": WORKERS})
    )
    proxy.wait_event("zone_signed")
    signed = dns.message.make_query("signed.test", "A", want_dnssec=True)
    until(lambda: not any(_says(reply, "203.0.113.1") for reply in _from_many(proxy, signed)), "all pass it on")
    mark = proxy.mark
    os.kill(pids(proxy)[1], signal.SIGKILL)
    proxy.wait_event("worker_started", mark=mark)
    assert not any(_says(reply, "203.0.113.1") for reply in _from_many(proxy, signed)), "the new one knows it at once"
    assert all(_says(reply, "203.0.113.1") for reply in _from_many(proxy, dns.message.make_query("signed.test", "A")))
    for reply in _from_many(proxy, APEX):
        assert reply.rcode() == dns.rcode.NOERROR
        assert not reply.answer
        assert [rrset.rdtype for rrset in reply.authority] == [6]


def _says(reply: dns.message.Message, address: str) -> bool:
    return any(str(rdata) == address for rrset in reply.answer for rdata in rrset)


def test_what_is_asked_at_the_start_waits_for_the_first_resolution(
    nsd: Nsd, internet: FakeInternet, start: Start
) -> None:
    internet.set("late.test", "A", ["203.0.113.7"])
    internet.late_s = 0.4
    try:
        proxy = start(two(nsd, internet, "late.test", resolver_={"timeout": "1500ms"}), ready=False)
        assert addresses(proxy) == {"203.0.113.7"}
    finally:
        internet.late_s = 0.0


def test_rates_are_those_of_all_together(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    """So many in one second, from many ports: as many answers as are written, not as many from each worker."""
    rate = 40
    proxy = start(two(nsd, internet, limits={"responses_per_second": rate, "slip": 0}))
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4 * rate)]
    began = monotonic()
    for client in clients:
        client.connect(proxy.address)
        client.send(APEX.to_wire())
    until(lambda: sum(queries(proxy).values()) + proxy.metrics().value("limited_total") >= len(clients), "all is read")
    answered = proxy.metrics().value("queries_total", verdict="flattened")
    took = monotonic() - began
    for client in clients:
        client.close()
    assert 0.5 * rate < answered <= rate * (1 + took)


# Trouble


def test_one_worker_that_cannot_follow_keeps_all_as_they_were(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    proxy = start(two(nsd, internet))
    pid = pids(proxy)[2]
    other = configuration(
        upstream=[("127.0.0.9", 9), nsd.address],
        resolver=[internet.address],
        flatten={"example.com": {"target": "two.test", "types": ["A"]}},
        listen={"workers": WORKERS},
    )
    opened = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (max(opened + 5, 60),) * 2)
    failed = proxy.reload(other, "reload_failed")
    assert "cannot open a socket to every upstream server" in failed["error"]
    assert addresses(proxy) == {"203.0.113.1"}
    assert {labels["server"] for labels, _ in proxy.metrics().samples("upstream_up")} == {f"127.0.0.1:{nsd.port}"}
    assert not proxy.since(0, "worker_died")
    mark = proxy.mark
    os.kill(pid, signal.SIGKILL)
    proxy.wait_event("worker_started", mark=mark, worker=2)
    proxy.reload(other)
    assert addresses(proxy) == {"203.0.113.2"}


def test_a_worker_that_cannot_start_is_tried_again_after_growing_pauses(
    nsd: Nsd, internet: FakeInternet, start: Start
) -> None:
    """The other one goes on alone meanwhile, and the pages say so."""
    proxy = start(two(nsd, internet))
    mark = proxy.mark
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (40, 40))  # which a worker inherits, and which is too few
    os.kill(pids(proxy)[1], signal.SIGKILL)
    seen: list[float] = []

    def failed() -> bool:
        while len(seen) < len(proxy.since(mark, "worker_failed", worker=1)):
            seen.append(monotonic())
        return len(seen) >= 4

    with Load(proxy.address, [("example.com", "A")] * 3) as load:
        until(failed, lambda: proxy.log, 20)
    pauses = [after - before for before, after in pairwise(seen)]
    assert pauses[-1] > pauses[-2] > 0.4
    assert not load.lost, "the other one reads its sockets as well"
    assert sum(each.took_s > 0.2 for each in load.asked) <= 3, "but for the first second"
    assert max(each.took_s for each in load.asked) < 2
    assert "may open 40 files only" in proxy.since(mark, "worker_failed")[0]["reason"]
    assert not proxy.since(mark, "channel_failed")
    status, body = proxy.get("/readyz")
    assert (status, json.loads(body)["missing"]) == (503, ["worker 1 of 2: not serving"])
    assert proxy.get("/healthz")[0] == 200
    assert proxy.metrics().value("workers") == 1


def test_root_is_given_up_by_all(nsd: Nsd, internet: FakeInternet, service: Prepare, open_folder: Path) -> None:
    python, environ = readable_python()
    proxy = service(two(nsd, internet), open_folder, python=python, environ=environ, arguments=("--user", NOBODY))
    proxy.start()
    mark = proxy.mark
    os.kill(pids(proxy)[1], signal.SIGKILL)
    proxy.wait_event("worker_started", mark=mark)
    uid = str(pwd.getpwnam(NOBODY).pw_uid)
    for pid in (proxy.pid, *pids(proxy).values()):
        status = Path(f"/proc/{pid}/status").read_text()
        assert re.findall(r"^Uid:\s+(.*)$", status, re.MULTILINE)[0].split() == [uid] * 4
        assert re.findall(r"^CapEff:\s+(.*)$", status, re.MULTILINE) == ["0" * 16]
    assert addresses(proxy) == {"203.0.113.1"}


def test_a_directory_that_others_write_to_is_no_place_for_our_code(
    nsd: Nsd, internet: FakeInternet, service: Prepare
) -> None:
    """A module in the directory that the service happens to run in is not the one that a worker loads."""
    proxy = service(two(nsd, internet))
    for name in ("flatproxy", "twisted", "asyncio"):
        (proxy.folder / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    proxy.python = str(_entry_point(proxy.folder))
    proxy.start()
    assert addresses(proxy) == {"203.0.113.1"}


def _entry_point(folder: Path) -> Path:
    """Write what runs flatproxy as an installed command does, whose directory of modules is not the current one."""
    path = folder / "as-installed"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -P "$@"\n')
    path.chmod(0o755)
    return path
