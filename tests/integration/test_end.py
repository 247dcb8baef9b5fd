"""How the process ends, and what clients have of it until then."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

import dns.message
import dns.query
import dns.rcode

from tests.support import dnsio, packets, queries
from tests.support.configuration import configuration
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.scripted import Scripted, late, noerror
from tests.support.scripted import silent as say_nothing
from tests.support.waiting import until
from tests.support.zones import wire_name

if TYPE_CHECKING:
    from tests.support.nsd import Nsd

Start = Callable[..., Proxy]

_MX = dns.message.make_query("example.com", "MX")


def test_sigterm_answers_what_is_under_way(start: Start) -> None:
    """The nameserver takes 0.4 s: whoever asked before the signal has the reply, and the exit code is 0."""
    with Scripted(late(noerror, 0.4)) as slow:
        proxy = start(configuration(upstream=[slow.address]))
        wire = queries.query(wire_name("slow.example.com"), 1)
        with contextlib.ExitStack() as stack, dnsio.udp_socket(proxy.address) as udp:
            streams = [stack.enter_context(dnsio.tcp_socket(proxy.address)) for _ in range(20)]
            for number in range(20):
                udp.send(number.to_bytes(2, "big") + wire[2:])
                streams[number].sendall(packets.frame(number.to_bytes(2, "big") + wire[2:]))
            until(lambda: len(slow.with_octets(b"slow")) >= 40, "all of them asked")
            proxy.expected_to_end = True
            proxy.send(signal.SIGTERM)
            assert {udp.recv(4096)[:2] for _ in range(20)} == {number.to_bytes(2, "big") for number in range(20)}
            assert [(dnsio.read_frame(tcp) or b"")[:2] for tcp in streams] == [
                number.to_bytes(2, "big") for number in range(20)
            ]
        assert proxy.wait() == 0
        assert [event["event"] for event in proxy.events][-2:] == ["stopping", "stopped"]


def test_sigterm_lets_large_replies_out(start: Start) -> None:
    """A client with a small window has everything that was on its way when the signal came."""
    with Scripted(late(lambda query: noerror(query) + bytes(60_000), 0.2)) as large:
        proxy = start(configuration(upstream=[large.address]))
        wire = queries.query(wire_name("large.example.com"), 16)
        with socket.socket() as tcp:
            tcp.settimeout(dnsio.UDP_WAIT_S)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            tcp.connect(proxy.address)
            tcp.sendall(b"".join(packets.frame(bytes([0, number]) + wire[2:]) for number in range(10)))
            until(lambda: len(large.with_octets(b"large")) >= 10, "all of it asked for")
            proxy.expected_to_end = True
            proxy.send(signal.SIGTERM)
            replies = [dnsio.read_frame(tcp) or b"" for _ in range(10)]
        assert sorted(reply[1] for reply in replies) == list(range(10))
        assert {len(reply) for reply in replies} == {len(wire) + 60_000}
        assert proxy.wait() == 0


def test_sigterm_waits_no_longer_than_a_second(start: Start) -> None:
    with Scripted(say_nothing) as silent:
        proxy = start(configuration(upstream=[silent.address], upstream_={"timeout": "30s"}), ready=False)
        with dnsio.udp_socket(proxy.address) as udp, dnsio.tcp_socket(proxy.address) as tcp:
            udp.send(queries.query(wire_name("never.example.com"), 1))
            tcp.sendall(packets.frame(queries.query(wire_name("never.example.com"), 1)))
            until(lambda: len(silent.with_octets(b"never")) >= 2, "both asked")
            began = monotonic()
            proxy.stop()
            assert monotonic() - began < 5, "a second to drain, and what a busy machine takes for the end"


def test_the_port_is_free_afterwards(nsd: Nsd, start: Start) -> None:
    config = configuration(upstream=[nsd.address], dns=[f"127.0.0.1:{free_port()}"])
    first = start(config)
    with dnsio.tcp_socket(first.address) as idle:
        idle.sendall(b"\0")
        first.stop()
    again = start(config)
    assert again.ask(_MX).answer
    assert again.ask(_MX, tcp=True).answer


def test_sigint_ends_it_as_well(nsd: Nsd, start: Start) -> None:
    proxy = start(configuration(upstream=[nsd.address]))
    proxy.expected_to_end = True
    proxy.send(signal.SIGINT)
    assert proxy.wait() in {0, 130}


def test_a_stop_for_a_while(nsd: Nsd, start: Start) -> None:
    """SIGSTOP and SIGCONT: what came meanwhile is answered."""
    proxy = start(configuration(upstream=[nsd.address]))
    proxy.send(signal.SIGSTOP)
    try:
        with dnsio.udp_socket(proxy.address) as sock:
            sock.send(_MX.to_wire())
            proxy.send(signal.SIGCONT)
            assert sock.recv(4096)[:2] == _MX.to_wire()[:2]
    finally:
        proxy.send(signal.SIGCONT)
