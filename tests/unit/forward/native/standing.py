"""A packet path on loopback, its clients, and its nameservers, all played by the test: no other thread, no sleeping."""

from __future__ import annotations

import select
import socket
from array import array
from time import monotonic_ns
from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.forward.native import _core
from flatproxy.wire import names, records
from tests.unit.wire.messages import SOA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flatproxy.forward.native._core import Answer, Handed, Layout, Stage

PATIENCE_S = 10.0
HOUR = 3600 * 10**9
LOOPBACK = bytes((127, 0, 0, 1))
ADDRESSES = (bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2)), bytes((192, 0, 2, 3)))
NO_RECORDS: Layout = (b"", 0, 0, 0, 0)


def wire(text: str) -> bytes:
    """Return a name in wire form, as it is written."""
    return b"".join(bytes((len(label),)) + label.encode() for label in text.split(".") if label) + names.ROOT


def layout(rdatas: Iterable[bytes] = ADDRESSES, rdtype: int = 1) -> Layout:
    """Return the records of these addresses."""
    made = [records.record(records.QNAME, rdtype, 0, rdata) for rdata in rdatas]
    return b"".join(made), len(made), 0, len(made), len(made[0])


def fresh(said: Layout | None = None, for_ns: int = HOUR, signed: Layout | None = None) -> Stage:
    """Return a stage whose TTL counts down."""
    until = monotonic_ns() + for_ns
    return until, until, 1, _core.NO_EXTENDED_ERROR, False, said or layout(), signed


def saying(*stages: Stage, then_forward: bool = False) -> Answer:
    """Return an answer of these stages, a fresh one without any."""
    answer = _core.Answer()
    answer.say(stages or (fresh(),), then_forward)
    return answer


SOA_RECORD = records.record(
    wire("example.com"), 6, 60, wire("ns.example.com") + wire("hostmaster.example.com") + bytes(range(20))
)
assert SOA.startswith("example.com.")


@define(eq=False)
class Standing:
    """One path with its surroundings. Timeouts are long where no test waits for them."""

    flagged: Mapping[str, Mapping[int, Answer]] = field(factory=dict)
    zones: Iterable[str] | None = ("example.com",)
    networks: Iterable[tuple[bytes, bytes]] | None = None
    threads: int = 1
    servers: int = 1
    timeout_s: float = 60.0
    wildcard: bool = False
    tells_client: bool = False
    limits: Mapping[str, float] = field(factory=dict)
    path: _core.Path = field(init=False)
    nameservers: list[socket.socket] = field(factory=list)
    doors: list[socket.socket] = field(factory=list)
    upstream: _core.Servers = field(init=False)
    udp: object = None
    port: int = 0
    _sockets: list[socket.socket] = field(factory=list)
    _handed: list[Handed] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        for _ in range(self.servers):
            udp, tcp = pair("127.0.0.1")
            self.nameservers.append(udp)
            self.doors.append(tcp)
        self.path = _core.Path(self.threads, **self.limits)  # type: ignore[arg-type]
        self.publish()
        self.upstream = self.servers_at(*(sock.getsockname()[1] for sock in self.nameservers))
        self.path.publish(self.upstream)
        for thread in range(self.threads):
            udp, tcp = pair("0.0.0.0" if self.wildcard else "127.0.0.1", self.port, shared=True)
            self.port = udp.getsockname()[1]
            udp.setblocking(False)
            tcp.setblocking(False)
            self.udp = self.path.listen(udp.detach(), thread=thread, wildcard=self.wildcard)
            self.path.listen(tcp.detach(), thread=thread, tcp=True)
        self.path.start()

    def servers_at(self, *ports: int) -> _core.Servers:
        at = tuple(("127.0.0.1", port) for port in ports)
        return _core.Servers(
            at, threads=self.threads, sockets=4, timeout_s=self.timeout_s, tells_client=self.tells_client
        )

    def publish(self, **more: object) -> None:
        """Put a table in force: as this one says, but for `more`."""
        flagged = {wire(text): answers for text, answers in self.flagged.items()}
        ranges = [] if self.networks is None else sorted(self.networks)
        said = {
            "names": b"".join(flagged),
            "rule_numbers": array("I", range(len(flagged))),
            "rules": tuple((False, tuple(answers.items())) for answers in flagged.values()),
            "zones": None if self.zones is None else b"".join(wire(zone) for zone in self.zones),
            "ipv4": b"".join(first + last for first, last in ranges if len(first) == 4),
            "ipv6": b"".join(first + last for first, last in ranges if len(first) == 16),
            "everyone": self.networks is None,
        }
        self.path.publish(_core.Table(**{**said, **more}))  # type: ignore[arg-type]

    def say_zones(self, facts: Mapping[str, tuple[int, bytes]]) -> _core.Zones:
        zones = _core.Zones(b"".join(wire(apex) for apex in facts), tuple(facts.values()))
        self.path.publish(zones)
        return zones

    def client(self, host: str = "127.0.0.1") -> socket.socket:
        """Return a UDP client."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(PATIENCE_S)
        sock.connect((host, self.port))
        self._sockets.append(sock)
        return sock

    def connect(self) -> socket.socket:
        """Return a TCP client."""
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        self._sockets.append(sock)
        return sock

    def link(self, server: int = 0) -> socket.socket:
        """Accept the connection that the path opens to a nameserver."""
        sock, _peer = self.doors[server].accept()
        sock.settimeout(PATIENCE_S)
        self._sockets.append(sock)
        return sock

    def ask(self, message: bytes) -> bytes:
        """Return the reply to a query over UDP."""
        client = self.client()
        client.send(message)
        return client.recv(65535)

    def forwarded(self, server: int = 0) -> tuple[bytes, tuple[str, int]]:
        """Return what a nameserver was sent, and from where."""
        message, peer = self.nameservers[server].recvfrom(65535)
        return message, peer

    def handed(self) -> Handed:
        """Return what is handed over next."""
        while not self._handed:
            assert select.select([self.path.fileno()], [], [], PATIENCE_S)[0], "nothing was handed over"
            self._handed += self.path.take()
        return self._handed.pop(0)

    def count(self, name: str) -> int:
        return int(self.path.counts()[name])

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what the path will come to by itself."""
        deadline = monotonic_ns() + int(PATIENCE_S * 10**9)
        while not holds():
            assert monotonic_ns() < deadline, "it did not come to that"
            select.select([], [], [], 0.005)

    def close(self) -> None:
        for sock in (*self.nameservers, *self.doors, *self._sockets):
            sock.close()
        self._handed.clear()
        self.path.stop()
        del self.path


def pair(host: str, port: int = 0, *, shared: bool = False) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a listening TCP socket on one port."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        for sock in (udp, tcp):
            sock.settimeout(PATIENCE_S)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            udp.bind((host, port))
            tcp.bind((host, udp.getsockname()[1]))
        except OSError:
            udp.close()
            tcp.close()
            if port:
                raise
            continue
        tcp.listen(64)
        return udp, tcp


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def read_framed(sock: socket.socket) -> bytes:
    """Return the next message of a stream; empty where the other side has closed."""
    length = _read(sock, 2)
    return _read(sock, int.from_bytes(length, "big")) if length else b""


def _read(sock: socket.socket, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        got = sock.recv(size - len(octets))
        if not got:
            return b""
        octets += got
    return octets
