"""What the metrics read: plain counts, and structural types of what lives in `forward`, `flatten` and `app`.

Everything here is read when a scrape asks, never before and never on the packet path. It must never write to
anything that it reads, and must never import a module that does what is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from flatproxy.counts import BucketTable, Replies, Traffic

RUNGS = {"pinned": -1.0, "fresh": 0.0, "held": 0.5, "stale": 1.0, "fallback": 2.0, "upstream": 3.0}
"""The rungs of the failure ladder, best first, and each one's value of the `rung` metric, which grows downwards."""


class Server(Protocol):
    """One of the nameservers behind us."""

    @property
    def endpoint(self) -> object:
        """Its address and port; `str` gives `192.0.2.53:53`."""

    @property
    def up(self) -> bool:
        """Whether it answers."""

    @property
    def pending(self) -> int:
        """Queries that wait for its reply now."""

    @property
    def sent(self) -> int:
        """Queries sent to it since the start."""

    @property
    def timeouts(self) -> int:
        """Queries that it did not answer in time."""

    @property
    def mismatched(self) -> int:
        """Messages from its address thrown away: wrong ID, wrong question, or not a response."""


class MeasuredResolver(Protocol):
    """What one of the resolvers was like."""

    @property
    def endpoint(self) -> object:
        """How it is asked; `str` gives it as the configuration has it, with its port."""

    @property
    def replies(self) -> Replies:
        """What it has replied."""

    @property
    def failures(self) -> Mapping[str, int]:
        """How often it gave no answer, by reason."""


class NameStatus(Protocol):
    """One flagged name and record type as it is answered now."""

    @property
    def name(self) -> str:
        """In presentation form without the trailing dot; escapes as in RFC 1035 section 5.1."""

    @property
    def rdtype(self) -> str:
        """The type as text, like `A`."""

    @property
    def rung(self) -> str:
        """One of `RUNGS`."""

    @property
    def absent(self) -> bool:
        """Whether the answer is fresh and says that the target has no address of this type."""

    @property
    def ttl_left_s(self) -> float:
        """Seconds until the fresh answer runs out; 0 on every other rung."""

    @property
    def age_s(self) -> float | None:
        """Seconds since the resolution that is served; None where none is."""

    @property
    def stale_left_s(self) -> float | None:
        """Seconds until the answer may no longer be served stale (RFC 8767 section 5); None where there is none."""

    @property
    def rdatas(self) -> Sequence[str]:
        """The rdatas that are served now, in text: addresses for `A` and `AAAA`."""

    @property
    def changed_at(self) -> float | None:
        """Unix time of the last change of the addresses."""

    @property
    def chain(self) -> Sequence[str]:
        """The names passed on the way to the addresses, the target first."""

    @property
    def outcomes(self) -> Mapping[str, int]:
        """Finished resolutions by outcome since the start."""


class SubnetCounts(Protocol):
    """Answers by client subnet."""

    @property
    def hits(self) -> int:
        """Queries that got one."""

    @property
    def evictions(self) -> int:
        """Those that made room for others."""

    def by_target(self) -> Mapping[str, int]:
        """Return how many there are of each target."""


class FleetStatus(Protocol):
    """A node's part in a fleet."""

    @property
    def joined(self) -> bool:
        """Whether the store can be used."""

    @property
    def nodes(self) -> int:
        """Nodes that are here, this one included; 1 while the store is lost."""

    @property
    def leases(self) -> int:
        """Leases that this node holds now."""

    @property
    def resolutions(self) -> Mapping[str, int]:
        """Resolutions by who made them: `own` and `fleet`."""

    @property
    def errors(self) -> Mapping[str, int]:
        """How often the store was lost, or could not be joined, by reason."""

    @property
    def refused(self) -> Mapping[str, int]:
        """Entries that were not believed, by reason."""

    @property
    def latency(self) -> BucketTable:
        """How long the store took for what was sent to it at once."""


class AddressHealth(Protocol):
    """One address of a target of a flagged name; names are in wire form."""

    @property
    def name(self) -> bytes:
        """The flagged name."""

    @property
    def target(self) -> bytes:
        """The target that has the address."""

    @property
    def address(self) -> bytes:
        """The address, of 4 or 16 octets."""

    @property
    def is_well(self) -> bool:
        """Whether it passes its checks."""

    @property
    def flaps(self) -> int:
        """How often that changed."""


class Reload(Protocol):
    """How the last loading of the configuration went."""

    @property
    def success(self) -> bool:
        """Whether the file could be used."""

    @property
    def digest(self) -> str:
        """SHA-256 in hex of the configuration in force."""

    @property
    def at(self) -> float:
        """Unix time of the last attempt."""


@frozen(kw_only=True)
class Sources:
    """Where a scrape reads. What a reload may replace is a callable, asked anew for each scrape.

    `statuses` and `not_fresh` take the monotonic time in seconds; `not_fresh` gives some of the names on other rungs,
    the longest there first, and costs what is taken of it. `names_by_rung` counts all. `addresses_cut` gives how many
    addresses are left out of answers now, `state_errors` failed reads and writes of the state file since the start (0
    where there is none), `signed_zones` the served zones found signed with DNSSEC,
    `keys_by_state` the keys of ours by zone and state, `placeholders_missing` names and types, some where very many,
    `sync_states` how many of the names that are kept in step stand how, `sync_outcomes` tries by outcome.
    """

    traffic: Callable[[], Traffic]
    packet_path: Callable[[], str]
    """`C` or `Python`."""
    dnstap_dropped: Callable[[], int | None]
    """Messages that the query log left out; None without one."""
    certificate_expires_at: Callable[[], float | None]
    """Unix time; None without DNS over TLS."""
    servers: Callable[[], Iterable[Server]]
    resolvers: Callable[[], Iterable[MeasuredResolver]]
    """Those of the configuration in force."""
    names_by_rung: Callable[[], Mapping[str, int]]
    statuses: Callable[[float], Iterable[NameStatus]]
    not_fresh: Callable[[float], Iterable[NameStatus]]
    resolve_latency: BucketTable
    probe_latency: BucketTable
    probes_late: Callable[[], int]
    checked_addresses: Callable[[], Iterable[AddressHealth]]
    """The addresses that are checked, the sick ones first."""
    failing_open: Callable[[], Iterable[tuple[bytes, bool]]]
    """The names whose addresses are checked, those first of which so few are well that all are answered."""
    addresses_cut: Callable[[], int]
    state_errors: Callable[[], int]
    signed_zones: Callable[[], Iterable[str]]
    keys_by_state: Callable[[], Mapping[tuple[str, str], int]]
    placeholders_missing: Callable[[], Iterable[tuple[str, str]]]
    tailoring: Callable[[], SubnetCounts]
    """What is known by client subnet."""
    fleet: Callable[[], FleetStatus | None]
    """None where there is no fleet."""
    shadow_counts: Callable[[], Iterable[tuple[tuple[str, str, str], int]]]
    """Comparisons in shadow mode by name, type and result."""
    sync_states: Callable[[], Mapping[str, int]]
    sync_outcomes: Callable[[], Mapping[str, int]]
    sync_conflicts: Callable[[], Iterable[str]]
    controllers: Callable[[], Iterable[tuple[str, int]]]
    """The flagged names that are Active Directory domains, and how many controllers clients inside do not find."""
    reload: Callable[[], Reload]
