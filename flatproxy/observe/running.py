"""What the pages read of the running service. Callables are asked anew each time: a reload may replace what they give.

Nothing here is read before somebody looks, and nothing may be written to what is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from flatproxy.observe.recent import Counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from flatproxy.config.settings import Settings
    from flatproxy.observe.sources import AddressHealth, Reload
    from flatproxy.table.table import Table
    from flatproxy.table.target import Target


class WatchedNameserver(Counted, Protocol):
    """One nameserver."""

    @property
    def has_answered(self) -> bool:
        """Whether it is up, and has shown it."""


class Explanation(Protocol):
    """Why a name answers what it answers."""

    def lines(self) -> Iterable[str]:
        """Return it as text for people, 100 columns wide."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""


@frozen(kw_only=True)
class Running:
    """The service, as far as the pages know it. Times are monotonic seconds but for `started`, which is Unix time."""

    table: Table
    settings: Callable[[], Settings]
    listening: Callable[[], bool]
    """Whether packets are taken by anybody."""
    servers: Callable[[], Iterable[WatchedNameserver]]
    """The nameservers, in order of preference."""
    resolvers: Callable[[], Iterable[Counted]]
    reload: Callable[[], Reload]
    state_fails: Callable[[], bool]
    """Whether the state file could not be read or written the last time."""
    next_resolution: Callable[[Target], float | None]
    """Returns when a target is resolved next, None where that is under way or never."""
    sync_state: Callable[[bytes], str | None]
    """Returns how the zone's own record of a flagged name stands, None where it is not kept in step."""
    checked_addresses: Callable[[], Iterable[AddressHealth]]
    """Addresses that are checked, the sick ones first."""
    failing_open: Callable[[], Iterable[tuple[bytes, bool]]]
    """Names whose addresses are checked, and whether too few are well; those that fail open first."""
    sync_conflicts: Callable[[], Iterable[str]]
    """Names that are not written any more since somebody else has."""
    packet_path: Callable[[], str]
    """`C` or `Python`."""
    explain: Callable[[bytes], Awaitable[Explanation]]
    """Explains a flagged name (wire form): that asks the resolvers, and may take as long as they do."""
    now: Callable[[], float]
    wall: Callable[[], float]
    started: float
