"""What is asked of the store: keys, scripts and commands as plain values. Whoever speaks to a store carries them out.

All keys of one operation have one hash tag, so each is carried out by one server of a cluster, all or nothing.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from attrs import frozen

from flatproxy.flatten.fleet.entry import HEAD, SCHEMA, VERSION_DIGITS

BUCKETS: Final = 16
"""Parts of all entries, each with a list of its changes and a hash tag."""
CHANGES_AT_ONCE: Final = 1_000

_VERSION: Final = f"""
local function version(entry)
  if not entry or string.sub(entry, 1, 1) ~= '{SCHEMA.decode()}' then return 0 end
  return tonumber(string.sub(entry, 2, {VERSION_DIGITS + 1})) or 0
end
"""
# KEYS: entry, lease. ARGV: the known version, token, milliseconds, the head of an entry that is none.
CLAIM: Final = f"""{_VERSION}
local entry = redis.call('GET', KEYS[1])
if entry and ARGV[4] ~= '' and string.sub(entry, 1, {HEAD}) == ARGV[4] then entry = false end
if version(entry) > tonumber(ARGV[1]) then return {{'entry', entry}} end
if redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then return {{'granted'}} end
return {{'held', redis.call('PTTL', KEYS[2])}}
"""
# KEYS: entry, lease, changes. ARGV: the entry, milliseconds to keep it, token, field, what changed (0, 1, 2: only the
# store), channel, the head of an entry that is none.
PUBLISH: Final = f"""{_VERSION}
local entry = redis.call('GET', KEYS[1])
if entry and ARGV[7] ~= '' and string.sub(entry, 1, {HEAD}) == ARGV[7] then entry = false end
if version(entry) >= version(ARGV[1]) then return {{'entry', entry}} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[3] ~= '' and redis.call('GET', KEYS[2]) == ARGV[3] then redis.call('DEL', KEYS[2]) end
if ARGV[5] ~= '0' then
  local time = redis.call('TIME')
  local at = time[1] * 1000 + math.floor(time[2] / 1000)
  local last = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')
  if last[2] and tonumber(last[2]) >= at then at = tonumber(last[2]) + 1 end
  redis.call('ZADD', KEYS[3], string.format('%.0f', at), ARGV[4])
  local hint = string.sub(ARGV[1], 2, {VERSION_DIGITS + 1}) .. ' ' .. ARGV[4]
  if ARGV[5] == '1' then redis.call('PUBLISH', ARGV[6], hint) end
end
return {{'published'}}
"""
# KEYS: lease. ARGV: token.
RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return {'released'}"
# KEYS: nodes. ARGV: node, its record.
HERE: Final = """
local new = redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local time = redis.call('TIME')
return {new, time[1], time[2]}
"""


@frozen
class Keys:
    """The keys of a fleet, by its prefix. No key of another schema is looked at."""

    prefix: str

    def _of(self, tag: object, what: str) -> str:
        return f"{self.prefix}:{SCHEMA.decode()}:{{{tag}}}:{what}"

    def entry(self, place: str) -> str:
        """Return the key of an entry."""
        return self._of(bucket_of(place), f"entry:{place}")

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

    def script(self, keys: Keys) -> Script:
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

    def script(self, keys: Keys) -> Script:
        """Return script, keys and arguments."""
        places = (keys.entry(self.place), keys.lease(self.place), keys.changes(bucket_of(self.place)))
        arguments = (self.raw, self.keep_ms, self.token, self.place, self.changed, keys.channel, self.ignored)
        return PUBLISH, places, arguments


@frozen
class Release:
    """Give a lease back."""

    place: str
    token: bytes

    def script(self, keys: Keys) -> Script:
        """Return script, keys and arguments."""
        return RELEASE, (keys.lease(self.place),), (self.token,)


@frozen
class Here:
    """Say that a node is there; gives `[whether that is new, seconds, microseconds]` of the store's clock."""

    node: str
    record: bytes

    def script(self, keys: Keys) -> Script:
        """Return script, keys and arguments."""
        return HERE, (keys.nodes,), (self.node, self.record)


@frozen
class Read:
    """Read entries of one bucket: octets or None for each field."""

    places: tuple[str, ...]

    def command(self, keys: Keys) -> Command:
        """Return the command."""
        return ("MGET", *map(keys.entry, self.places))


@frozen
class Changes:
    """Read which fields of a bucket changed after a time (milliseconds): `[field, time, field, time …]`."""

    bucket: int
    since_ms: int

    def command(self, keys: Keys) -> Command:
        """Return the command."""
        key = keys.changes(self.bucket)
        return ("ZRANGEBYSCORE", key, f"({self.since_ms}", "+inf", "WITHSCORES", "LIMIT", 0, CHANGES_AT_ONCE)


@frozen
class Nodes:
    """Read all nodes: `{name: record}`."""

    def command(self, keys: Keys) -> Command:
        """Return the command."""
        return ("HGETALL", keys.nodes)


@frozen
class Gone:
    """Forget nodes."""

    names: tuple[str, ...]

    def command(self, keys: Keys) -> Command:
        """Return the command."""
        return ("HDEL", keys.nodes, *self.names)


Scripted = Claim | Publish | Release | Here
Plain = Read | Changes | Nodes | Gone
Operation = Scripted | Plain
