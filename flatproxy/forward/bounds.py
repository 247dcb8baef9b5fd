"""The bounds of every table on the road, in one place. `docs/limits.md` says what happens at each.

The defaults suit a machine of 1 GiB; descriptors are shared out at the start, from the process's own limit.
"""

from __future__ import annotations

import sys
from typing import Final

from attrs import frozen

from flatproxy.errors import FlatproxyError

if sys.platform != "win32":
    import resource

PENDING: Final = 16_384
"""UDP queries under way to one nameserver."""
PENDING_SHARE: Final = PENDING // 4
"""UDP queries under way that one client may have once half of `PENDING` is taken."""
ONE_SHOTS: Final = 1_024
"""Signed and odd UDP queries under way to one nameserver, each on a socket of its own."""
SOCKETS: Final = 64
"""UDP sockets, so ports, to one nameserver."""
CONNECTIONS: Final = 1_024
"""TCP connections of clients; each may take an upstream connection as well."""
CONNECTIONS_A_CLIENT: Final = 256
PIPELINE: Final = 500
"""Queries under way on one TCP connection."""
PIPELINE_OCTETS: Final = 256 * 1024
"""Octets of queries under way on one TCP connection."""
IDLE_S: Final = 30.0
"""A TCP connection without a whole message either way and nothing under way is closed (RFC 7766 section 6.2.3)."""
STALLED_S: Final = 60.0
"""A client that reads nothing of what waits for it is cut off."""

_RESERVED = 160
"""Descriptors for 64 HTTP connections, 64 resolutions, the log, the state file and the listeners."""
_LEAST_RESERVED = 32
_FEWEST = 48
_ENOUGH = 8_192


def _raised_limit() -> int:
    """Return how many descriptors this process may open, having taken all that it may take."""
    if sys.platform == "win32":
        return _ENOUGH
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft


@frozen
class Descriptors:
    """How the process's descriptors are shared out."""

    sockets: int
    one_shots: int
    connections: int


def share_descriptors(servers: int, limit: int | None = None) -> Descriptors:
    """Share out the descriptors that this process may open; `FlatproxyError` where they are too few to run on."""
    if limit is None:
        limit = _raised_limit()
    if limit < _FEWEST:
        raise FlatproxyError(
            f"this process may open {limit} files only, it needs {_FEWEST} or more: "
            "raise LimitNOFILE= in the systemd unit, or `ulimit -n`"
        )
    left = limit - min(_RESERVED, max(_LEAST_RESERVED, limit // 4))
    sockets = max(min(SOCKETS, left // (4 * servers)), 1)
    left -= sockets * servers
    one_shots = max(min(ONE_SHOTS, left // (4 * servers)), 1)
    left -= one_shots * servers
    return Descriptors(sockets, one_shots, max(min(CONNECTIONS, left // 2), 1))
