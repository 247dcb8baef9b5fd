"""The walk from a target to its records: a small object that says whom to ask next and receives the answer.

It does no I/O and knows no clock. Its drivers are the refresher and `explain`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from attrs import define, field, frozen

from flatproxy.errors import ChainBroken, ChainLoop, ChainTooLong, WireError
from flatproxy.wire import names, svcb, types
from flatproxy.wire.landing import MAX_HOPS

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ADDRESSES = 2_000
"""Addresses kept of one RRset; more would not fit a TCP answer in every case."""
NO_SOA_TTL_S = 5
"""A denial without an SOA must not be cached (RFC 2308 section 5); this long, as a failure is."""


class Scope(Protocol):
    """What the walk must know of the configuration."""

    def target_of(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.name.Name | None:
        """Return the target of a flagged name, None for any other."""

    def is_served(self, name: dns.name.Name) -> bool:
        """Tell whether the name is in a zone of the nameserver behind us."""


class Asker(Protocol):
    """Who answers the questions of the walk."""

    async def ask(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
        """Return the response; raises `UpstreamTimeout` or `ChainError`."""


@frozen(kw_only=True)
class Ask:
    """The next question. `upstream`: to the nameserver behind us, else to the resolvers."""

    name: dns.name.Name
    upstream: bool


@frozen(kw_only=True)
class Hop:
    """One step of the chain: what `name` was found to be, for how long, and who said so."""

    name: dns.name.Name
    what: str
    ttl_s: int | None
    upstream: bool


@frozen(kw_only=True)
class Found:
    """The end of a chain: rdatas in wire form, none where the name has no address of this type.

    `ttl_s` is the least TTL on the way, `outcome` one of "addresses", "nodata", "nxdomain"; `left_out` records were too
    many.
    """

    rdatas: tuple[bytes, ...]
    ttl_s: int
    names: tuple[str, ...]
    outcome: str
    left_out: int = 0

    @classmethod
    def of(cls, rdatas: tuple[bytes, ...], ttl_s: int, names: tuple[str, ...], outcome: str) -> Found:
        """Return the end of a chain, with no more than `MAX_ADDRESSES` of these rdatas."""
        left_out = max(len(rdatas) - MAX_ADDRESSES, 0)
        return cls(rdatas=rdatas[:MAX_ADDRESSES], ttl_s=ttl_s, names=names, outcome=outcome, left_out=left_out)


@define
class Chain:
    """One walk. Ask what `ask` says until it is None; then `found` is there, unless `receive` raised a ChainError."""

    _scope: Scope
    rdtype: dns.rdatatype.RdataType
    ask: Ask | None = None
    found: Found | None = None
    hops: list[Hop] = field(factory=list)
    _ttl_s: int = 2**31 - 1
    _visited: list[dns.name.Name] = field(factory=list)
    _aliases: int = 0
    """AliasMode records that were followed (RFC 9460 section 2.4.2)."""

    @classmethod
    def to(cls, target: dns.name.Name, rdtype: dns.rdatatype.RdataType, scope: Scope) -> Chain:
        """Return a walk that begins at `target`; `ChainLoop` where it ends up at itself without a question."""
        chain = cls(scope, rdtype)
        chain._go_to(target, None, upstream=False)
        return chain

    @property
    def visited(self) -> Sequence[dns.name.Name]:
        """The names passed so far, the target first."""
        return self._visited

    def goes_by(self, name: dns.name.Name, *, upstream: bool) -> bool:
        """Tell whether the walk takes a name as the asked one knows it: `upstream` is asked, and it is not flagged."""
        return self._scope.target_of(name, self.rdtype) is None and self._scope.is_served(name) == upstream

    def _go_to(self, name: dns.name.Name, ttl_s: int | None, *, upstream: bool, by: str = "CNAME") -> None:
        """Take the hop to `name`, through flagged names to their targets, and make it the next question."""
        if self._visited:
            self.hops.append(Hop(name=self._visited[-1], what=f"{by} {name}", ttl_s=ttl_s, upstream=upstream))
        self._visit(name)
        while (target := self._scope.target_of(name, self.rdtype)) is not None:
            self.hops.append(Hop(name=name, what=f"flagged, target {target}", ttl_s=None, upstream=False))
            name = target
            self._visit(name)
        if ttl_s is not None:
            self._ttl_s = min(self._ttl_s, ttl_s)
        self.ask = Ask(name=name, upstream=self._scope.is_served(name))

    def _visit(self, name: dns.name.Name) -> None:
        if name in self._visited:
            raise ChainLoop(f"{_names([name])} comes again after {_names(self._visited)}")
        if len(self._visited) > MAX_HOPS:
            raise ChainTooLong(f"more than {MAX_HOPS} hops: {_names(self._visited)}")
        self._visited.append(name)

    def receive(self, response: dns.message.Message) -> None:
        """Take the response to the question that `ask` says. Raises `ChainError` where the chain does not end well."""
        asked = self.ask
        if asked is None:
            raise ChainBroken("an answer that was not asked for")
        if asked.upstream and _is_not_ours(response):
            # A zone cut below a served zone: the nameserver is not the one who knows.
            self.ask = Ask(name=asked.name, upstream=False)
            return
        name = asked.name
        while (cname := _find(response, name, dns.rdatatype.CNAME)) is not None:
            if self._end_here(response, name, upstream=asked.upstream):
                return
            self._go_to(cname[0].target, _ttl(cname), upstream=asked.upstream)
            if self.ask is None or self.ask.name != cname[0].target or self.ask.upstream != asked.upstream:
                return
            name = self.ask.name
        if self._end_here(response, name, upstream=asked.upstream):
            return
        if response.rcode() == dns.rcode.NXDOMAIN:
            self._deny(response, name, "nxdomain", upstream=asked.upstream)
        elif response.rcode() != dns.rcode.NOERROR:
            raise ChainBroken(f"{_names([name])}: {dns.rcode.to_text(response.rcode())}")
        elif name == asked.name or _soa(response) is not None:
            self._deny(response, name, "nodata", upstream=asked.upstream)

    def receive_addresses(self, rdatas: tuple[bytes, ...], ttl_s: int) -> None:
        """Take the addresses that stand at the name that `ask` says, nothing else being in the response."""
        self._finish(rdatas, ttl_s, "addresses")

    def _end_here(self, response: dns.message.Message, name: dns.name.Name, *, upstream: bool) -> bool:
        addresses = _find(response, name, self.rdtype)
        if not addresses:
            return False
        ttl_s = _ttl(addresses)
        texts = sorted(rdata.to_text() for rdata in addresses)
        self.hops.append(Hop(name=name, what=f"{self.rdtype.name} {' '.join(texts)}", ttl_s=ttl_s, upstream=upstream))
        rdatas = tuple(sorted(rdata.to_wire() or b"" for rdata in addresses))
        if not types.is_service(self.rdtype) or not self._follow_alias(rdatas, ttl_s, upstream=upstream):
            self._finish(rdatas, ttl_s, "addresses")
        return True

    def _follow_alias(self, rdatas: tuple[bytes, ...], ttl_s: int, *, upstream: bool) -> bool:
        """Go where an AliasMode record leads; False where there is none (RFC 9460 section 2.4.2)."""
        try:
            alias = svcb.alias(rdatas)
        except WireError as error:
            raise ChainBroken(str(error)) from None
        if alias is None:
            return False
        self.hops.pop()  # the hop to the alias says the same
        if alias == names.ROOT:
            self.hops.append(
                Hop(name=self._visited[-1], what=f"{self.rdtype.name} 0 . (no service)", ttl_s=ttl_s, upstream=upstream)
            )
            self._finish((), ttl_s, "nodata")
            return True
        self._aliases += 1
        if self._aliases > svcb.MAX_ALIASES:
            raise ChainTooLong(f"more than {svcb.MAX_ALIASES} aliases: {_names(self._visited)}")
        self._go_to(names.to_name(alias), ttl_s, upstream=upstream, by=f"{self.rdtype.name} 0")
        return True

    def _deny(self, response: dns.message.Message, name: dns.name.Name, outcome: str, *, upstream: bool) -> None:
        soa = _soa(response)
        ttl_s = NO_SOA_TTL_S if soa is None else min(_ttl(soa), soa[0].minimum)
        what = "NXDOMAIN" if outcome == "nxdomain" else f"no {self.rdtype.name}"
        self.hops.append(Hop(name=name, what=what, ttl_s=ttl_s, upstream=upstream))
        self._finish((), ttl_s, outcome)

    def _finish(self, rdatas: tuple[bytes, ...], ttl_s: int, outcome: str) -> None:
        self.ask = None
        passed = tuple(name.to_text(omit_final_dot=True) for name in self._visited)
        self.found = Found.of(rdatas, min(self._ttl_s, ttl_s), passed, outcome)


def _find(
    response: dns.message.Message, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> dns.rrset.RRset | None:
    return response.get_rrset(response.answer, name, dns.rdataclass.IN, rdtype)


def _soa(response: dns.message.Message) -> dns.rrset.RRset | None:
    return next((rrset for rrset in response.authority if rrset.rdtype == dns.rdatatype.SOA), None)


def _ttl(rrset: dns.rrset.RRset) -> int:
    """Return the TTL in seconds, 0 for one with the highest bit set (RFC 2181 section 8)."""
    return rrset.ttl if rrset.ttl < 2**31 else 0


def _is_not_ours(response: dns.message.Message) -> bool:
    """Tell whether the nameserver says that the name is somebody else's: a referral, or REFUSED."""
    if response.rcode() == dns.rcode.REFUSED:
        return True
    return (
        response.rcode() == dns.rcode.NOERROR
        and not response.answer
        and not response.flags & dns.flags.AA
        and _soa(response) is None
        and any(rrset.rdtype == dns.rdatatype.NS for rrset in response.authority)
    )


def _names(names: list[dns.name.Name]) -> str:
    return " → ".join(name.to_text(omit_final_dot=True) for name in names)
