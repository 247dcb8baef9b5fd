"""One probe of one address, and what it says: of the address, or only of this machine."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING, Any, Final, NoReturn

from attrs import define

from flatproxy.errors import NoWay, ProbeFailed
from flatproxy.flatten.health.http import status_of

if TYPE_CHECKING:
    from flatproxy.config.settings import Check
    from flatproxy.flatten.health.http import Trust

_ANY_PORT: Final = 9
"""No packet goes there: connecting a UDP socket only looks for a route."""
_OURS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPERM}
)


@define(eq=False)
class Prober:
    """Makes probes on Twisted's reactor, which must be that of the running asyncio loop. No `trust`: no HTTPS."""

    reactor: Any
    trust: Trust | None = None

    async def probe(self, check: Check, address: bytes) -> None:
        """Return where the address is well.

        Raises `ProbeFailed` where it is not, `NoWay` where the probe could not be sent.
        """
        family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
        host = socket.inet_ntop(family, address)
        try:
            async with asyncio.timeout(check.timeout_s):
                if check.kind == "tcp":
                    await _connect(family, host, check.port)
                    return
                status = await status_of(self.reactor, host, check, self.trust)
        except TimeoutError:
            raise ProbeFailed(f"no answer within {check.timeout_s:g} s") from None
        except OSError as error:
            _raise_for(error, family, host)
        if not any(low <= status <= high for low, high in check.status):
            raise ProbeFailed(f"status {status}")


async def _connect(family: int, host: str, port: int) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(0)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))


def _raise_for(error: OSError, family: int, host: str) -> NoReturn:
    """Raise what a connection that did not come about says.

    Without a route from here, as to IPv6 addresses from a machine that has none, nothing is known of the address.
    """
    if error.errno not in _OURS:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((host, _ANY_PORT))
        except OSError as ours:
            error = ours
        else:
            raise ProbeFailed(_text(error)) from None
    raise NoWay(_text(error)) from None


def _text(error: OSError) -> str:
    """Return the system's own words: asyncio and Twisted put others around them."""
    return os.strerror(error.errno) if error.errno else str(error)
