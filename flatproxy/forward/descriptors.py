"""How the process's descriptors are shared out, from its own limit: see `docs/limits.md`."""

from __future__ import annotations

import sys

from attrs import frozen

from flatproxy.errors import FlatproxyError
from flatproxy.forward.bounds import CONNECTIONS, ONE_SHOTS, SOCKETS

if sys.platform != "win32":
    import resource

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
