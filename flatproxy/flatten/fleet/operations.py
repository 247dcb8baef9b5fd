"""What is asked of the store: keys, scripts and commands as plain values. Whoever speaks to a store carries them out.

All keys of one operation have one hash tag, so each is carried out by one server of a cluster, all or nothing.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from attrs import frozen

from flatproxy.flatten.fleet.entry import SCHEMA
from flatproxy.flatten.fleet.scripts import CLAIM, FORGET, HERE, HOLD, PUBLISH, RELEASE

BUCKETS: Final = 16
"""Parts of all entries, each with a list of its changes and a hash tag."""
CHANGES_AT_ONCE: Final = 1_000
TOLD_MS: Final = 10_000


@frozen
class StoreKeys:
    """The keys of a fleet, by its prefix. No key of another schema is looked at."""

    prefix: str

    def _of(self, tag: object, what: str) -> str:
        return f"{self.prefix}:{SCHEMA.decode()}:{{{tag}}}:{what}"

    def entry(self, place: str) -> str:
        """Return the key of an entry."""
        return self._of(bucket_of(place), f"entry:{place}")

    @property
    def leases(self) -> str:
        """What matches the keys of all leases."""
        return f"{self.prefix}:{SCHEMA.decode()}:{{*}}:lease:*"

    def lease(self, place: str) -> str:
        """Return the key of a lease."""
        return self._of(bucket_of(place), f"lease:{place}")

    def changes(self, bucket: int) -> str:
        """Return the key of a bucket's changes."""
        return self._of(bucket, "changes")

    @property
    def nodes(self) -> str:
        """The key of the nodes."""
        return self._of("nodes", "nodes")

    @property
    def answers(self) -> str:
        """The key of the nodes' digests."""
        return self._of("nodes", "answers")

    def detail(self, request: str, node: str) -> str:
        """Return the key of what a node says on request."""
        return self._of("nodes", f"detail:{request}:{node}")

    @property
    def channel(self) -> str:
        """The channel of hints."""
        return f"{self.prefix}:{SCHEMA.decode()}:hints"


def bucket_of(place: str) -> int:
    """Return the bucket of a field."""
    return crc32(place.encode()) % BUCKETS


Word = str | bytes | int
Command = tuple[Word, ...]
Script = tuple[str, tuple[str, ...], Command]


@frozen
class Claim:
    """Take the lease of a field, unless there is a newer entry than the known one, or another has it.

    Gives `[b"entry", octets]`, `[b"granted"]` or `[b"held", milliseconds left]`.
    """

    place: str
    known: int
    token: bytes
    lease_ms: int
    ignored: bytes = b""

    def script(self, keys: StoreKeys) -> Script:
        """Return script, keys and arguments."""
        return (
            CLAIM,
            (keys.entry(self.place), keys.lease(self.place)),
            (self.known, self.token, self.lease_ms, self.ignored),
        )


@frozen
class Publish:
    """Put an entry in place of one with a lower version, and give the lease back; `[b"published"]` or `[b"entry", …]`.

    `changed` 1: it is put at the end of the changes, and all are told; 2: nobody is told. `ignored` is the head of an
    entry that is not believed: it may be overwritten.
    """

    place: str
    raw: bytes
    keep_ms: int
    token: bytes
    changed: int
    ignored: bytes = b""

    def script(self, keys: StoreKeys) -> Script:
        """Return script, keys and arguments."""
        places = (keys.entry(self.place), keys.lease(self.place), keys.changes(bucket_of(self.place)))
        arguments = (self.raw, self.keep_ms, self.token, self.place, self.changed, keys.channel, self.ignored)
        return PUBLISH, places, arguments


@frozen
class Release:
    """Give a lease back."""

    place: str
    token: bytes

    def script(self, keys: StoreKeys) -> Script:
        """Return script, keys and arguments."""
        return RELEASE, (keys.lease(self.place),), (self.token,)


@frozen
class Hold:
    """Take a lease that is free, or take it again; gives `[1]`, or `[0]` where another has it."""

    place: str
    token: bytes
    lease_ms: int

    def script(self, keys: StoreKeys) -> Script:
        """Return script, keys and arguments."""
        return HOLD, (keys.lease(self.place),), (self.token, self.lease_ms)


@frozen
class Here:
    """Say that a node is there; gives `[whether that is new, seconds, microseconds]` of the store's clock."""

    node: str
    record: bytes
    digests: bytes

    def script(self, keys: StoreKeys) -> Script:
        """Return script, keys and arguments."""
        return HERE, (keys.nodes, keys.answers), (self.node, self.record, self.digests)


@frozen
class Read:
    """Read entries of one bucket: octets or None for each field."""

    places: tuple[str, ...]

    def command(self, keys: StoreKeys) -> Command:
        """Return the command."""
        return ("MGET", *map(keys.entry, self.places))


@frozen
class ReadChanges:
    """Read which fields of a bucket changed after a time (milliseconds): `[field, time, field, time …]`."""

    bucket: int
    since_ms: int

    def command(self, keys: StoreKeys) -> Command:
        """Return the command."""
        key = keys.changes(self.bucket)
        return ("ZRANGEBYSCORE", key, f"({self.since_ms}", "+inf", "WITHSCORES", "LIMIT", 0, CHANGES_AT_ONCE)


@frozen
class Nodes:
    """Read all nodes: `{name: record}`."""

    def command(self, keys: StoreKeys) -> Command:
        """Return the command."""
        return ("HGETALL", keys.nodes)


@frozen
class Gone:
    """Forget nodes, and what they answered."""

    names: tuple[str, ...]

    def script(self, keys: StoreKeys) -> Script:
        """Return script, keys and arguments."""
        return FORGET, (keys.nodes, keys.answers), self.names


@frozen
class Digested:
    """Read all nodes' digests: `{name: octets}`."""

    def command(self, keys: StoreKeys) -> Command:
        """Return the command."""
        return ("HGETALL", keys.answers)


@frozen
class Inquire:
    """Ask all nodes what the targets of some parts are."""

    request: str
    parts: tuple[int, ...]

    def script(self, keys: StoreKeys) -> Script:
        """Return script, keys and arguments."""
        asked = f"? {self.request} {','.join(map(str, self.parts))}"
        return "return redis.call('PUBLISH', ARGV[1], ARGV[2])", (keys.nodes,), (keys.channel, asked)


@frozen
class Tell:
    """Say what was asked for."""

    request: str
    node: str
    raw: bytes

    def command(self, keys: StoreKeys) -> Command:
        """Return the command."""
        return ("SET", keys.detail(self.request, self.node), self.raw, "PX", TOLD_MS)


@frozen
class Told:
    """Read what nodes have said: octets or None for each."""

    request: str
    nodes: tuple[str, ...]

    def command(self, keys: StoreKeys) -> Command:
        """Return the command."""
        return ("MGET", *(keys.detail(self.request, node) for node in self.nodes))


@frozen
class Clock:
    """Read the store's clock: `[seconds, microseconds]`."""

    def script(self, keys: StoreKeys) -> Script:
        """Return script, keys and arguments."""
        return "return redis.call('TIME')", (keys.nodes,), ()


@frozen
class Holders:
    """Read the tokens of leases, by keys of one bucket."""

    keys: tuple[str, ...]

    def command(self, keys: StoreKeys) -> Command:  # noqa: ARG002 - as the others
        """Return the command."""
        return ("MGET", *self.keys)


Scripted = Claim | Publish | Release | Hold | Here | Gone | Inquire | Clock
Plain = Read | ReadChanges | Nodes | Digested | Tell | Told | Holders
Operation = Scripted | Plain
