"""Load from many source addresses, which dnsperf has not: one socket that sends as any address of 127.0.0.0/8."""

from __future__ import annotations

import select
import socket
from struct import Struct
from time import monotonic
from typing import TYPE_CHECKING, Final

from attrs import frozen

from flatproxy.forward.batches import BATCH, datagrams
from flatproxy.forward.socket_addresses import control_of, sockaddr_of

if TYPE_CHECKING:
    from collections.abc import Sequence

IN_FLIGHT: Final = 192
SILENCE_S: Final = 0.25
"""Without a reply for this long, what is under way counts as lost."""
_IP_PKTINFO: Final = 8
_PKTINFO: Final = Struct("@i4s4s")


@frozen
class Answered:
    """How many queries were answered in how many seconds, and how many were not."""

    completed: int
    lost: int
    seconds: float


def sources(count: int) -> list[bytes]:
    """Return so many addresses of the loopback network, 127.1.0.0 and up."""
    return [bytes([127, 1 + (number >> 16), number >> 8 & 255, number & 255]) for number in range(count)]


def ask(port: int, messages: Sequence[bytes], addresses: Sequence[bytes], seconds: float) -> Answered:
    """Ask a server on loopback for so long, each query from the next address, a fixed number under way."""
    io, to = datagrams(), sockaddr_of("127.0.0.1", port)
    clients = [
        to + control_of(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, address, bytes(4))) for address in addresses
    ]
    sent = completed = lost = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind(("0.0.0.0", 0))
        began = heard_at = now = monotonic()
        while now < began + seconds or sent > completed + lost:
            count = min(BATCH, IN_FLIGHT - (sent - completed - lost)) if now < began + seconds else 0
            if count > 0:
                batch = [messages[(sent + number) % len(messages)] for number in range(count)]
                io.send(sock, batch, [clients[(sent + number) % len(clients)] for number in range(count)])
                sent += count
            if select.select([sock], [], [], 0.05)[0]:
                heard_at = now
                completed += len(io.receive(sock))
            elif now > heard_at + SILENCE_S:
                lost, heard_at = sent - completed, now
            now = monotonic()
        return Answered(completed, lost, now - began)
