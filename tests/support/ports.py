"""Addresses on the loopback, and ports there that are free for UDP and TCP alike."""

from __future__ import annotations

import os
import random
import socket
from typing import Final

Address = tuple[str, int]

# Below the range that the kernel gives to clients (RFC 6335 section 6): no client sits on a port between choice and
# use, and a server that was stopped finds its port free again. Each process of a run chooses from a part of its own.
_LOWEST, _HIGHEST = 12_000, 32_000
_PROCESSES: Final = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_PROCESS: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS: Final = range(_LOWEST, _HIGHEST)[_PROCESS::_PROCESSES]


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def text(address: Address) -> str:
    """Write an address as configurations do."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse(written: str) -> Address:
    host, _, port = written.rpartition(":")
    return host.strip("[]"), int(port)


def bind_pair(host: str = "127.0.0.1", port: int = 0) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a TCP socket bound to one port, chosen where it is 0. The TCP one does not listen yet."""
    for _ in range(200):
        chosen = port or random.choice(_PORTS)
        udp = socket.socket(family(host), socket.SOCK_DGRAM)
        tcp = socket.socket(family(host), socket.SOCK_STREAM)
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
    raise AssertionError("no port free for UDP and TCP")


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that was free a moment ago: whoever takes it must be ready to try another one."""
    udp, tcp = bind_pair(host)
    with udp, tcp:
        return int(udp.getsockname()[1])


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
            udp.bind(("::1", 0))
    except OSError:
        return False
    return True
