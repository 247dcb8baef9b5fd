"""What can be wrong with `[sync]` that none of its keys shows: what it needs beside it. No file is opened here."""

from __future__ import annotations

from ipaddress import ip_address
from operator import attrgetter
from typing import TYPE_CHECKING

from flatproxy.config.problems import Refusal, problem, quoted
from flatproxy.config.tables import EXAMPLES
from flatproxy.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flatproxy.config.rules import Rules
    from flatproxy.config.settings import Endpoint, Sync


def reaches(server_at: Endpoint, listening_at: Endpoint) -> bool:
    """Return whether what is sent to one endpoint arrives at the other, as far as the two addresses tell."""
    if server_at.port != listening_at.port:
        return False
    to, own = ip_address(server_at.host), ip_address(listening_at.host)
    return to == own or (own.is_unspecified and to.is_loopback and to.version == own.version)


def without_table(rules: Rules) -> Iterator[Problem]:
    """Yield a problem where names are to be kept in step and there is no `[sync]`."""
    if any(map(attrgetter("sync"), rules.values())):  # not `groups`: these are kept, and the names are not final yet
        reason = "this table is required where a flattened name has sync = true"
        yield Problem(key="sync", reason=reason, write=EXAMPLES["sync"])


def beside_sync(sync: Sync, listening: Iterable[Endpoint], *, state: bool) -> Iterator[Problem]:
    """Yield what is missing beside a table that is right by itself, or too much."""
    if sync.gss and sync.key_file is not None:
        refusal = Refusal("updates are signed with a TSIG key or by Kerberos", "one of key_file and gss = true")
        yield problem("sync.key_file", str(sync.key_file), refusal)
    elif not sync.gss and sync.key_file is None:
        write = 'key_file = "/etc/flatproxy/sync.key", a key as tsig-keygen writes it; or gss = true for Kerberos'
        yield Problem(key="sync.key_file", reason="updates are signed: a key is required", write=write)
    if not state:
        reason = "this table is required with [sync]: what was written is kept there"
        yield Problem(key="state", reason=reason, write=EXAMPLES["state"])
    own = next((each for each in listening if sync.server is not None and reaches(sync.server, each)), None)
    if own is not None and sync.server is not None:
        refusal = Refusal(
            f"flatproxy listens there itself ({own} in listen.dns) and would see its own answers",
            f"the address of the nameserver that takes updates, like {quoted('192.0.2.53:53')}",
        )
        yield problem("sync.server", str(sync.server), refusal)
