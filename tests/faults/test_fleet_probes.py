"""Who of a fleet probes what, on the wire: two nodes at most, and a verdict takes both."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING

import dns.message
import dns.rrset
import pytest
from attrs import define, field

from tests.support.fleet import Fleet, addresses
from tests.support.internet import FakeInternet
from tests.support.network import in_own_network
from tests.support.owners import owner
from tests.support.redis import Redis
from tests.support.scripted import Scripted
from tests.support.waiting import let_pass, until
from tests.support.web import Health, web_servers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.ports import Address
    from tests.support.scripted import Query

    from .losses import Took

NODES = 4
HOSTS = ("127.0.1.1", "127.0.1.2", "127.0.1.3")
INTERVAL_S = 1.0
FALL = 2
SOA = "ns.example.com. hostmaster.example.com. 1 3600 600 86400 60"
ROUND_S = 300.0
"""How often a zone's SOA record is asked for again."""


@define(eq=False)
class Probers:
    """Takes note of who asks what; `ill` are the nodes to whom a host says that it is ill."""

    pids: dict[int, str] = field(factory=dict)
    asked: list[tuple[float, str, str]] = field(factory=list)
    ill: dict[str, set[str]] = field(factory=dict)

    def note(self, peer: Address, protocol: str, what: str) -> str:
        pid = owner(peer, protocol, tuple(self.pids))
        who = self.pids.get(pid, "nobody") if pid is not None else "nobody"
        self.asked.append((monotonic(), what, who))
        return who

    def of(self, what: str, since: float) -> Counter[str]:
        return Counter(who for at, each, who in tuple(self.asked) if each == what and at >= since)

    def two(self, what: str) -> tuple[str, ...]:
        """Return who has asked something for a while, where that were two, and none of them seldom; else nobody."""
        found = self.of(what, monotonic() - 6 * INTERVAL_S)
        return tuple(found) if len(found) == 2 and min(found.values()) > 2 else ()

    def know(self, fleet: Fleet) -> None:
        self.pids.update({node.pid: node.folder.name for node in fleet.nodes})


def begin(fleet: Fleet, probers: Probers) -> None:
    """Start all; return when each knows of each."""
    fleet.begin(NODES)
    probers.know(fleet)
    until(lambda: all(node.metrics().value("fleet_nodes") == NODES for node in fleet.nodes), "all know of all", 40)
    let_pass(5)  # until seats are taken again by these ranks


def test_two_nodes_probe_an_address_and_both_must_say(tmp_path: Path, note_took: Took) -> None:
    in_own_network(lambda: _see_who_probes(tmp_path, note_took))


def _see_who_probes(tmp_path: Path, note_took: Took) -> None:
    probers = Probers()

    def judge(host: str, peer: Address) -> Health:
        return Health.ERROR if probers.note(peer, "tcp", host) in probers.ill.get(host, set()) else Health.WELL

    with Redis(tmp_path) as store, FakeInternet() as resolver, Scripted() as nameserver, web_servers(HOSTS) as servers:
        resolver.set("lb.test", "A", HOSTS, 2)
        for server in servers:
            server.judge = lambda peer, host=server.host: judge(host, peer)
        health = {"check": "http", "port": servers[0].port, "interval": "1s", "timeout": "900ms"}
        health |= {"fall": FALL, "rise": 1, "minimum": 0.3}
        flatten = {"example.com": {"target": "lb.test", "types": ["A"], "health": health}}
        fleet = Fleet(tmp_path, store.url, resolver, nameserver.address, flatten)
        try:
            begin(fleet, probers)
            until(lambda: all(probers.two(host) for host in HOSTS), lambda: f"two probe each: {probers.asked}", 30)
            note_took("two of four fall ill", _both_must_say(fleet, probers, HOSTS[0]))
            _another_takes_the_seat(fleet, probers, HOSTS[0], note_took)
        finally:
            fleet.stop()


def _who_answers(fleet: Fleet, host: str) -> list[bool]:
    return [host in addresses(node) for node in fleet.nodes if node.alive]


def _both_must_say(fleet: Fleet, probers: Probers, host: str) -> float:
    """Let an address be ill for one node, then for both; return how long it takes from then until all know."""
    first, second = probers.two(host)
    probers.ill[host] = {first}
    began = monotonic()
    until(lambda: probers.of(host, began)[first] >= FALL + 2, "one sees that it is ill")
    assert all(_who_answers(fleet, host)), "one of two is not enough"
    probers.ill[host] = {first, second}
    began = monotonic()
    until(lambda: not any(_who_answers(fleet, host)), "all know that it is ill", 10)
    took_s = monotonic() - began
    probers.ill[host] = {second}
    began = monotonic()
    until(lambda: probers.of(host, began)[first] >= 3, "one sees that it is well")
    assert not any(_who_answers(fleet, host)), "one of two is not enough"
    probers.ill[host] = set()
    until(lambda: all(_who_answers(fleet, host)), "all know that it is well", 10)
    return took_s


def _another_takes_the_seat(fleet: Fleet, probers: Probers, host: str, note_took: Took) -> None:
    first, second = probers.two(host)
    next(node for node in fleet.nodes if node.folder.name == first).kill()
    began = monotonic()
    until(lambda: first not in (now := probers.two(host)) and len(now) == 2, "two probe it again", 60)
    note_took("a prober is killed, another has its seat", monotonic() - began)
    assert second in probers.two(host)
    probers.ill[host] = set(probers.two(host))
    until(lambda: not any(_who_answers(fleet, host)), "all know that it is ill", 10)


@pytest.mark.timeout(2 * ROUND_S)
def test_two_nodes_ask_for_a_zone_again(tmp_path: Path) -> None:
    in_own_network(lambda: _see_who_asks(tmp_path))


def _see_who_asks(tmp_path: Path) -> None:
    probers = Probers()

    def answer(query: Query) -> bytes:
        message = dns.message.from_wire(query.data)
        reply, question = dns.message.make_response(message), message.question[0]
        text = dns.rdatatype.to_text(question.rdtype)
        probers.note(query.peer, query.transport, f"{question.name.to_text(omit_final_dot=True)} {text}")
        soa = dns.rrset.from_text("example.com.", 60, "IN", "SOA", SOA)
        (reply.answer if text == "SOA" and question.name == soa.name else reply.authority).append(soa)
        return reply.to_wire()

    flatten = {"example.com": {"target": "lb.test", "types": ["A"]}}
    with Redis(tmp_path) as store, FakeInternet() as resolver, Scripted(answer) as nameserver:
        fleet = Fleet(tmp_path, store.url, resolver, nameserver.address, flatten)
        try:
            began = monotonic()
            begin(fleet, probers)
            assert monotonic() - began < ROUND_S / 2, "the first round is past"
            before = monotonic()
            until(lambda: probers.of("example.com DNSKEY", before), "the next round", 1.5 * ROUND_S)
            let_pass(began + ROUND_S + 60 - monotonic())
            found = probers.of("example.com DNSKEY", before)  # after its SOA record, which the pool asks for as well
            assert len(found) == 2, found
        finally:
            fleet.stop()
