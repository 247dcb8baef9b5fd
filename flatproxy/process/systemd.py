"""What systemd and a service say to each other: sockets passed at the start, and notes on how the service is doing.

Descriptors from 3 on with LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES (sd_listen_fds(3)), datagrams to NOTIFY_SOCKET
(sd_notify(3)), WATCHDOG_USEC (sd_watchdog_enabled(3)). Without these variables all of it is silent, on every system.
It opens no listening socket, and a note that cannot be sent must never be the service's problem.
"""

from __future__ import annotations

import contextlib
import os
import socket
from ipaddress import ip_address
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from attrs import define, frozen

from flatproxy.config.settings import Endpoint
from flatproxy.errors import ConfigError, Problem
from flatproxy.forward.listeners.sockets import ListenSocket

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping, Sequence

FIRST: Final = 3
"""The first descriptor that is passed (SD_LISTEN_FDS_START)."""

_UNIT_KEYS: Final[dict[int, str]] = {socket.SOCK_DGRAM: "ListenDatagram", socket.SOCK_STREAM: "ListenStream"}
_TRANSPORTS: Final[dict[int, str]] = {socket.SOCK_DGRAM: "UDP", socket.SOCK_STREAM: "TCP"}


@frozen
class Passed:
    """A socket that was passed, and the name its unit gives it (FileDescriptorName=, by default the unit's own)."""

    socket: socket.socket
    name: str


def passed_sockets(environ: MutableMapping[str, str], pid: int, first: int = FIRST) -> list[Passed]:
    """Return the sockets passed to the process `pid`; their variables leave `environ`. `ConfigError` for no sockets."""
    count, receiver, names = (environ.pop(key, "") for key in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"))
    if receiver != str(pid) or not count.isdecimal():
        return []  # none, or meant for a process that started this one
    each_name = dict(enumerate(names.split(":")))
    found = []
    for number in range(int(count)):
        try:
            sock = socket.socket(fileno=first + number)
        except OSError as error:
            reason = f"systemd passed descriptor {first + number}, which is no socket: {error.strerror}"
            write = "ListenDatagram= and ListenStream= alone into the socket unit, no other Listen…="
            raise ConfigError(problems=(Problem(reason=reason, write=write),)) from None
        sock.set_inheritable(False)
        sock.setblocking(False)  # noqa: FBT003 - the socket module's signature
        found.append(Passed(sock, each_name.get(number) or "unknown"))
    return found


def adopt(
    passed: Sequence[Passed], addresses: Sequence[Endpoint], tls: Sequence[Endpoint] = ()
) -> dict[Endpoint, tuple[ListenSocket, ...]]:
    """Return the passed sockets by the listen address that each pair is for; the others are left to be bound.

    An address of `tls` has one for TCP alone. `ConfigError` where one of a pair is missing, or a socket is for no
    address: nobody would answer there.
    """
    pairs: dict[Endpoint, dict[int, socket.socket]] = {}
    problems: list[Problem] = []
    for each in passed:
        problem = _place(each, addresses, tls, pairs)
        if problem is not None:
            problems.append(problem)
    alone = {endpoint: pairs.pop(endpoint) for endpoint in tls if endpoint in pairs}
    problems += _halves(pairs)
    if problems:
        raise ConfigError(problems=tuple(problems))
    return {endpoint: (ListenSocket("tls", sock),) for endpoint, kinds in alone.items() for sock in kinds.values()} | {
        endpoint: (ListenSocket("udp", pair[socket.SOCK_DGRAM]), ListenSocket("tcp", pair[socket.SOCK_STREAM]))
        for endpoint, pair in pairs.items()
    }


def _place(
    passed: Passed,
    addresses: Sequence[Endpoint],
    tls: Sequence[Endpoint],
    pairs: dict[Endpoint, dict[int, socket.socket]],
) -> Problem | None:
    """Put a socket to its listen address; return what is wrong with it otherwise."""
    sock, kind = passed.socket, passed.socket.type
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or kind not in _TRANSPORTS:
        return Problem(
            reason=f"systemd passed a socket of {passed.name} that is neither UDP nor TCP",
            write="ListenDatagram=192.0.2.1:53 and ListenStream=192.0.2.1:53, with your address, into the socket unit",
        )
    host, port = sock.getsockname()[:2]
    at = Endpoint(host, port)
    said = f"systemd passed a socket of {passed.name} for {at} ({_TRANSPORTS[kind]})"
    if kind == socket.SOCK_STREAM and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return Problem(reason=f"{said} that does not listen", write="Accept=no into the socket unit")
    if host == "::" and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        # IPv4 clients would come as ::ffff:192.0.2.1, which no access list means.
        return Problem(reason=f"{said} that takes IPv4 as well", write="BindIPv6Only=ipv6-only into the socket unit")
    own_addresses = [*addresses, *tls] if kind == socket.SOCK_STREAM else addresses
    endpoint = next((own for own in own_addresses if _same(own, at)), None)
    if endpoint is None:
        return Problem(
            reason=f"{said}, which is not in listen.dns",
            write=f'"{at}" into listen.dns, or take {_UNIT_KEYS[kind]}={at} out of the socket unit',
        )
    if kind in pairs.setdefault(endpoint, {}):
        return Problem(reason=f"{said} twice", write=f"{_UNIT_KEYS[kind]}={at} once, in one socket unit")
    pairs[endpoint][kind] = sock
    return None


def _same(one: Endpoint, other: Endpoint) -> bool:
    return one.port == other.port and ip_address(one.host) == ip_address(other.host)


def _halves(pairs: Mapping[Endpoint, Mapping[int, socket.socket]]) -> Iterator[Problem]:
    for endpoint, pair in pairs.items():
        for kind in _UNIT_KEYS.keys() - pair.keys():
            (given,) = pair
            reason = f"systemd passed {endpoint} for {_TRANSPORTS[given]} only: DNS needs UDP and TCP"
            yield Problem(reason=reason, write=f"{_UNIT_KEYS[kind]}={endpoint} into the socket unit as well")


@define(eq=False)
class Notifier:
    """Tells systemd how the service is doing. `watchdog_s`: seconds from one sign of life to the next, 0.0 for none."""

    watchdog_s: float = 0.0
    _socket: socket.socket | None = None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], pid: int) -> Notifier:
        """Return the notifier that these variables ask for; they leave `environ`."""
        address, period, watched = (environ.pop(key, "") for key in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"))
        sock = _connected(address)
        if sock is None or not period.isdecimal() or watched not in ("", str(pid)):
            return cls(0.0, sock)
        return cls(int(period) / 2 / 1_000_000, sock)  # half, as sd_watchdog_enabled(3) recommends

    def ready(self, status: str = "") -> None:
        """Say that the start or the reload is done."""
        self._send("READY=1", *([f"STATUS={status}"] if status else []))

    def reloading(self) -> None:
        """Say that a reload begins; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1_000}")

    def stopping(self) -> None:
        """Say that the end begins."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Give a sign of life."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send("\n".join(lines).encode())


def _connected(address: str) -> socket.socket | None:
    """Return a socket to that path, or to the abstract name behind an @; None where there is none to be had."""
    if address[:1] not in ("/", "@") or not hasattr(socket, "AF_UNIX"):
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)  # noqa: FBT003 - the socket module's signature
    try:
        sock.connect("\0" + address[1:] if address[0] == "@" else os.fsencode(address))
    except OSError:
        sock.close()
        return None
    return sock
