"""Every metric family of flatproxy: its name, kind, labels and help text, written once.

No value is read or kept here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import field, frozen
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PREFIX: Final = "flatproxy_"
_SUFFIX: Final = {"counter": "_total", "info": "_info", "gauge": ""}

Reading = tuple[tuple[str, ...], float]
"""The values of a family's labels, in the order of `Family.labels`, and the value."""


@frozen
class Family:
    """One metric family. `kind` is `counter`, `gauge`, `histogram` or `info`; `name` has neither prefix nor suffix.

    A counter is exposed with `_total` and an info with `_info` at its end (Prometheus' naming conventions).
    """

    kind: str
    name: str
    help: str
    labels: tuple[str, ...] = field(default=())

    @property
    def exposed(self) -> str:
        """The name that stands in the TYPE line of a scrape."""
        return PREFIX + self.name + _SUFFIX.get(self.kind, "")

    def empty(self) -> Metric:
        """Give the family without a sample."""
        return Metric(PREFIX + self.name, self.help, self.kind)

    def samples(self, readings: Iterable[Reading]) -> list[Sample]:
        """Give the samples of readings. Not for histograms."""
        exposed, labels = self.exposed, self.labels
        return [Sample(exposed, dict(zip(labels, values, strict=True)), value) for values, value in readings]

    def of(self, *readings: Reading) -> Metric:
        """Give the family with these readings."""
        metric = self.empty()
        metric.samples = self.samples(readings)
        return metric


class Pieces(Metric):
    """A family whose samples are made when they are asked for: a piece at a time, or all at once as `samples`."""

    def __init__(self, family: Family, pieces: Iterable[Iterable[Reading]]) -> None:
        self._made: list[Sample] = []
        self._rest = map(family.samples, pieces)
        super().__init__(PREFIX + family.name, family.help, family.kind)

    def pieces(self) -> Iterator[list[Sample]]:
        """Make the samples that are not made yet, with a rest after each piece."""
        for piece in self._rest:
            self._made += piece
            yield piece

    @property
    def samples(self) -> list[Sample]:
        """All samples."""
        for _piece in self.pieces():
            pass
        return self._made

    @samples.setter
    def samples(self, samples: list[Sample]) -> None:
        self._made = samples


_NAME = ("name", "type")

QUERIES = Family(
    "counter",
    "queries",
    "Queries from clients by transport and by what was done with them.",
    ("transport", "verdict"),
)
REPLIES = Family("counter", "replies", "Replies sent to clients by response code.", ("rcode",))
MALFORMED = Family("counter", "malformed", "Messages from clients that were not understood, forwarded or dropped.")
UNSENT = Family("counter", "unsent", "Replies to clients that the kernel would not send.")
LIMITED = Family("counter", "limited", "Queries above the rate limit of where they came from.")
OVERLOADED = Family(
    "counter", "overloaded", "Queries answered with SERVFAIL because too many were waiting for a nameserver."
)
FORWARD_SECONDS = Family(
    "histogram", "forward_seconds", "Time from sending a query to a nameserver to having its reply."
)
RESOLVE_SECONDS = Family("histogram", "resolve_seconds", "Time of one whole resolution of a target, chain and all.")
TCP_CONNECTIONS = Family("gauge", "tcp_connections", "Client connections over TCP and TLS open now.")
TCP_REFUSED = Family("counter", "tcp_refused", "Client TCP connections closed at once for want of room.")
TCP_EVICTED = Family("counter", "tcp_evicted", "Idle client TCP connections closed to make room for another.")
DNSTAP_DROPPED = Family("counter", "dnstap_dropped", "Messages that the query log left out for want of a reader.")
TLS_FAILED = Family("counter", "tls_failed", "Client connections over TLS that ended before the handshake was done.")
CERTIFICATE_EXPIRES = Family(
    "gauge", "tls_certificate_expiry_timestamp_seconds", "Unix time at which the certificate in use expires."
)

UPSTREAM_UP = Family("gauge", "upstream_up", "Whether the nameserver answers: 1 or 0.", ("server",))
UPSTREAM_PENDING = Family("gauge", "upstream_pending", "Queries that wait for the nameserver's reply now.", ("server",))
UPSTREAM_SENT = Family("counter", "upstream_sent", "Queries sent to the nameserver.", ("server",))
UPSTREAM_TIMEOUTS = Family(
    "counter", "upstream_timeouts", "Queries that the nameserver did not answer in time.", ("server",)
)
UPSTREAM_MISMATCHED = Family(
    "counter",
    "upstream_mismatched",
    "Messages from the nameserver's address thrown away: wrong ID, wrong question, or not a response.",
    ("server",),
)
RESOLVER_SECONDS = Family(
    "histogram", "resolver_seconds", "Time from asking a resolver to having its reply.", ("resolver",)
)
RESOLVER_FAILURES = Family(
    "counter", "resolver_failures", "Questions that a resolver did not answer well, by reason.", ("resolver", "reason")
)

NAMES = Family("gauge", "names", "Flagged names, counted once per record type, by rung of the ladder.", ("rung",))
RUNG = Family(
    "gauge",
    "rung",
    "Rung that answers now: -1 pinned, 0 fresh, 0.5 held, 1 stale, 2 fallback, 3 the nameserver's own answer.",
    _NAME,
)
ABSENT = Family("gauge", "absent", "Whether the target has no address of this type: 1 or 0.", _NAME)
TTL_LEFT = Family("gauge", "ttl_left_seconds", "Time until the fresh answer runs out.", _NAME)
AGE = Family("gauge", "age_seconds", "Time since the resolution that is served.", _NAME)
STALE_LEFT = Family("gauge", "stale_left_seconds", "Time until the answer may no longer be served stale.", _NAME)
ADDRESS_INFO = Family("info", "address", "An address that is served now; always 1.", (*_NAME, "address"))
ADDRESS_CHANGE = Family(
    "gauge", "address_change_timestamp_seconds", "Unix time of the last change of the addresses.", _NAME
)
CHAIN_LENGTH = Family("gauge", "chain_length", "Names passed on the way to the addresses, the target counted.", _NAME)
HEALTH_UP = Family(
    "gauge",
    "health_up",
    "Whether an address of a flagged name's target passes its checks: 1 or 0.",
    ("name", "target", "address"),
)
HEALTH_FLAPS = Family(
    "counter",
    "health_flaps",
    "How often an address of a flagged name's target fell sick or got well.",
    ("name", "target", "address"),
)
HEALTH_FAILING_OPEN = Family(
    "gauge",
    "health_failing_open",
    "Whether so few addresses of a flagged name's targets are well that all are answered: 1 or 0.",
    ("name",),
)
HEALTH_LATE = Family(
    "counter", "health_probes_late", "Probes of addresses that began more than a tenth of their interval late."
)
HEALTH_SECONDS = Family("histogram", "health_probe_seconds", "Time of one probe of an address, failed ones included.")
RESOLUTIONS = Family("counter", "resolutions", "Finished resolutions by outcome.", (*_NAME, "outcome"))
SHADOW = Family(
    "counter", "shadow", "Comparisons of names in shadow mode with the nameserver's replies.", (*_NAME, "result")
)

SUBNET_ENTRIES = Family(
    "gauge", "subnet_entries", "Client subnets that a target has an answer of its own for.", ("target",)
)
SUBNET_HITS = Family("counter", "subnet_hits", "Queries that got the answer kept for their client subnet.")
SUBNET_EVICTIONS = Family("counter", "subnet_evictions", "Answers by client subnet that made room for others.")

DNSSEC_KEY = Family("gauge", "dnssec_key", "Keys of ours by zone and state.", ("zone", "state"))
PLACEHOLDER_MISSING = Family(
    "gauge", "dnssec_placeholder_missing", "A flattened type without a record in its signed zone; always 1.", _NAME
)
ZONE_SIGNED = Family("gauge", "zone_signed", "A served zone that is signed with DNSSEC; always 1.", ("zone",))
CONTROLLERS = Family(
    "gauge", "domain_controllers", "Domain controllers that clients inside do not find at a flagged name.", ("name",)
)
ADDRESSES_CUT = Family(
    "gauge", "addresses_cut", "Addresses of targets left out of answers, a target having more than 2000 of a type."
)
STATE_ERRORS = Family("counter", "state_errors", "Failed reads and writes of the state file.")
FLEET_STORE_UP = Family("gauge", "fleet_store_up", "Whether the fleet's store can be used: 1 or 0.")
FLEET_STORE_SECONDS = Family(
    "histogram", "fleet_store_seconds", "Time from sending commands to the fleet's store to having all results."
)
FLEET_STORE_ERRORS = Family(
    "counter",
    "fleet_store_errors",
    "How often the fleet's store was lost, or could not be joined, by reason.",
    ("reason",),
)
FLEET_RESOLUTIONS = Family(
    "counter", "fleet_resolutions", "Resolutions made by this node, or taken from the fleet.", ("by",)
)
FLEET_LEASES = Family("gauge", "fleet_leases", "Leases of the fleet's that this node holds.")
FLEET_REFUSED = Family(
    "counter", "fleet_entries_refused", "Entries of the fleet's store that were not believed, by reason.", ("reason",)
)
FLEET_NODES = Family("gauge", "fleet_nodes", "Nodes of the fleet seen in the last 15 s; 1 while the store is lost.")
SYNC_NAMES = Family("gauge", "sync_names", "Names whose records are kept in step, by how they stand.", ("state",))
SYNC_TRIES = Family("counter", "sync_tries", "Tries to keep a record in step by outcome.", ("outcome",))
SYNC_CONFLICT = Family(
    "gauge", "sync_conflict", "A name that is not written any more since somebody else has; always 1.", ("name",)
)
RELOAD_SUCCESS = Family(
    "gauge", "config_reload_success", "Whether the last loading of the configuration worked: 1 or 0."
)
RELOAD_AT = Family(
    "gauge", "config_reload_timestamp_seconds", "Unix time of the last attempt to load the configuration."
)
CONFIG = Family("info", "config", "The configuration in force by its SHA-256; always 1.", ("sha256",))
BUILD = Family(
    "info",
    "build",
    "Versions of what runs, and what takes packets, C or Python; always 1.",
    ("version", "python", "twisted", "dnspython", "packets"),
)

FAMILIES: Final = tuple(value for value in list(globals().values()) if isinstance(value, Family))
