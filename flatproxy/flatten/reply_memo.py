"""What the last reply about a target has taught, so that the next one need not be parsed.

It decides nothing: what a reply means, the chain walk has said once. One like it, the same octets but for ID, TTLs and
the addresses themselves, leads the same way. Of a reply that is nothing but addresses, not even that is kept.
"""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from struct import Struct
from typing import TYPE_CHECKING

import attrs
import dns.exception
import dns.name
from attrs import define, frozen

from flatproxy.errors import WireError
from flatproxy.flatten.chain import NO_SOA_TTL_S, Found
from flatproxy.wire import names, peek, types
from flatproxy.wire.plain_reply import addresses_of
from flatproxy.wire.types import CLASS_IN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flatproxy.flatten.chain import Chain, Scope

    Fields = tuple[bytes | int, ...]

_NO_CAP = 2**31 - 1
_COUNTS = Struct("!3H")
_FIXED = Struct("!HHIH")
_CNAME, _SOA, _OPT = 5, 6, 41
_ADDRESSES = (1, 28)


@frozen
class _Record:
    """One record of a message: where it is, not what it says."""

    section: int
    owner: dns.name.Name
    rdtype: int
    is_internet: bool
    ttl_at: int
    end: int


def _records(message: bytes) -> list[_Record]:
    """Return all records; `WireError` or dnspython's errors where the message is cut."""
    offset = peek.question_end(message)
    if not offset or message[4:6] != b"\0\1":
        raise WireError("not one plain question")
    found = []
    for section, count in enumerate(_COUNTS.unpack_from(message, 6)):
        for _ in range(count):
            fixed = peek.skip_name(message, offset)
            if fixed + _FIXED.size > len(message):
                raise WireError("record cut")
            rdtype, _rdclass, _ttl, length = _FIXED.unpack_from(message, fixed)
            owner = dns.name.from_wire(message, offset)[0]
            offset = fixed + _FIXED.size + length
            found.append(_Record(section, owner, rdtype, message[fixed + 2 : fixed + 4] == CLASS_IN, fixed + 4, offset))
    if offset > len(message):
        raise WireError("record cut")
    return found


@frozen(eq=False)
class _Layout:
    """Where, in messages of one shape, the TTLs and addresses are. All memos of that shape share it."""

    struct: Struct
    fixed: Callable[[Fields], object]
    ttls: tuple[int, ...]
    addresses: tuple[int, ...]


@lru_cache(maxsize=4096)
def _layout(parts: tuple[tuple[str, int], ...]) -> _Layout:
    """Return the layout of parts (kind, octets): "fixed", "address", "ttl" or, where it does not count, "other"."""
    places: dict[str, list[int]] = {"fixed": [], "address": [], "ttl": [], "other": []}
    for place, (kind, _size) in enumerate(parts):
        places[kind].append(place)
    code = "".join(f"{size}s" if kind in {"fixed", "address"} else "I" for kind, size in parts)
    return _Layout(Struct("!" + code), itemgetter(*places["fixed"]), tuple(places["ttl"]), tuple(places["address"]))


@define(eq=False)
class Memo:
    """That a walk asked one question, about the target itself, and was told its addresses and nothing beside them.

    `upstream` says who was asked, `scope` under which configuration.
    """

    upstream: bool
    scope: Scope

    def found(self, reply: bytes, question: bytes) -> Found | None:
        """Return what the walk would find in a reply to the same question, None where only the walk can tell."""
        plain = addresses_of(reply, question)
        return None if plain is None else Found.of(*plain, (names.to_text(question[:-4]),), "addresses")

    def passed(self) -> Iterator[dns.name.Name]:
        """Yield the names that the walk came by, beside the target."""
        yield from ()

    def holds(self, chain: Chain, scope: Scope) -> bool:
        """Tell whether a walk, just begun in this scope, would go the same way; it need not be asked again for it."""
        if self.scope is scope:
            return True
        holds = len(chain.visited) == 1 and all(
            chain.goes_by(name, upstream=self.upstream) for name in (*chain.visited, *self.passed())
        )
        if holds:
            self.scope = scope
        return holds


@define(eq=False)
class ReplyMemo(Memo):
    """A reply (without its ID), and what the chain walk found. `cap_s` bounds the TTL as an SOA's MINIMUM does."""

    _reply: bytes
    _layout: _Layout
    _cap_s: int
    _found: Found

    def found(self, reply: bytes, question: bytes) -> Found | None:  # noqa: ARG002 - its octets are in the reply
        """Return what the walk would find in a reply to the same question, None where only the walk can tell."""
        octets, layout, found = reply[2:], self._layout, self._found
        if octets == self._reply:
            return found
        if len(octets) != len(self._reply):
            return None
        fields = layout.struct.unpack(octets)
        if layout.fixed(fields) != layout.fixed(layout.struct.unpack(self._reply)):
            return None
        rdatas, ttl_s = self._rdatas(fields), self._ttl_s(fields)
        if (rdatas, ttl_s) == (found.rdatas, found.ttl_s):
            return found
        return attrs.evolve(found, rdatas=rdatas, ttl_s=ttl_s)

    def _rdatas(self, fields: Fields) -> tuple[bytes, ...]:
        """Return the addresses; what the walk found where it is not addresses that stand there."""
        if not self._layout.addresses:
            return self._found.rdatas
        return tuple(sorted({bytes(fields[place]) for place in self._layout.addresses}))

    def _ttl_s(self, fields: Fields) -> int:
        """Return the least TTL that counts, 0 for one with the highest bit set, as the walk does."""
        ttl_s = self._cap_s
        for place in self._layout.ttls:
            ttl = fields[place]
            assert isinstance(ttl, int)
            ttl_s = min(ttl_s, ttl if ttl < 2**31 else 0)
        return ttl_s

    @property
    def is_true(self) -> bool:
        """Tell whether the TTL and the addresses that are read from the reply are those that the walk found."""
        fields = self._layout.struct.unpack(self._reply)
        return (self._rdatas(fields), self._ttl_s(fields)) == (self._found.rdatas, self._found.ttl_s)

    def passed(self) -> Iterator[dns.name.Name]:
        """Yield the names that the walk came by."""
        return map(dns.name.from_text, self._found.names)


def learn(reply: bytes, chain: Chain, scope: Scope, *, upstream: bool) -> Memo | None:
    """Return a memo of the one reply that this chain came to its end by, None where it is too odd for one."""
    found = chain.found
    if found is None or not all(chain.goes_by(name, upstream=upstream) for name in chain.visited):
        return None
    try:
        records = _records(reply)
    except (WireError, dns.exception.DNSException):
        return None
    if types.is_service(chain.rdtype) and found.outcome != "addresses":
        return None  # an alias may have said so
    soas = [record for record in records if record.section == 1 and record.rdtype == _SOA]
    cnames = [record.owner for record in records if record.section == 0 and record.rdtype == _CNAME]
    if len(soas) > 1 or len(set(cnames)) < len(cnames):
        return None  # one of them would hide the others
    cap_s = _NO_CAP
    if found.outcome != "addresses":
        cap_s = int.from_bytes(reply[soas[0].end - 4 : soas[0].end], "big") if soas else NO_SOA_TTL_S
    memo = ReplyMemo(upstream, scope, reply[2:], _layout(tuple(_parts(reply, records, chain))), cap_s, found)
    return memo if memo.is_true else None


def _parts(reply: bytes, records: list[_Record], chain: Chain) -> Iterator[tuple[str, int]]:
    """Yield the parts of a reply without its ID."""
    at = 2
    for record in records:
        if record.rdtype == _OPT:
            continue  # what stands there is no TTL
        yield "fixed", record.ttl_at - at
        kind = _kind(record, chain)
        yield "other" if kind == "other" else "ttl", 4
        at = record.ttl_at + 4
        if kind == "address":
            yield "fixed", 2  # its length
            yield "address", record.end - at - 2
            at = record.end
    yield "fixed", len(reply) - at


def _kind(record: _Record, chain: Chain) -> str:
    """Return "address" or "ttl" for a record that the walk came by, "other" for one that it did not look at."""
    *passed, last = chain.visited
    assert chain.found is not None
    ends_in_records = chain.found.outcome == "addresses"
    if record.section == 1 and record.rdtype == _SOA and not ends_in_records:
        return "ttl"
    if record.section != 0 or not record.is_internet:
        return "other"
    if record.rdtype == chain.rdtype and record.owner == last and ends_in_records:
        return "address" if record.rdtype in _ADDRESSES else "ttl"
    return "ttl" if record.rdtype == _CNAME and record.owner in passed else "other"
