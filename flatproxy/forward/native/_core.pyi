"""The packet path in C, see `path.h` and `binding.c`. Names are in wire form and lower case throughout."""

from array import array
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, final

HANDED_QUERY: Final[int]
"""The message is not plain."""
HANDED_COLD: Final[int]
"""A flagged question whose answer says nothing yet, or not in the form that was asked for."""
HANDED_LANDING: Final[int]
"""A nameserver's reply whose CNAMEs reach a flagged name."""
HAND_NOTHING: Final[int]
HAND_ALL: Final[int]
"""Whatever is asked of a rule's types is handed over."""
HAND_REPLIES: Final[int]
"""So are replies to that."""
HAND_SUBNETS: Final[int]
"""Queries with an EDNS client subnet are handed over."""
DNSSEC_NONE: Final[int]
DNSSEC_FORWARD: Final[int]
"""DO=1 goes to the nameserver."""
DNSSEC_SIGN: Final[int]
"""DO=1 gets the answer's signed records, and is handed over where it has none."""
NO_EXTENDED_ERROR: Final[int]

def take_lines(
    text: str,
    at: int,
    zones: frozenset[bytes],
    targets: dict[str, Any],
    known: dict[bytes, bytes],
    wrong: dict[bytes, str],
    rules: dict[bytes, Any],
    /,
) -> int:
    """Take lines of an ASCII text from `at` on into `rules`; return where the first one is that is not plain and new.

    `targets` has the rule of each target as it is written, `known` names that are to be the same objects as before.
    """

Layout: TypeAlias = tuple[bytes, int, int, int, int]
"""Records, how many of them are answers and authorities, how many answers rotate, and the octets of each of those.

The owner of an answer is the pointer 0xC00C; the TTL of every answer is put in when it is sent."""

Stage: TypeAlias = tuple[int, int, int, int, bool, Layout, Layout | None]
"""Until when (monotonic ns), what the TTL counts down to (0: nothing), the least TTL or the fixed one, the extended DNS
error or `NO_EXTENDED_ERROR`, whether the zone's SOA stands for missing records, the records, and those for DO=1."""

@final
class Answer:
    """What the names of one rule answer to one type. It outlives tables; a change is in force at once."""

    def say(self, stages: tuple[Stage, ...], then_forward: bool, /) -> None:
        """Put stages in place, at most four; once all are over queries are forwarded, or handed over.

        Raises `ValueError` where records do not add up.
        """

    def was_asked(self) -> bool:
        """Tell whether a packet thread has given it since the last call."""

    def unsay(self) -> None:
        """Have every query for it handed over."""

@final
class Table:
    """Who may ask, which zones are served, what is flagged. Used up when it is published.

    Raises `ValueError` where names are not whole, or ranges not sorted and apart.
    """

    def __new__(
        cls,
        *,
        names: bytes,
        rule_numbers: array[int],
        rules: tuple[tuple[int, tuple[tuple[int, Answer], ...]], ...],
        zones: bytes | None,
        ipv4: bytes,
        ipv6: bytes,
        everyone: bool,
    ) -> Table:
        """Take flagged names one behind the other, the number of each name's rule ("I"), and the rules.

        A rule says what is handed over (`HAND_…`), and has an answer for each
        type. `zones` are those served, None for all; `ipv4` and `ipv6` have first and last addresses of the ranges that
        may query.
        """

@final
class Zones:
    """What is known of the flagged names' zones: apexes one behind the other, for each what DO=1 gets and its SOA."""

    def __new__(cls, apexes: bytes, facts: tuple[tuple[int, bytes], ...]) -> Zones: ...
    def say(self, number: int, fact: tuple[int, bytes], /) -> None:
        """Put another fact of one zone in place, whether or not they are published."""

@final
class Servers:
    """The nameservers, and each thread's connected UDP sockets to them. `OSError` where one is not to be had."""

    def __new__(
        cls,
        addresses: tuple[tuple[str, int], ...],
        *,
        threads: int,
        sockets: int,
        timeout_s: float,
        tells_client: bool,
    ) -> Servers: ...
    def order(self, udp: tuple[int, ...], tcp: tuple[int, ...], /) -> None:
        """Say which are up over UDP and over TCP, by number, in the order in which they are to be asked."""

    def counts(self) -> list[dict[str, int]]:
        """Return for each what was sent, answered, overdue, mismatched and is under way.

        And for each transport monotonic times in ns, 0 for never: `udp_heard_at`, `udp_well_at` (with anything but
        SERVFAIL), and `udp_silent_since`, when the newest query that was given up had been sent.
        """

    def latencies(self) -> tuple[tuple[int, ...], ...]:
        """Return for each how many replies took how long, by the bounds of `Path.counts`' `latency`."""

@final
class Handed:
    """A message that is not the path's to judge. It is replied to, forwarded, or let go by forgetting it."""

    @property
    def kind(self) -> int: ...
    @property
    def message(self) -> bytes: ...
    @property
    def came(self) -> bytes: ...
    @property
    def host(self) -> bytes: ...
    @property
    def port(self) -> int: ...
    @property
    def asked(self) -> bytes: ...
    @property
    def tcp(self) -> bool: ...
    @property
    def arrived_s(self) -> float: ...
    def reply(self, reply: bytes, /) -> None:
        """Send a reply to the client, which may have gone."""

    def forward(self) -> None:
        """Have the path send it to the nameserver: over UDP under an ID of the path's, over TCP as it is.

        Raises `ValueError` over UDP where its question is not a plain one.
        """

    def proxy_header(self) -> bytes:
        """Return the PROXY header that names a datagram's client; nothing for one of a connection."""

@final
class Path:
    """The packet threads. Limits are those of docs/limits.md."""

    def __new__(
        cls,
        threads: int,
        *,
        pending: int = ...,
        pending_share: int = ...,
        connections: int = ...,
        connections_a_client: int = ...,
        pipeline: int = ...,
        pipeline_octets: int = ...,
        output_octets: int = ...,
        handed: int = ...,
        handed_octets: int = ...,
        setting_up: int = ...,
        idle_s: float = ...,
        stalled_s: float = ...,
        transfer_begins_s: float = ...,
        transfer_pauses_s: float = ...,
        settled_s: float = ...,
    ) -> Path: ...
    @property
    def under_way(self) -> int:
        """Queries, connections and handed-over messages not ended; 0 after `drain` means that all is done."""

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to take, or a nameserver is silent."""

    def start(self) -> None:
        """Start the threads; privileges are to be dropped before."""

    def drain(self) -> None:
        """Take nothing new, and close connections whose client waits for nothing."""

    def stop(self) -> None:
        """End the threads."""

    def listen(self, fd: int, *, thread: int = 0, tcp: bool = False, wildcard: bool = False) -> object:
        """Have a thread listen on a bound, non-blocking descriptor, which is the path's from now on."""

    def leave(self, listener: object, /) -> None:
        """Read what a listener has, then no more; replies still leave from it."""

    def close(self, listener: object, /) -> None:
        """Close a listener."""

    def publish(self, what: Table | Zones | Servers, /) -> None:
        """Put it in force. Queries under way end with the nameservers that they began with."""

    def limit(self, responses: int, slip: int, queries: int, /) -> None:
        """Limit responses made here and queries forwarded, a second for each client; 0: no limit."""

    def excess(self, host: bytes, own: bool, /) -> int:
        """Take a token for a client's query: 0 it passes, 1 drop it, 2 cut the response short."""

    def take(self) -> Sequence[Handed]:
        """Return what was handed over since."""

    def counts(self) -> dict[str, Any]:
        """Return every count by name, over all threads; `rcodes` and `latency` are tuples."""

    def threads(self) -> list[tuple[int, int]]:
        """Return for each thread the queries that it took by itself, and its processor time in ns."""

    def reclaim(self) -> int:
        """Free what no thread reads any more; return how much is left."""
