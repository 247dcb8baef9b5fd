"""SVCB and HTTPS answers: a target's records, rewritten to hold at the flagged name with the addresses of this moment.

They are kept as they were found, and rewritten when an answer is rendered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.name
from attrs import define, evolve

from flatproxy.table.answers import TargetAnswer
from flatproxy.wire import names, svcb, types

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flatproxy.table.ladder import Resolution, Step


@define(eq=False)
class ServiceAnswer(TargetAnswer):
    """What one rule answers for SVCB or HTTPS. `addresses` are its answers for A and AAAA, as far as it has any."""

    addresses: tuple[TargetAnswer, ...] = ()
    _seen: tuple[Resolution | None, ...] = ()
    """What the targets of `addresses` were when the records were rewritten."""

    def stand_beside(self, siblings: tuple[TargetAnswer, ...]) -> None:
        """Take note of the rule's answers for the other types."""
        super().stand_beside(siblings)
        self.addresses = tuple(each for each in siblings if types.has_addresses(each.target.rdtype))

    def step(self, now: float) -> Step:
        """Return rung, rdatas and TTL at `now`; it holds no longer than the addresses do."""
        current = super().step(now)
        resolution = self.target.resolution
        if not current.rdatas or resolution is None:
            return current
        steps = [answer.step(now) for answer in self.addresses]
        rdatas = svcb.rewritten(
            current.rdatas,
            _end_of(resolution),
            self._addresses_at(),
            frozenset(rdata for step in steps for rdata in step.rdatas),
        )
        return evolve(current, rdatas=rdatas, until=min(current.until, *(step.until for step in steps), now + 1.0))

    def _addresses_at(self) -> bytes:
        """Return the name at which the target's addresses were found, the root where they were not, or at two."""
        known = (answer.target.resolution for answer in self.addresses)
        ends = {_end_of(resolution) for resolution in known if resolution is not None and resolution.rdatas}
        return ends.pop() if len(ends) == 1 else names.ROOT

    def _render(self, now: float) -> None:
        super()._render(now)
        self._seen = self._known_addresses()

    def _known_addresses(self) -> tuple[Resolution | None, ...]:
        return tuple(answer.target.resolution for answer in self.addresses)

    def reply(self, query: bytes, end: int, now: float, *, udp: bool, options: bytes = b"") -> bytes | None:
        """Return the reply to a well-formed query, None while the target is cold."""
        self._forget_old()
        return super().reply(query, end, now, udp=udp, options=options)

    def rrset(self, now: float) -> tuple[int, Sequence[bytes]] | None:
        """Return TTL and rdatas, None while the target is cold."""
        self._forget_old()
        return super().rrset(now)

    def _forget_old(self) -> None:
        """Have the records rewritten where an address may have changed since."""
        if any(seen is not known for seen, known in zip(self._seen, self._known_addresses(), strict=False)):
            self._until = float("-inf")


def _end_of(resolution: Resolution) -> bytes:
    """Return the name at the end of a chain, in wire form and lower case."""
    return names.to_wire(dns.name.from_text(resolution.names[-1]))
