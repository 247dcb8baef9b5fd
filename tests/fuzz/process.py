"""The whole process under mutated packets from every side: `python -m tests.fuzz.process [--seconds N] [--seed N]`.

Clients send broken queries, the nameserver breaks its answers, the resolver breaks its own. Between them canaries are
asked, an ordinary and a flattened one, over UDP and TCP: each must be answered rightly, all the time.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rrset

from tests.fuzz.mutation import mutated
from tests.support.configuration import configuration
from tests.support.dnsio import tcp_socket, udp_socket
from tests.support.packets import frame
from tests.support.proxy import Proxy
from tests.support.scripted import Answer, Query, Scripted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CANARIES = {"canary.example.com": "192.0.2.99", "example.com": "198.51.100.99"}
BURST = 64
RSS_GROWTH_KIB = 60 * 1024


def _honest(query: dns.message.Message) -> dns.message.Message:
    """Answer the canaries, their target, and an SOA for every name."""
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True).lower()
    addresses = {**CANARIES, "honest.lb.test": CANARIES["example.com"], "hostile.lb.test": "198.51.100.66"}
    if name in addresses and question.rdtype == 1:
        response.answer.append(dns.rrset.from_text(question.name, 1, "IN", "A", addresses[name]))
    elif name == "www.example.com":
        response.answer.append(dns.rrset.from_text(question.name, 1, "IN", "CNAME", "example.com."))
    else:
        soa = "ns.example.com. hostmaster.example.com. 1 2 3 4 1"
        response.authority.append(dns.rrset.from_text("example.com.", 1, "IN", "SOA", soa))
    return response


def _server(rng: random.Random, spared: Sequence[str]) -> Callable[[Query], Answer]:
    """Return a script that is honest about the spared names and breaks what it says of every other."""

    def script(query: Query) -> Answer:
        try:
            asked = dns.message.from_wire(query.data)
            name = asked.question[0].name.to_text(omit_final_dot=True).lower()
            reply = _honest(asked).to_wire()
        except (dns.exception.DNSException, ValueError, IndexError):
            return mutated(query.data, rng)
        if name in spared:
            return reply
        return [mutated(reply, rng) for _ in range(rng.randrange(3))]

    return script


def _seeds() -> list[bytes]:
    corpus = Path(__file__).parent / "corpus"
    seeds = [path.read_bytes() for folder in ("verdict", "landings") for path in sorted((corpus / folder).iterdir())]
    for name in ("www.example.com", "hostile.example.com", "a.example.com"):
        seeds += [dns.message.make_query(name, rdtype).to_wire() for rdtype in ("A", "AAAA", "TXT", "ANY")]
    return seeds


def _attack(proxy: Proxy, seeds: Sequence[bytes], rng: random.Random) -> int:
    """Send a burst of mutants over UDP and one connection; what comes back is not looked at here."""
    with udp_socket(proxy.address) as sock:
        for _ in range(BURST):
            message = mutated(rng.choice(seeds), rng)
            if rng.random() < 0.7:
                sock.send(message[:1_400])
            else:
                with contextlib.suppress(OSError), tcp_socket(proxy.address) as stream:
                    stream.sendall(frame(message[:65_535]) if rng.random() < 0.8 else message)
    return BURST


def _ask(proxy: Proxy, name: str, *, tcp: bool) -> dns.message.Message:
    query = dns.message.make_query(name, "A")
    if tcp:
        return proxy.ask(query, tcp=True)
    # A late reply to a mutant may come to a port that the kernel has given out again: wait for the one that fits.
    host, port = proxy.address
    # From another address than the attack: one client's crowd of unanswered queries is bounded at the others' gain.
    return dns.query.udp(query, host, timeout=4, port=port, source="127.0.0.2", ignore_errors=True)


def _canaries_sing(proxy: Proxy) -> None:
    for name, address in CANARIES.items():
        for tcp in (False, True):
            response = _ask(proxy, name, tcp=tcp)
            found = [rdata.to_text() for rrset in response.answer for rdata in rrset]
            assert found == [address], (name, tcp, str(response), proxy.log[-2000:])


def _rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def attack(seconds: float, seed: int) -> int:
    """Attack for this long and return how many packets were sent; `AssertionError` at the first finding."""
    rng = random.Random(seed)
    seeds = _seeds()
    nameserver = Scripted(_server(rng, ("canary.example.com",)))
    resolver = Scripted(_server(rng, ("honest.lb.test",)))
    nameserver.start()
    resolver.start()
    flatten = {"example.com": {"target": "honest.lb.test"}, "hostile.example.com": {"target": "hostile.lb.test"}}
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(
            upstream=[nameserver.address],
            resolver=[resolver.address],
            flatten=flatten,
            zones=["."],
            access={key: ["127.0.0.0/8"] for key in ("transfer", "update", "notify")},
            defaults={"max_ttl": "1s"},
        )
        proxy = Proxy(Path(folder), config)
        proxy.start()
        try:
            sent, began, first_rss = 0, monotonic(), _rss_kib(proxy.pid)
            while monotonic() - began < seconds:
                sent += _attack(proxy, seeds, rng)
                _canaries_sing(proxy)
            grown = _rss_kib(proxy.pid) - first_rss
            assert grown < RSS_GROWTH_KIB, f"grew by {grown} KiB"
            failed = proxy.since(0, "query_failed") + proxy.since(0, "resolve_failed") + proxy.since(0, "tick_failed")
            assert not failed, failed[0]
            proxy.stop()
        finally:
            if proxy.alive:
                proxy.kill()
            nameserver.stop()
            resolver.stop()
    return sent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    sent = attack(options.seconds, options.seed)
    print(f"{sent} packets, every canary answered")
    return 0


if __name__ == "__main__":
    sys.exit(main())
