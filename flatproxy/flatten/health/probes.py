"""One probe of one address, and what it says: of the address, or only of this machine."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING, Final, NoReturn

from attrs import field, frozen

from flatproxy.errors import NoWay, ProbeFailed, ProbeTimeout
from flatproxy.flatten.health.http import status_of
from flatproxy.flatten.health.streams import PlainStream, TlsStream
from flatproxy.flatten.health.tls import failure_text

if TYPE_CHECKING:
    from flatproxy.config.rules import Check
    from flatproxy.flatten.health.streams import Stream
    from flatproxy.flatten.health.tls import Contexts

_ANY_PORT: Final = 9
"""No packet goes there: connecting a UDP socket only looks for a route."""
_OURS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPERM}
)


@frozen(eq=False)
class Prober:
    """Makes probes. `tls` has what HTTPS needs, by `ca_file` and `verify`."""

    tls: Contexts = field(factory=dict)

    async def probe(self, check: Check, address: bytes) -> None:
        """Return where the address is well.

        Raises `ProbeFailed` where it is not, `NoWay` where the probe could not be sent.
        """
        family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
        host = socket.inet_ntop(family, address)
        try:
            async with asyncio.timeout(check.timeout_s):
                await self._probe(check, family, host)
        except TimeoutError:
            raise ProbeTimeout(f"no answer within {check.timeout_s:g} s") from None
        except ssl.SSLError as error:
            raise ProbeFailed(failure_text(error)) from None
        except OSError as error:
            _raise_for(error, family, host)

    async def _probe(self, check: Check, family: int, host: str) -> None:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(0)
            await asyncio.get_running_loop().sock_connect(sock, (host, check.port))
            if check.kind == "tcp":
                return
            stream: Stream = PlainStream(sock)
            if check.kind == "https":
                stream = TlsStream(stream, self.tls[check.ca_file, check.verify], check.host)
                await stream.open()
            status = await status_of(stream, check)
        if not any(low <= status <= high for low, high in check.status):
            raise ProbeFailed(f"status {status}")


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
