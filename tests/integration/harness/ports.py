"""Ports of the loopback that are free for UDP and TCP alike."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from typing import Final

Address = tuple[str, int]

_SERVER_PORTS: Final = (12_000, 32_000)


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def text(address: Address) -> str:
    """Write an address as the configuration does."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse(written: str) -> Address:
    host, _, port = written.rpartition(":")
    return host.strip("[]"), int(port)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that was free a moment ago: whoever takes it must be ready to try another one.

    It is below the range from which kernels choose for clients (RFC 6335 section 6), so that it is still free when a
    server that was stopped takes it again.
    """
    for _ in range(200):
        port = random.randrange(*_SERVER_PORTS)
        with ExitStack() as stack:
            udp = stack.enter_context(socket.socket(family(host), socket.SOCK_DGRAM))
            tcp = stack.enter_context(socket.socket(family(host), socket.SOCK_STREAM))
            try:
                udp.bind((host, port))
                tcp.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError("no port free for UDP and TCP")


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
            udp.bind(("::1", 0))
    except OSError:
        return False
    return True
