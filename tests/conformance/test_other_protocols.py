"""Other protocols on the DNS port, the log and the metrics under hostile names, HTTP."""

from __future__ import annotations

import random
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import dnsio, packets
from tests.support.waiting import let_pass, wait_until

from . import hostile, zones
from .http import fetch, series

if TYPE_CHECKING:
    from tests.support.nameserver import Nameserver

    from .arena import Launch
    from .subject import Subject

_MIB = 1 << 20
_TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(189))
_OTHER_PROTOCOLS = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: example.test\r\nUser-Agent: none\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "TLS": _TLS_HELLO,
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(40),
    "SMTP": b"EHLO example.test\r\nMAIL FROM:<a@example.test>\r\n",
    "random": random.Random(49).randbytes(3000),
}


@pytest.mark.must
@pytest.mark.parametrize("protocol", _OTHER_PROTOCOLS)
def test_049_other_protocols_on_tcp(proxy: Subject, protocol: str) -> None:
    with dnsio.Connection(proxy.address) as connection:
        connection.send_octets(_OTHER_PROTOCOLS[protocol])
        assert len(connection.rest(1)) < 600
        assert proxy.serves(zones.PLAIN)


@pytest.mark.must
def test_050_very_long_messages(proxy: Subject) -> None:
    with dnsio.Connection(proxy.address) as connection:
        connection.send(packets.query(zones.PLAIN) + bytes(65535 - 30))
        connection.receive(2)
    with dnsio.Connection(proxy.address) as connection:
        connection.send_octets(b"\xff\xff" + packets.query(zones.PLAIN) + bytes(30000 - 30))
    with dnsio.Connection(proxy.address) as connection:
        connection.send_octets(b"\xff\xff" + bytes(30000))
        connection.reset()
    assert proxy.serves(zones.PLAIN)


def crowded(size: int) -> list[bytes]:
    """Return messages of `size` octets that are cheap to send and may be dear to read: thousands of questions."""
    root = packets.question(".")
    deep = packets.question(b"\1a" * 127 + b"\0")
    chain, last = bytearray(root), 12
    while len(chain) + 18 < size:  # each name is a pointer to the pointer before
        here = 12 + len(chain)
        chain += (0xC000 | last).to_bytes(2, "big") + root[1:]
        last = here if here < 0x4000 else last
    bodies = [(bytes(chain), len(chain) // 6)]
    bodies += [(one * ((size - 12) // len(one)), (size - 12) // len(one)) for one in (root, deep)]
    return [
        packets.header(0x5050, packets.opcode(number), (count, 0, 0, 0)) + body
        for body, count in bodies
        for number in (packets.QUERY, packets.NOTIFY, packets.UPDATE)
    ]


@pytest.mark.must
@pytest.mark.parametrize(("size", "times"), [(1400, 60), (60000, 3)])
def test_050_crowded_messages_hold_nobody_up(proxy: Subject, size: int, times: int) -> None:
    slowest = 0.0
    connections = [dnsio.Connection(proxy.address) for _ in crowded(size)]
    with dnsio.udp_socket(proxy.address) as sock:
        for _ in range(times):
            for connection, message in zip(connections, crowded(size), strict=True):
                sock.send(message)
                push(connection.raw, packets.frame(message))
            asked = time.monotonic()
            assert proxy.serves(zones.PLAIN)
            slowest = max(slowest, time.monotonic() - asked)
    for connection in connections:
        connection.close()
    assert slowest < 0.3


def nasty_names() -> list[bytes]:
    """Return names that would write into a log or a metrics page, were they let to."""
    labels = [
        b"\r\nFORGED line", b"\nFORGED 1", b"\x1b[31mred", b'a"} 1\nforged_total{x="', b'\\n\\"', b"%s%n%x", b"\0\0",
        b'","event":"FORGED', b"\xff\xfe\x80", b"\x7f\x08\x08", b"$(reboot)", b"<script>", b"\x9b2J",
    ]  # fmt: skip
    origins = [packets.name(zones.PLAIN), packets.name("elsewhere.test"), b"\0"]
    return [bytes((len(label),)) + label + origin for label in labels for origin in origins]


def nasty_messages(count: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    stock = hostile.corpus()
    names = nasty_names()
    out = []
    for index in range(count):
        if index % 2:
            qclass = rng.choice((1, 1, 1, 3, 255, rng.randrange(65536)))
            out.append(packets.query(rng.choice(names), rng.randrange(65536), qclass))
        else:
            out.append(hostile.mutant(rng, stock))
    return out


def send_all(subject: Subject, messages: list[bytes]) -> None:
    """Send everything over UDP and a part of it over TCP; what comes back is of no interest."""
    for at in range(0, len(messages), 250):
        batch = messages[at : at + 250]
        dnsio.udp_gather([subject.address] * len(batch), batch, quiet_s=0.1, wait_s=0.5)
    dnsio.tcp_many(subject.address, messages[:300], window=100, wait_s=0.5)


@pytest.mark.must
def test_051_the_log_stays_small_and_whole(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd)
    if subject.process is None:
        pytest.skip("the log of an external subject is not at hand")
    before = len(subject.log().encode())
    send_all(subject, nasty_messages(3000, 51))
    log = subject.log()[before:]
    assert len(log.encode()) < _MIB
    assert "\x1b" not in log
    assert "\r" not in log
    assert not [line for line in log.splitlines() if line.lstrip().startswith("FORGED")]
    assert '"event":"FORGED' not in log
    assert subject.serves(zones.PLAIN)


@pytest.mark.must
def test_052_metrics_stay_valid_and_few(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd)
    if subject.http_port is None:
        pytest.skip("the subject has no metrics")
    before = series(fetch(subject.http_port)[1])
    assert before
    send_all(subject, nasty_messages(2000, 52))
    after = series(fetch(subject.http_port)[1])
    assert sum(after.values()) != sum(before.values()), "the metrics must have noticed"
    assert len(after.keys() - before.keys()) < 150
    assert not [key for key in after if "forged" in key.lower()]
    assert subject.serves(zones.PLAIN)


def http_nuisances(port: int) -> list[socket.socket]:
    """Open a hundred connections: half a request, endless headers, noise, requests whose answer is not read."""
    rng = random.Random(53)
    out = []
    for index in range(100):
        sock = socket.create_connection(("127.0.0.1", port), 5)
        sock.setblocking(False)
        out.append(sock)
        first = (
            b"GET /metrics HT",
            b"GET /metrics HTTP/1.1\r\n" + b"X-Long: " + b"x" * 200_000,
            rng.randbytes(4000),
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 200,
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n" + bytes(100_000),
        )[index % 5]
        push(sock, first)
    return out


def push(sock: socket.socket, data: bytes) -> None:
    """Send as much as goes without waiting; a peer that has closed is no error."""
    try:
        sock.send(data)
    except OSError:
        return


@pytest.mark.must
def test_053_hostile_http_clients(start: Launch, nsd: Nameserver) -> None:
    subject = start(nsd)
    if subject.http_port is None:
        pytest.skip("the subject has no metrics")
    port = subject.http_port
    assert fetch(port)[0] == 200
    memory = subject.rss()
    nuisances: list[socket.socket] = []
    opening = threading.Thread(target=lambda: nuisances.extend(http_nuisances(port)))
    opening.start()
    slowest, peak = 0.0, 0
    for step in range(150):
        asked = time.monotonic()
        assert dnsio.udp(subject.address, packets.query(f"n{step}.wild.{zones.PLAIN}")) is not None
        slowest = max(slowest, time.monotonic() - asked)
        peak = max(peak, subject.rss()) if step % 10 == 0 else peak
        for sock in nuisances[step % 2 :: 2]:
            push(sock, b"x" if step < 100 else b"x" * 5000)
        let_pass(0.01)
    opening.join(10)
    assert len(nuisances) == 100
    for sock in nuisances:
        sock.close()
    assert slowest < 0.3
    assert max(peak, subject.rss()) < memory + 60 * _MIB
    assert wait_until(lambda: fetch(port)[0] == 200, 10)
