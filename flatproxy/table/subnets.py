"""Answers by client subnet: which one holds for a network, and how many are kept. No socket, no task; `now` is passed.

An answer holds for the scope that the resolver gave it (RFC 7871 section 7.3.1): a network gets the one with the
longest scope around it, never one of a network inside it. Scope 0 holds for everybody, and says so by having no value:
the target's shared answer is the one to give. A resolution that failed is kept like that for a while, for its own
network.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from attrs import define, evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from flatproxy.wire.client_subnet import Subnet

Value = TypeVar("Value")

TARGET_ENTRIES: Final = 256
ENTRIES: Final = 16_384
RESOLVING: Final = 32
"""Networks of one target that are resolved at a time."""
KEPT_FAILURE_S: Final = 5.0
AHEAD: Final = 0.1
"""An answer is resolved again when it is asked for in the last tenth of its time."""


@frozen(eq=False)
class Entry(Generic[Value]):
    """An answer for a network of `scope.bits`, until `until` (monotonic seconds). No value: the shared answer."""

    scope: Subnet
    value: Value | None
    again_at: float
    until: float


@frozen(kw_only=True)
class Tailored(Generic[Value]):
    """What a resolution for a network found. `scope` is in bits, at most what was sent."""

    scope: int
    value: Value
    ttl_s: float


@define
class _Target(Generic[Value]):
    entries: OrderedDict[Subnet, Entry[Value]] = field(factory=OrderedDict)
    """The least recently used first."""
    lengths: dict[int, dict[int, int]] = field(factory=dict)
    """How many entries have a scope of so many bits, by family."""
    resolving: set[Subnet] = field(factory=set)


@define(eq=False)
class Subnets(Generic[Value]):
    """The answers of all targets by subnet. `hits` and `evictions` only grow."""

    hits: int = 0
    evictions: int = 0
    _targets: dict[Hashable, _Target[Value]] = field(factory=dict)
    _order: OrderedDict[tuple[Hashable, Subnet], None] = field(factory=OrderedDict)
    """Every entry, the least recently used first."""

    def __len__(self) -> int:
        return len(self._order)

    def counts(self) -> Iterator[tuple[Hashable, int]]:
        """Yield each target that has answers, and how many."""
        return ((target, len(known.entries)) for target, known in self._targets.items() if known.entries)

    def is_resolving(self, target: Hashable, sent: Subnet) -> bool:
        """Tell whether a network is being resolved."""
        known = self._targets.get(target)
        return known is not None and sent in known.resolving

    def count(self, target: Hashable) -> int:
        """Return how many answers a target has."""
        known = self._targets.get(target)
        return len(known.entries) if known else 0

    def get(self, target: Hashable, subnet: Subnet, now: float) -> Entry[Value] | None:
        """Return the answer that holds for a network, None where it is to be resolved."""
        entry = self._find(target, subnet, now)
        if entry is not None:
            self._targets[target].entries.move_to_end(entry.scope)
            self._order.move_to_end((target, entry.scope))
            self.hits += entry.value is not None
        return entry

    def _find(self, target: Hashable, subnet: Subnet, now: float) -> Entry[Value] | None:
        known = self._targets.get(target)
        if known is None:
            return None
        for bits in sorted(known.lengths.get(subnet.family, ()), reverse=True):
            scope = subnet.shortened(bits)
            entry = known.entries.get(scope)
            if entry is not None and now < entry.until:
                return entry
            if entry is not None:
                self._drop(target, scope)
        return None

    def begin(self, target: Hashable, sent: Subnet) -> bool:
        """Tell whether to resolve a network now: not where that is under way, or no room for one more.

        What was begun ends with `settle` or `fail`.
        """
        known = self._targets.setdefault(target, _Target())
        if sent in known.resolving or len(known.resolving) >= RESOLVING:
            return False
        known.resolving.add(sent)
        return True

    def settle(self, target: Hashable, sent: Subnet, found: Tailored[Value], now: float) -> None:
        """Keep what a resolution found, for as long as its TTL."""
        if self._end(target, sent):
            value = found.value if found.scope else None
            until = now + found.ttl_s
            self._put(target, Entry(sent.shortened(found.scope), value, until - AHEAD * found.ttl_s, until))

    def fail(self, target: Hashable, sent: Subnet, now: float) -> None:
        """Leave a network the answer that it has, else the shared one, and have its resolution wait (RFC 9520)."""
        if self._end(target, sent):
            has = self._find(target, sent, now)
            again_at = now + KEPT_FAILURE_S
            self._put(target, Entry(sent, None, again_at, again_at) if has is None else evolve(has, again_at=again_at))

    def forget(self, target: Hashable) -> None:
        """Forget a target; what is under way for it is to be ended by whoever began it."""
        known = self._targets.pop(target, None)
        for scope in known.entries if known else ():
            del self._order[target, scope]

    def _end(self, target: Hashable, sent: Subnet) -> bool:
        """Take note that a resolution ended; False where the target was forgotten meanwhile."""
        known = self._targets.get(target)
        if known is None or sent not in known.resolving:
            return False
        known.resolving.remove(sent)
        return True

    def _put(self, target: Hashable, entry: Entry[Value]) -> None:
        known, scope = self._targets[target], entry.scope
        if scope in known.entries:
            self._drop(target, scope)
        elif len(known.entries) >= TARGET_ENTRIES:
            self._evict(target, next(iter(known.entries)))
        elif len(self._order) >= ENTRIES:
            self._evict(*next(iter(self._order)))
        known.entries[scope] = entry
        self._order[target, scope] = None
        lengths = known.lengths.setdefault(scope.family, {})
        lengths[scope.bits] = lengths.get(scope.bits, 0) + 1

    def _evict(self, target: Hashable, scope: Subnet) -> None:
        self._drop(target, scope)
        self.evictions += 1

    def _drop(self, target: Hashable, scope: Subnet) -> None:
        known = self._targets[target]
        del known.entries[scope]
        del self._order[target, scope]
        lengths = known.lengths[scope.family]
        lengths[scope.bits] -= 1
        if not lengths[scope.bits]:
            del lengths[scope.bits]
