"""One target's walk as people want to see it: each hop, with who was asked, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from flatproxy.errors import ChainBroken, ChainError, FlatproxyError, UpstreamTimeout
from flatproxy.flatten.chain import Asker, Chain
from flatproxy.flatten.driving import outcome_of
from flatproxy.wire import names, types

if TYPE_CHECKING:
    import dns.message
    import dns.name
    import dns.rdatatype

    from flatproxy.flatten.chain import Ask, Found, Hop, Scope
    from flatproxy.flatten.resolvers.servers import AnyServer

NAMESERVER = "nameserver"
RESOLVER = "resolver"


class NamedAsker(Asker, Protocol):
    """An asker that says whom it asked."""

    @property
    def asked(self) -> AnyServer | None:
        """Who answered last."""


@frozen(kw_only=True)
class TraceHop:
    """One step, as text. `asked` is `NAMESERVER`, `RESOLVER`, or empty where the configuration alone says it."""

    name: str
    what: str
    ttl_s: int | None
    asked: str = ""
    server: str = ""
    failed: bool = False
    """Whether there was no answer to go on with: `what` says so."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "name": self.name,
            "what": self.what,
            "ttl": self.ttl_s,
            "asked": self.asked or None,
            "server": self.server or None,
        }


@frozen(kw_only=True)
class Walk:
    """One target's walk for one type. Either `found` or `error` is there."""

    rdtype: str
    hops: tuple[TraceHop, ...] = ()
    found: Found | None = None
    error: FlatproxyError | None = None
    silent: bool = False
    """Whether it ended because nobody answered."""

    @property
    def reason(self) -> str:
        """What went wrong, and who said so."""
        said_by = self.hops[-1].server if self.hops and self.hops[-1].failed else ""
        return f"{self.error} from {said_by}" if said_by else str(self.error)

    @property
    def outcome(self) -> str:
        """How it ended, in the words of the metrics."""
        return self.found.outcome if self.found is not None else outcome_of(self.error)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses found, in text form."""
        return (
            tuple(types.rdata_texts(types.number_of(self.rdtype), self.found.rdatas)) if self.found is not None else ()
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "outcome": self.outcome,
            "addresses": list(self.addresses),
            "ttl": self.found.ttl_s if self.found is not None else None,
            "chain": [hop.as_json() for hop in self.hops],
            "error": str(self.error) if self.error is not None else None,
        }


async def follow(
    target: bytes, rdtype: dns.rdatatype.RdataType, scope: Scope, resolvers: NamedAsker, upstream: NamedAsker
) -> Walk:
    """Walk from a target to its end; what goes wrong is in the walk."""
    hops: list[TraceHop] = []
    silent = False
    try:
        chain = Chain.to(names.to_name(target), rdtype, scope)
        hops += (_hop(hop, None) for hop in chain.hops)
        while (ask := chain.ask) is not None:
            asker = upstream if ask.upstream else resolvers
            silent = True
            response = await asker.ask(ask.name, rdtype)
            silent = False
            passed = len(chain.hops)
            try:
                chain.receive(response)
            finally:
                hops += (_hop(hop, asker.asked) for hop in chain.hops[passed:])
    except (ChainError, UpstreamTimeout) as failure:
        if isinstance(failure, UpstreamTimeout | ChainBroken) and chain.ask is not None:
            hops.append(_failed(chain.ask, rdtype, str(failure), None if silent else asker.asked))
        return Walk(rdtype=rdtype.name, hops=tuple(hops), error=failure, silent=silent)
    error = ChainBroken("the walk ended nowhere") if chain.found is None else None
    return Walk(rdtype=rdtype.name, hops=tuple(hops), found=chain.found, error=error)


def _hop(hop: Hop, server: AnyServer | None) -> TraceHop:
    answered = hop.ttl_s is not None  # a hop from a flagged name to its target has no TTL
    return TraceHop(
        name=hop.name.to_text(omit_final_dot=True),
        what=hop.what.removesuffix("."),
        ttl_s=hop.ttl_s,
        asked=_asked(upstream=hop.upstream) if answered else "",
        server=str(server) if answered and server is not None else "",
    )


def _failed(ask: Ask, rdtype: dns.rdatatype.RdataType, reason: str, server: AnyServer | None) -> TraceHop:
    """Return the hop that the walk did not get past."""
    name = ask.name.to_text(omit_final_dot=True)
    return TraceHop(
        name=name,
        what=reason.removeprefix(f"{name} {rdtype.name}: ").removeprefix(f"{name}: "),
        ttl_s=None,
        asked=_asked(upstream=ask.upstream),
        server=str(server) if server is not None else "",
        failed=True,
    )


def _asked(*, upstream: bool) -> str:
    return NAMESERVER if upstream else RESOLVER
