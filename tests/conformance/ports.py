"""Ports that UDP and TCP share on loopback, and waiting until something is so."""

from __future__ import annotations

import random
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Below the kernel's range of ephemeral ports, so that no client's socket sits on a port between choice and use.
_LOWEST, _HIGHEST = 15000, 31000


def bind_pair(host: str, port: int = 0) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a TCP socket bound to one and the same port; the port is chosen where it is 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(200):
        chosen = port or random.randint(_LOWEST, _HIGHEST)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            udp.bind((host, chosen))
            tcp.bind((host, chosen))
        except OSError:
            udp.close()
            tcp.close()
            if port:
                raise
            continue
        return udp, tcp
    raise RuntimeError("no port is free for both UDP and TCP")


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free for UDP and TCP now, for programs that cannot be told to choose one."""
    udp, tcp = bind_pair(host)
    with udp, tcp:
        return int(udp.getsockname()[1])


def wait_until(true: Callable[[], object], wait_s: float = 5.0, step_s: float = 0.02) -> bool:
    """Poll until `true()` holds; tell whether it did within `wait_s`."""
    deadline = time.monotonic() + wait_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(step_s)
    return True
