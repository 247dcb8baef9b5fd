"""The bounds of every table on a query's way, in one place: `docs/limits.md` says what happens at each.

They suit a machine of 1 GiB. The `[limits]` of a configuration are another thing, see `rate_limits`.
"""

from __future__ import annotations

from typing import Final

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
SETTING_UP: Final = 8
"""TCP connections to one nameserver that are being set up; a listen queue may have no more than ten places."""
SETTLED_S: Final = 0.05
"""So long after it was opened, a connection on which nothing came yet no longer counts as being set up."""
PIPELINE: Final = 500
"""Queries under way on one TCP connection."""
PIPELINE_OCTETS: Final = 256 * 1024
"""Octets of queries under way on one TCP connection."""
IDLE_S: Final = 30.0
"""A TCP connection without a whole message either way and nothing under way is closed (RFC 7766 section 6.2.3)."""
STALLED_S: Final = 60.0
"""A client that reads nothing of what waits for it is cut off."""
RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""Octets that the kernel keeps for a UDP socket: a burst waits there."""
